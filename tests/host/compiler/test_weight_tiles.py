"""Weight tiles as words of the weight memory."""

import numpy as np
import pytest
from support.strategies import int8

from etchnet.hdl.isa import TileKind
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.weight_tiles import TileTable, tile_words


@pytest.mark.parametrize(("rows", "columns", "weight_rows"), [(4, 4, 1), (4, 4, 2), (6, 3, 3), (8, 8, 8), (3, 5, 1)])
def test_every_element_of_a_tile_is_in_the_word_of_its_cycle(rows, columns, weight_rows):
    """Word j holds the rows j, j + load_cycles, and so on: the bands of the array are loaded at once."""
    config = Config(rows=rows, columns=columns, weight_rows=weight_rows, depthwise=0)
    tile = int8(np.random.default_rng(0), (rows, columns))
    words = tile_words(tile, config)
    assert words.shape == (rows // weight_rows, weight_rows, columns)
    for row in range(rows):
        assert np.array_equal(words[row % config.load_cycles, row // config.load_cycles], tile[row])


@pytest.mark.parametrize("weight_rows", [1, 2, 4])
def test_a_diagonal_tile_is_one_word(weight_rows):
    config = Config(rows=4, columns=4, weight_rows=weight_rows)
    diagonal = np.array([3, -5, 7, -11], np.int8)
    table = TileTable(config)
    assert table.address("d", TileKind.DIAGONAL, np.diag(diagonal)) == 0
    (word,) = table.words
    # Each lane of the array takes the byte of its own band.
    assert [word[i // config.load_cycles, i] for i in range(4)] == diagonal.tolist()
    assert np.count_nonzero(word) == 4


def test_a_tile_is_stored_once_and_an_identity_tile_never():
    config = Config(rows=4, columns=4)
    table, random = TileTable(config), np.random.default_rng(0)
    tiles = [int8(random, (4, 4)) for _ in range(3)]
    addresses = [table.address(i, TileKind.STORED, tile) for i, tile in enumerate(tiles)]
    assert addresses == [0, 4, 8]
    assert table.address(1, TileKind.STORED, tiles[1]) == 4
    assert table.address("identity", TileKind.IDENTITY, np.eye(4, dtype=np.int8)) == 0
    assert np.array_equal(table.words, np.concatenate([tile_words(tile, config) for tile in tiles]))


def test_an_empty_table_has_no_words():
    assert TileTable(Config(rows=4, columns=4)).words.shape == (0, 1, 4)
