"""Constants of a program: the weight tiles and requantisation parameters, with their addresses."""

from __future__ import annotations

import numpy as np

from etchnet.hdl.isa import TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.compiler.memory_map import MemoryMap
from etchnet.host.compiler.parts import Operand, Output, parameter_words
from etchnet.host.compiler.weight_tiles import TileTable

__all__ = ["Constants", "tile_mask"]


def tile_mask(operand: Operand, channels: int, layout: TensorLayout, config: Config) -> np.ndarray:
    """Return which tiles may hold nonzero weights: bool (input words, column tiles), for `channels` results.

    `layout` is that of the operand's tensor.
    """
    found = np.full((layout.words, ceil_div(channels, config.columns)), operand.mask is None)
    if operand.mask is not None:
        inputs, outputs = np.nonzero(operand.mask)
        found[layout.channels[inputs] // config.rows, outputs // config.columns] = True
    return found


class Constants:
    """Weight tiles and parameters; each gets its address when it is first requested.

    Parameters
    ----------
    draft
        Whether only the timing matters. Then every address is 0 and nothing is stored.

    Attributes
    ----------
    tiles
        The weight memory.
    parameters
        The words of the parameter memory.
    """

    def __init__(self, config: Config, memory: MemoryMap, *, draft: bool = False) -> None:
        self.config, self.memory, self.draft = config, memory, draft
        self.tiles = TileTable(config)
        self.parameters: list[int] = []
        self._parameter_addresses: dict[object, int] = {}
        self._filled: dict[object, tuple[TileKind, np.ndarray, int]] = {}
        self._masks: dict[object, np.ndarray] = {}

    def parameter(self, output: Output, tiles: int) -> int:
        """Return the address of the parameters for `tiles` column tiles of an output."""
        if self.draft:
            return 0
        if id(output) not in self._parameter_addresses:
            words = parameter_words(output, tiles, self.config)
            # Layers whose channels all use the same set share that set with other such layers.
            known: object = tuple(words) if output.shared else id(output)
            if known not in self._parameter_addresses:
                self._parameter_addresses[known] = len(self.parameters)
                self.parameters += words
            self._parameter_addresses[id(output)] = self._parameter_addresses[known]
        return self._parameter_addresses[id(output)]

    def tile_mask(self, operand: Operand, channels: int) -> np.ndarray:
        """Return which tiles may hold nonzero weights: bool (input words, column tiles), for `channels` results."""
        key = operand, channels
        if key not in self._masks:
            self._masks[key] = tile_mask(operand, channels, self.memory.layouts[operand.source], self.config)
        return self._masks[key]

    def tile(self, operand: Operand, channels: int, tap: int, word: int, tile: int) -> tuple[TileKind, int, int]:
        """Return the kind, the address and the number of useful elements of the weight tile of a tap."""
        if self.draft:
            return TileKind.STORED, 0, 0
        # Tiles that only move values are the same for all taps, and shared by layers that move values in the same way.
        key = (id(operand), 0 if operand.copies else tap, word, tile)
        if key not in self._filled:
            self._filled[key] = self._fill(operand, channels, tap, word, tile)
        kind, values, useful = self._filled[key]
        identity = values.tobytes() if operand.copies else (id(operand), tap, word, tile)
        return kind, self.tiles.address((kind, identity), kind, values), useful

    def _fill(
        self, operand: Operand, channels: int, tap: int, word: int, tile: int
    ) -> tuple[TileKind, np.ndarray, int]:
        """Return the kind, the elements int8 (rows, columns) and the number of useful elements of a tile."""
        config, layout = self.config, self.memory.layouts[operand.source]
        matrix = operand.matrix(tap)
        mask = operand.tap_mask(tap) if operand.tap_mask else operand.mask
        # The channels in a word are neighbours, and so are their lanes.
        first, stop = np.searchsorted(layout.channels, (word * config.rows, (word + 1) * config.rows))
        lane = layout.channels[first] % config.rows if first < stop else 0
        outputs = range(tile * config.columns, min(channels, (tile + 1) * config.columns))
        values = np.zeros((config.rows, config.columns), np.int8)
        inside = np.zeros((config.rows, config.columns), bool)
        where = slice(lane, lane + stop - first), slice(0, len(outputs))
        block = slice(first, stop), slice(outputs.start, outputs.stop)
        values[where], inside[where] = matrix[block], True if mask is None else mask[block]
        kind = TileKind.STORED
        if operand.mask is not None and not (inside & ~np.eye(config.rows, config.columns, dtype=bool)).any():
            # An identity tile also copies padding lanes, which is allowed only if no other operand adds to the tile.
            whole = operand.copies and int(inside.sum()) == len(outputs)
            kind = TileKind.IDENTITY if whole else TileKind.DIAGONAL
        return kind, values, 0 if operand.copies else int(inside.sum())

    def corners(self, operand: Operand) -> list[tuple[int, int]]:
        """Return the first taps (y, x) of the windows that cover a depthwise kernel."""
        taps = max(1, self.config.depthwise)
        height, width = operand.depthwise_weights.shape[:2]
        return [(y, x) for y in range(0, height, taps) for x in range(0, width, taps)]

    def window_tile(self, operand: Operand, corner: tuple[int, int], tile: int) -> tuple[int, int]:
        """Return the address and the number of useful elements of a depthwise tile: the window of taps at `corner`."""
        config, taps = self.config, self.config.depthwise
        if self.draft:
            return 0, 0
        part = operand.depthwise_weights[
            corner[0] : corner[0] + taps,
            corner[1] : corner[1] + taps,
            tile * config.columns : (tile + 1) * config.columns,
        ]
        values = np.zeros((config.rows, config.columns), np.int8)
        for i, j in np.ndindex(part.shape[:2]):
            values[i * taps + j, : part.shape[2]] = part[i, j]
        key = ("window", id(operand), corner, tile)
        return self.tiles.address(key, TileKind.DEPTHWISE, values), part.size
