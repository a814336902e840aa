"""Weight tiles and parameters of a program: the tile of each tap, its kind, and its address."""

import numpy as np
import pytest
from support.strategies import int8

from etchnet.hdl.isa import TileKind
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.emit.constants import Constants
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.compiler.lowering import lower
from etchnet.host.compiler.memory_map import MemoryMap
from etchnet.host.compiler.weight_tiles import tile_words
from etchnet.host.network.layers import Conv, Depthwise, MaxPool
from etchnet.host.network.network import INPUT

CONFIG = Config(rows=4, columns=4, depthwise=2)


def constants_for(layer, shape, *, draft=False):
    """Return the constants of one layer that reads the input, and its only operand."""
    (part,) = lower(layer, [INPUT], [shape], CONFIG.contract)
    memory = MemoryMap({INPUT: TensorLayout.packed(shape, 1, CONFIG)}, shapes={INPUT: shape})
    return Constants(CONFIG, memory, draft=draft), part.operands[0], part


def stored(constants, address):
    """Return the words of a stored tile."""
    return constants.tiles.words[address : address + CONFIG.load_cycles]


def test_a_tile_holds_the_weights_of_its_channels():
    """6 x 7 channels: tile (1, 1) has 2 x 3 elements."""
    layer = Conv(int8(np.random.default_rng(0), (2, 2, 6, 7)))
    constants, operand, part = constants_for(layer, (4, 4, 6))
    assert constants.tile_mask(operand, 7).tolist() == [[True, True], [True, True]]
    kind, address, useful = constants.tile(operand, part.channels, 3, 1, 1)
    assert (kind, useful) == (TileKind.STORED, 6)
    wanted = np.zeros((4, 4), np.int8)
    wanted[:2, :3] = layer.weights[1, 1, 4:, 4:]
    assert np.array_equal(stored(constants, address), tile_words(wanted, CONFIG))
    assert constants.tile(operand, part.channels, 3, 1, 1)[1] == address
    assert constants.tile(operand, part.channels, 0, 1, 1)[1] != address


def test_depthwise_layers_have_diagonal_tiles_on_the_diagonal_only():
    layer = Depthwise(int8(np.random.default_rng(0), (3, 3, 6, 1)))
    constants, operand, part = constants_for(layer, (4, 4, 6))
    assert constants.tile_mask(operand, 6).tolist() == [[True, False], [False, True]]
    kind, address, useful = constants.tile(operand, part.channels, 5, 1, 1)
    assert (kind, useful) == (TileKind.DIAGONAL, 2)
    assert constants.tiles.words[address, 0].tolist() == [*layer.weights[1, 2, 4:, 0], 0, 0]


def test_windows_cover_a_depthwise_kernel():
    layer = Depthwise(int8(np.random.default_rng(0), (3, 3, 6, 1)))
    constants, operand, _ = constants_for(layer, (4, 4, 6))
    assert constants.corners(operand) == [(0, 0), (0, 2), (2, 0), (2, 2)]
    found = [constants.window_tile(operand, corner, 1) for corner in constants.corners(operand)]
    # 3 x 3 taps of 2 channels: windows of 4, 2, 2 and 1 taps.
    assert [useful for _, useful in found] == [8, 4, 4, 2]
    tile = np.zeros((4, 4), np.int8)
    tile[[0, 2], :2] = layer.weights[:2, 2, 4:, 0]
    assert np.array_equal(stored(constants, found[1][0]), tile_words(tile, CONFIG))


def test_tiles_that_only_move_values_take_no_words():
    constants, operand, part = constants_for(MaxPool((2, 2)), (4, 4, 8))
    assert constants.tile(operand, part.channels, 0, 0, 0) == (TileKind.IDENTITY, 0, 0)
    assert len(constants.tiles.words) == 0


def test_equal_parameters_for_all_channels_are_stored_once():
    constants, _, part = constants_for(MaxPool((2, 2)), (4, 4, 8))
    _, _, other = constants_for(MaxPool((3, 3)), (4, 4, 8))
    layer = Conv(np.ones((1, 1, 4, 8), np.int8))
    _, _, channels = constants_for(layer, (4, 4, 4))
    shared = constants.parameter(part.output, 2)
    assert constants.parameter(other.output, 2) == shared
    assert constants.parameter(channels.output, 2) != shared
    assert len(constants.parameters) == CONFIG.groups * (1 + 2)


@pytest.mark.parametrize("ask", ["tile", "window_tile"])
def test_drafts_store_nothing(ask):
    layer = Depthwise(int8(np.random.default_rng(0), (3, 3, 6, 1)))
    constants, operand, part = constants_for(layer, (4, 4, 6), draft=True)
    if ask == "tile":
        assert constants.tile(operand, part.channels, 5, 1, 1) == (TileKind.STORED, 0, 0)
    else:
        assert constants.window_tile(operand, (0, 0), 1) == (0, 0)
    assert constants.parameter(part.output, 2) == 0
    assert not constants.parameters
    assert len(constants.tiles.words) == 0
