"""The array against numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import rtl
from support.strategies import int8, randoms

from etchnet.hdl.core.array.array import SystolicArray
from etchnet.hdl.isa import TileKind
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.weight_tiles import tile_words


def expected(passes):
    return [pixels.astype(np.int64) @ tile.astype(np.int64) for tile, pixels in passes]


@st.composite
def machines(draw):
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    loads = [w for w in range(1, rows + 1) if rows % w == 0]
    return Config(
        rows=rows,
        columns=columns,
        weight_rows=draw(st.sampled_from(loads)),
        multiplier_latency=draw(st.integers(1, 3)),
    )


@settings(max_examples=25)
@given(machines(), randoms(), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_back_to_back_passes_equal_numpy(config, random, lengths):
    passes = [(int8(random, (config.rows, config.columns)), int8(random, (length, config.rows))) for length in lengths]
    for got, want in zip(rtl.array(config, passes), expected(passes), strict=True):
        assert np.array_equal(got, want)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 7), (7, 1), (4, 4), (5, 3), (8, 8)])
@pytest.mark.parametrize(("a", "b"), [(-128, -128), (-128, 127), (127, 127), (0, -128)])
def test_extremes_everywhere(rows, columns, a, b):
    config = Config(rows=rows, columns=columns)
    passes = [(np.full((rows, columns), b, np.int8), np.full((2, rows), a, np.int8))] * 2
    for got in rtl.array(config, passes):
        assert (got == rows * a * b).all()


@pytest.mark.parametrize("weight_rows", [1, 2, 4])
def test_one_pixel_passes_follow_each_other_every_rows_over_weight_rows_cycles(weight_rows):
    config = Config(rows=4, columns=3, weight_rows=weight_rows)
    random = np.random.default_rng(3)
    passes = [(int8(random, (4, 3)), int8(random, (1, 4))) for _ in range(9)]
    for got, want in zip(rtl.array(config, passes), expected(passes), strict=True):
        assert np.array_equal(got, want)


def test_latency_counts_skew_deskew_and_element():
    for rows, columns, multiplier in ((1, 1, 1), (16, 16, 1), (3, 5, 2)):
        config = Config(rows=rows, columns=columns, multiplier_latency=multiplier)
        assert SystolicArray.latency(config) == rows + columns - 2 + multiplier + 1


@settings(max_examples=25)
@given(machines(), randoms())
def test_weights_follow_the_wavefront_for_every_kind_of_tile(config, random):
    tiles = [int8(random, (config.rows, config.columns)) for _ in range(3)]
    diagonal = random.integers(-128, 128, min(config.rows, config.columns)).astype(np.int8)
    spread = np.zeros((config.weight_rows, config.columns), np.int8)
    for c, value in enumerate(diagonal):
        spread[c // config.load_cycles, c] = value
    stored = np.concatenate([*(tile_words(tile, config) for tile in tiles), spread[None]])
    words = [int.from_bytes(word.tobytes(), "little") for word in stored]
    kinds = [
        (TileKind.STORED, 0),
        (TileKind.DIAGONAL, 3 * config.load_cycles),
        (TileKind.STORED, 2 * config.load_cycles),
        (TileKind.IDENTITY, 0),
        (TileKind.IDENTITY, 5),
        (TileKind.STORED, config.load_cycles),
    ]
    eye = np.eye(config.rows, config.columns, dtype=np.int8)
    scaled = np.zeros_like(eye)
    np.fill_diagonal(scaled, diagonal)
    wanted = [tiles[0], scaled, tiles[2], eye, eye, tiles[1]]
    seen = rtl.weight_wavefront(config, words, kinds)
    for k, tile in enumerate(wanted):
        got = [[seen[k, r, c] for c in range(config.columns)] for r in range(config.rows)]
        assert np.array_equal(got, tile), f"tile {k}"
