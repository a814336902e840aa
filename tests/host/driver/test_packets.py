"""Packets of a program: the contents of a machine's memories after them."""

import numpy as np
import pytest
from support.strategies import int8

from etchnet.hdl.isa import HEADER_WORDS
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.compile import compile_network
from etchnet.host.driver.packets import (
    constant_packets,
    input_packets,
    instruction_packets,
    result_link_words,
    unpack_results,
    weight_packets_by_tile,
)
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network

CONFIG = Config(rows=4, columns=4, weight_tiles=16, input_words=32, output_words=32, accumulator_rows=8)


@pytest.fixture(scope="module")
def program():
    """Return a fully connected layer of 6 x 7 on a 4 x 4 machine: 2 input words, 2 column tiles."""
    weights = int8(np.random.default_rng(0), (6, 7))
    return compile_network(Network([Dense(weights)]), CONFIG, batch=2)


def payload(packet):
    return packet[HEADER_WORDS:].astype("<u4").tobytes()


def test_inputs_are_packed_as_one_packet_for_each_repeat(program):
    x = int8(np.random.default_rng(1), (5, 6))
    packets = input_packets(program, x)
    assert len(packets) == 3  # ceil(5 / 2)
    found = np.frombuffer(b"".join(map(payload, packets)), np.int8).reshape(6, 8)
    assert np.array_equal(found[:5, :6], x)
    assert not found[5:].any()
    assert not found[:, 6:].any()


def test_weights_by_tile_are_the_weights_of_the_whole_program(program):
    whole = payload(constant_packets(program)[1])
    tiles = weight_packets_by_tile(program, 2)
    assert b"".join(map(payload, tiles)) == whole
    assert len(constant_packets(program, weights=False)) == 1


def test_instructions_can_be_written_from_any_address(program):
    here, there = (instruction_packets(program, first_pass=n, first_drain=n) for n in (0, 3))
    for a, b in zip(here, there, strict=True):
        assert np.array_equal(a[HEADER_WORDS:], b[HEADER_WORDS:])
        assert not np.array_equal(a[:HEADER_WORDS], b[:HEADER_WORDS])


def test_results_are_int32_column_tile_by_column_tile(program):
    """A pixel of 7 int32 results has two column tiles of 4 x 4 bytes."""
    words = result_link_words(program)
    assert words == 2 * 2 * 4
    values = np.arange(2 * 2 * 8, dtype="<i4").reshape(4, 8)
    got = unpack_results(program, values.view("<u4").reshape(2 * words, 1), 2)
    assert np.array_equal(got, values[:, :7])
