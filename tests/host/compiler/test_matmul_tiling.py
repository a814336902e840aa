"""Tilings of matrix products: they cover the product, and every program of a tiling fits the machine."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.compile import compile_network
from etchnet.host.compiler.matmul_tiling import MatmulTiling, _parts
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network

SMALL = Config(
    rows=4,
    columns=4,
    weight_tiles=16,
    activation_words=64,
    input_words=32,
    output_words=32,
    accumulator_rows=8,
    passes=64,
    drains=16,
    parameter_tiles=8,
)
sizes = st.integers(1, 150)


@given(sizes, sizes, sizes, st.booleans())
def test_tiles_are_no_larger_than_the_product_and_the_memories(rows, terms, channels, wide):
    tiling = MatmulTiling.best(rows, terms, channels, SMALL, wide=wide)
    assert 1 <= tiling.pixels <= rows
    assert 1 <= tiling.terms <= terms
    assert 1 <= tiling.channels <= channels
    blocks, tiles = ceil_div(tiling.terms, SMALL.rows), ceil_div(tiling.channels, SMALL.columns)
    assert blocks * tiles <= SMALL.weight_tiles
    assert tiling.pixels * blocks <= SMALL.input_words
    # int32 results, including partial sums, take four words of four lanes for each column tile.
    words = 4 * tiles if wide or tiling.terms < terms else tiles
    assert tiling.pixels * words <= SMALL.output_words


@settings(max_examples=25)
@given(sizes, sizes, sizes)
def test_every_program_of_a_tiling_compiles(rows, terms, channels):
    """The test compiles the first and the last tile, which may be smaller."""
    tiling = MatmulTiling.best(rows, terms, channels, SMALL, wide=True)
    for n in {tiling.terms, terms % tiling.terms or tiling.terms}:
        for m in {tiling.channels, channels % tiling.channels or tiling.channels}:
            network = Network([Dense(np.ones((n, m), np.int8))])
            compile_network(network, SMALL, batch=tiling.pixels, once=True)


def total_cycles(tiling, rows, terms, channels):
    """Return the cycles of all programs, each as long as one of a whole tile."""
    network = Network([Dense(np.ones((tiling.terms, tiling.channels), np.int8))])
    program = compile_network(network, SMALL, batch=tiling.pixels, once=True)
    parts = ceil_div(rows, tiling.pixels) * ceil_div(terms, tiling.terms) * ceil_div(channels, tiling.channels)
    return int(parts) * program.counts()[Counter.CYCLES]


@pytest.mark.parametrize(
    ("product", "other"),
    [((51, 38, 31), (3, 38, 4)), ((17, 49, 40), (2, 49, 4)), ((24, 51, 33), (2, 51, 4)), ((30, 36, 58), (1, 12, 20))],
)
def test_the_best_tiling_takes_fewer_cycles_than_others(product, other):
    best = MatmulTiling.best(*product, SMALL, wide=False)
    assert total_cycles(best, *product) < total_cycles(MatmulTiling(*other), *product)


def test_a_product_that_fits_is_one_program():
    large = Config(input_words=1 << 12, output_words=1 << 12, weight_tiles=1 << 10)
    assert MatmulTiling.best(64, 256, 128, large, wide=True) == MatmulTiling(64, 256, 128)


def test_a_machine_that_holds_no_column_tile_is_refused():
    machine = dataclasses.replace(SMALL, output_words=2)
    with pytest.raises(CapacityError, match=r"output_words = 2 \(4 is enough\)") as caught:
        MatmulTiling.best(4, 4, 4, machine, wide=True)
    assert MatmulTiling.best(4, 4, 4, dataclasses.replace(machine, **caught.value.short), wide=True).channels == 4


@given(st.integers(1, 2000))
def test_numbers_of_parts_cover_the_whole(whole):
    parts = _parts(whole)
    assert parts == sorted(set(parts))
    assert (parts[0], parts[-1]) == (1, whole)
    # Each number of parts is the smallest for its size of a part.
    assert all(ceil_div(whole, ceil_div(whole, n)) == n for n in parts)
