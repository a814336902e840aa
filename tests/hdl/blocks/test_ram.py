"""Memories, whole and split into banks, against an array with a queue of delayed accesses in front of it."""

from collections import deque

import numpy as np
import pytest
from support import rtl
from support.machines import Recorder

from etchnet.hdl.blocks import banked_ram
from etchnet.hdl.blocks.banked_ram import BankedRam
from etchnet.hdl.blocks.ram import Ram


def accesses(ram, random, count):
    """Read and write at random, never the same word in the same cycle; return the data of every cycle."""
    waits = int(ram.latency > 2)
    lane = ram.bits // ram.lanes
    words = [*ram.init, *[0] * (ram.depth - len(ram.init))]
    idle = {"write_lanes": 0, "write_address": 0, "write_data": 0, "enable": 0, "address": 0}
    waiting = deque([idle] * waits)
    answers = deque([0] * (ram.latency - 1 - waits))
    read = 0
    for _ in range(count):
        address = int(random.integers(ram.depth))
        inputs = {
            "write_lanes": int(random.integers(1 << ram.lanes)) if random.random() < 0.7 else 0,
            "write_address": (address + 1 + int(random.integers(ram.depth - 1))) % ram.depth,
            "write_data": int.from_bytes(random.bytes(8)) % (1 << ram.bits),
            "enable": int(random.random() < 0.6),
            "address": address,
        }
        answers.append(read)
        seen = yield inputs
        assert seen["data"] == answers.popleft()
        waiting.append(inputs)
        now = waiting.popleft()
        if now["enable"]:
            read = words[now["address"]]
        for index in range(ram.lanes):
            if now["write_lanes"] >> index & 1:
                mask = (1 << lane) - 1 << lane * index
                words[now["write_address"]] = words[now["write_address"]] & ~mask | now["write_data"] & mask


@pytest.mark.parametrize("latency", [1, 2, 3, 4])
@pytest.mark.parametrize(("bits", "depth", "lanes"), [(8, 16, 1), (12, 5, 3)])
def test_a_memory(latency, bits, depth, lanes):
    random = np.random.default_rng(latency)
    init = [int(word) for word in random.integers(1 << bits, size=3)]
    ram = Ram(bits=bits, depth=depth, lanes=lanes, init=init, name="tested", latency=latency)
    assert ram.waits == Ram.waits_of(latency) == int(latency > 2)
    rtl.run(ram, accesses(ram, random, 200))


@pytest.mark.parametrize("latency", [2, 3, 4])
@pytest.mark.parametrize("depth", [3, 4, 11])
def test_banks_equal_the_memory_that_they_replace(monkeypatch, latency, depth):
    monkeypatch.setattr(banked_ram, "BANK_WORDS", 4)
    random = np.random.default_rng(depth)
    init = [int(word) for word in random.integers(256, size=depth - 1)]
    ram = Ram(bits=8, depth=depth, lanes=2, init=init, name="tested", latency=latency)
    rtl.run(BankedRam(ram), accesses(ram, random, 200))


def test_banks_are_parts_of_their_memory(monkeypatch):
    """A single bank has the name of the memory, after which the file of its contents is called."""
    monkeypatch.setattr(banked_ram, "BANK_WORDS", 4)
    for depth, banks in (
        (3, [("table", 3, [0, 1])]),
        (4, [("table", 4, [0, 1, 2])]),
        (9, [("table_0", 4, [0, 1, 2, 3]), ("table_1", 4, [4, 5, 6, 7]), ("table_2", 1, [])]),
    ):
        platform = Recorder()
        BankedRam(Ram(bits=8, depth=depth, init=range(depth - 1), name="table", latency=3)).elaborate(platform)
        assert [(bank.name, bank.depth, list(bank.init)) for bank in platform.found] == banks


def test_only_memories_with_registers_to_spare_are_cut_into_banks():
    sizes = [(1, 5000), (2, 2048), (2, 2049), (3, 2)]
    suits = [BankedRam.suits(Ram(bits=8, depth=depth, name="tested", latency=latency)) for latency, depth in sizes]
    assert suits == [False, False, True, True]
    with pytest.raises(ValueError, match="latency of at least 2, not 1"):
        BankedRam(Ram(bits=8, depth=4, name="tested", latency=1))
