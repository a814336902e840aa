"""Packets, on a link that stalls and with tokens that are late."""

from itertools import chain

import numpy as np
import pytest
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.sim import Simulator
from support import rtl
from support.machines import small

from etchnet.hdl.core.control.loader import Loader
from etchnet.hdl.core.control.packet_reader import PacketReader
from etchnet.hdl.isa import Header, RunCommand, Target, chunks, pack, packet, word_bits

MEMORIES = (Target.PASSES, Target.DRAINS, Target.PARAMETERS, Target.WEIGHTS, Target.INPUT)


def as_numbers(beats):
    """Link words as whole numbers."""
    return [int.from_bytes(beat.tobytes(), "little") for beat in np.ascontiguousarray(beats, dtype="<u4")]


def memory_packet(config, random, target, *, count, **flags):
    bits = word_bits(target, config)
    words = [int.from_bytes(random.bytes(bits // 8 + 1), "little") >> 8 - bits % 8 for _ in range(count)]
    address = int(random.integers(1 << 24))
    return as_numbers(packet(target, pack(words, bits, config), config, address=address, **flags)), address, words


def writes_of(config, target, address, words):
    """Return the link words that a packet puts on the bus: target, address, chunk, data."""
    found = []
    for index, word in enumerate(words):
        for chunk in range(chunks(word_bits(target, config), config)):
            data = word >> chunk * config.link_bits & (1 << config.link_bits) - 1
            found.append((target, address + index, chunk, data))
    return found


class Link:
    """Offers link words at random, each until it is taken."""

    def __init__(self, words, random, *, rate=0.7):
        self.words, self.random, self.rate, self.valid = list(words), random, rate, 0

    def inputs(self):
        self.valid = self.valid or int(bool(self.words) and self.random.random() < self.rate)
        payload = self.words[0] if self.words else 0
        return {"link.valid": self.valid, "link.payload": payload}

    def follow(self, seen):
        if taken := self.valid and seen["link.ready"]:
            self.words.pop(0)
            self.valid = 0
        return taken


@pytest.mark.parametrize("link_bits", [32, 64])
def test_every_word_is_written_once_and_in_order(link_bits):
    config, random = small(link_bits=link_bits), np.random.default_rng(link_bits)
    words, wanted = [], []
    for index in range(12):
        target = MEMORIES[index % len(MEMORIES)]
        beats, address, contents = memory_packet(config, random, target, count=int(random.integers(4)))
        words += beats
        wanted += writes_of(config, target, address, contents)

    def bench():
        link, written, accepted = Link(words, random), [], [False] * Loader.latency(config)
        for _ in range(20 * len(words)):
            seen = yield link.inputs()
            accepted.append(link.follow(seen))
            strobes = [t for index, t in enumerate(MEMORIES) if seen["writes"] == 1 << index]
            assert bool(strobes) == bool(seen["writes"])
            assert accepted[-1 - Loader.latency(config)] or not strobes
            written += [(t, *(seen[f"bus.{name}"] for name in ("address", "chunk", "data"))) for t in strobes]
            if not link.words and not strobes:
                break
        return written

    assert rtl.run(Loader(config), bench()) == wanted


@pytest.mark.parametrize(("target", "token"), [(Target.INPUT, "input"), (Target.WEIGHTS, "weights")])
def test_tokens_are_taken_with_the_first_word_and_committed_with_the_last(target, token):
    """A packet with `acquire` waits for its token; one with `commit` commits once, when its last word is written."""
    config, random = small(), np.random.default_rng(1)
    chunk_count = chunks(word_bits(target, config), config)
    packets = [
        memory_packet(config, random, target, count=2, acquire=acquire, commit=commit)[0]
        for acquire, commit in ((1, 0), (0, 1), (1, 1), (0, 0), (1, 1))
    ]
    acquires, commits = [0, 2, 4], [1, 2, 4]
    length = 2 + 2 * chunk_count

    def bench():
        link, taken, free, takes, ends, halves = Link(chain.from_iterable(packets), random), 0, 0, [], [], []
        for _ in range(400):
            free = int(free or random.random() < 0.1)
            seen = yield {**link.inputs(), f"{token}_free": free}
            if seen[f"{token}_take"]:
                assert free
                takes.append(taken)
                free = 0
            if seen[f"{token}_commit"]:
                ends.append(taken)
                halves.append(seen["input_half"])
            if link.follow(seen):
                taken += 1
        assert not link.words
        return takes, ends, halves

    takes, ends, halves = rtl.run(Loader(config), bench())
    assert takes == [length * index + 2 for index in acquires]
    # A commit comes a cycle after the last word of its packet.
    assert ends == [length * (index + 1) for index in commits]
    if target is Target.INPUT:
        assert halves == [0, 1, 0]


def test_a_run_command_waits_until_the_previous_one_is_taken():
    config, random = small(), np.random.default_rng(2)
    commands = [
        RunCommand(first_pass=k, passes=1 + k, first_drain=k, drains=2 + k, output_words=3 + k, repeats=0xFFFFFFFF >> k)
        for k in range(3)
    ]
    words = [word for c in commands for word in as_numbers(packet(Target.RUN, c.words(config), config))]

    def bench():
        link, taken, pending = Link(words, random), [], 0
        for _ in range(300):
            take = int(pending and random.random() < 0.1)
            seen = yield {**link.inputs(), "run_taken": take}
            assert not seen["writes"]
            link.follow(seen)
            if take:
                taken.append(seen["run"])
            pending = seen["run_pending"] and not take
        assert not link.words
        return taken

    assert rtl.run(Loader(config), bench()) == [c.encode(config) for c in commands]


def test_counters_hold_the_link_until_they_are_sent():
    config, random = small(), np.random.default_rng(3)
    ask = as_numbers(packet(Target.COUNTERS, np.zeros((0, 1, 1), np.uint32), config))
    after, address, contents = memory_packet(config, random, Target.PASSES, count=1)

    def bench():
        link, cycle, done, wrote = Link(ask + after, random, rate=1), 0, 20, []
        for cycle in range(40):
            seen = yield {**link.inputs(), "counters_done": int(cycle == done)}
            link.follow(seen)
            assert seen["counters"] == (2 <= cycle <= done)
            if 2 <= cycle <= done:
                assert not seen["link.ready"]
            if seen["writes.PASSES"]:
                wrote.append((Target.PASSES, *(seen[f"bus.{name}"] for name in ("address", "chunk", "data"))))
        return wrote

    assert rtl.run(Loader(config), bench()) == writes_of(config, Target.PASSES, address, contents)


def test_nothing_is_written_while_the_machine_is_reset():
    """Strobes are registers, which may power up with any value: under reset they are masked."""
    config, m, reset = small(), Module(), Signal()
    m.domains.sync = domain = ClockDomain()
    m.submodules.loader = loader = Loader(config)
    m.d.comb += domain.rst.eq(reset)
    words, _, _ = memory_packet(config, np.random.default_rng(4), Target.WEIGHTS, count=4)

    async def bench(ctx):
        seen = []
        for index, word in enumerate(words):
            ctx.set(loader.link.valid, 1)
            ctx.set(loader.link.payload, word)
            ctx.set(reset, index > 4)
            seen.append(ctx.get(loader.writes.WEIGHTS))
            await ctx.tick()
        assert seen[3:5] == [1, 1]
        assert not any(seen[5:])

    simulator = Simulator(m)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


def test_the_framing_of_packets():
    """Header fields, chunks and the first and last words, while the data are held up at random."""
    config, random = small(), np.random.default_rng(5)
    sent = [
        (t, memory_packet(config, random, t, count=n, commit=n == 2))
        for t, n in zip(MEMORIES, (1, 0, 2, 3, 1), strict=True)
    ]
    words = [word for _, (beats, _, _) in sent for word in beats]

    def bench():
        link, found = Link(words, random), []
        while link.words:
            blocked = int(random.random() < 0.3)
            seen = yield {**link.inputs(), "blocked": blocked}
            moved = link.follow(seen)
            if seen["accepted"]:
                assert moved
                assert not blocked
                header = Header.decode(seen["header"], config)
                found.append(
                    (header.target, seen["address"], seen["chunk"], seen["first"], seen["last"], header.commit)
                )
        return found

    wanted = []
    for target, (_, address, contents) in sent:
        writes = writes_of(config, target, address, contents)
        for index, (_, at, chunk, _) in enumerate(writes):
            wanted.append((target, at, chunk, int(index == 0), int(index == len(writes) - 1), int(len(contents) == 2)))
    assert rtl.run(PacketReader(config), bench()) == wanted


@pytest.mark.parametrize("count", [1 << 31, (1 << 31) + 1])
def test_a_packet_may_have_more_words_than_any_memory(count):
    config = small()
    header = Header(target=Target.WEIGHTS).encode(config)

    def bench():
        yield {"link.valid": 1, "link.payload": header}
        yield {"link.payload": count}
        for _ in range(20):
            seen = yield {"link.payload": 0}
            assert (seen["accepted"], seen["last"]) == (1, 0)

    rtl.run(PacketReader(config), bench())
