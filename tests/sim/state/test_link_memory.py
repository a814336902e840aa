"""Memories that packets write, chunk by chunk."""

import dataclasses

import numpy as np
import pytest
from support.walks import SQUARE

from etchnet.hdl.isa import Target, chunks
from etchnet.hdl.isa.packets import word_bits
from etchnet.sim.engines.history import LinkWrite
from etchnet.sim.state.link_memory import LinkMemory, link_view

CONFIG = dataclasses.replace(SQUARE, link_bits=32)
SIZE = chunks(word_bits(Target.PARAMETERS, CONFIG), CONFIG)


def write(target, address, first, words, *, half=0, size=SIZE, pace=1):
    """Return a packet whose link words come every `pace` cycles from cycle `first` on, each `words[i]` + its chunk."""
    cycles = first + pace * np.arange(len(words) * size).reshape(len(words), size)
    values = np.array(words, np.uint32)[:, None] + np.arange(size, dtype=np.uint32)
    return LinkWrite(target, address, half, cycles, values[..., None])


def naive(writes, address, cycle):
    """Return a word after all chunks of earlier cycles, applied in order of time."""
    found = {}
    for packet in writes:
        for word, chunk in np.ndindex(packet.cycles.shape):
            if packet.address + word == address and packet.cycles[word, chunk] < cycle:
                found[chunk] = int(packet.words[word, chunk, 0])
    return sum(value << 32 * chunk for chunk, value in found.items())


def test_a_word_has_the_chunks_of_earlier_cycles():
    assert SIZE > 2
    writes = [
        write(Target.PARAMETERS, 3, 10, [100, 200], pace=3),
        write(Target.WEIGHTS, 3, 90, [7], size=1),
        write(Target.PARAMETERS, 4, 200, [300, 400]),
    ]
    memory = LinkMemory(writes, Target.PARAMETERS, CONFIG)
    mine = [w for w in writes if w.target is Target.PARAMETERS]
    for address in range(7):
        for cycle in range(260):
            assert memory.word(address, cycle) == naive(mine, address, cycle), (address, cycle)


def test_halves_of_the_input_follow_each_other():
    size = chunks(word_bits(Target.INPUT, CONFIG), CONFIG)
    writes = [write(Target.INPUT, 1, 5, [10], size=size), write(Target.INPUT, 1, 9, [20], half=1, size=size)]
    memory = LinkMemory(writes, Target.INPUT, CONFIG)
    assert [memory.word(a, 50) & 0xFF for a in (1, CONFIG.input_words + 1)] == [10, 20]
    assert [memory.word(a, 50) for a in (0, CONFIG.input_words)] == [0, 0]


@pytest.mark.parametrize(("start", "stop", "wanted"), [(0, 10, True), (0, 11, False), (12, 13, False), (13, 99, True)])
def test_a_memory_is_unchanged_while_no_packet_writes_it(start, stop, wanted):
    memory = LinkMemory([write(Target.WEIGHTS, 0, 10, [1, 2, 3], size=1)], Target.WEIGHTS, CONFIG)
    assert memory.unchanged(start, stop) == wanted


def test_a_view_has_some_bits_of_each_word():
    memory = LinkMemory([write(Target.PARAMETERS, 0, 0, [0xABCD])], Target.PARAMETERS, CONFIG)
    view = link_view(memory, 4, 8, 2)
    assert (view.word(0, 99), view.word(1, 99), view.depth, view.width) == (0xBC, 0, 2, 8)
