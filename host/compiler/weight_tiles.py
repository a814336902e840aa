"""Weights as the array takes them: tiles, each in its layout in the weight memory."""

from __future__ import annotations

import numpy as np

from etchnet.hdl.isa import TileKind
from etchnet.hdl.isa.config import Config

__all__ = ["TileTable", "tile_words"]


def tile_words(tile: np.ndarray, config: Config) -> np.ndarray:
    """A tile of int8 (rows, columns) as weight words: int8 (load_cycles, weight_rows, columns)."""
    return tile.reshape(config.weight_rows, config.load_cycles, config.columns).transpose(1, 0, 2)


class TileTable:
    """Weights as tiles: each tile that a pass asks for gets its layout in the weight memory, in the order of asking."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._words: list[np.ndarray] = []
        self._count = 0
        self._known: dict[object, int] = {}

    def address(self, key: object, kind: TileKind, tile: np.ndarray) -> int:
        """The first weight word of the tile known as `key`: int8 (rows, columns)."""
        config = self._config
        if kind == TileKind.IDENTITY:
            return 0
        if key not in self._known:
            self._known[key] = self._count
            words = tile_words(tile, config)
            if kind == TileKind.DIAGONAL:
                # One word holds the diagonal, byte b * columns + i for element (i, i) of band b.
                i = np.arange(min(config.rows, config.columns))
                words = np.zeros((1, config.weight_rows, config.columns), np.int8)
                words[0, i // config.load_cycles, i] = tile[i, i]
            self._words.append(words)
            self._count += len(words)
        return self._known[key]

    @property
    def words(self) -> np.ndarray:
        """int8 (weight words, weight_rows, columns)."""
        empty = np.zeros((0, self._config.weight_rows, self._config.columns), np.int8)
        return np.concatenate([empty, *self._words])
