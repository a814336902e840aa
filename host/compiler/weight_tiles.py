"""Weight tiles, as words of the weight memory."""

from __future__ import annotations

import numpy as np

from etchnet.hdl.isa import TileKind
from etchnet.hdl.isa.config import Config

__all__ = ["TileTable", "tile_words"]


def tile_words(tile: np.ndarray, config: Config) -> np.ndarray:
    """Return a tile of int8 (rows, columns) as weight words: int8 (load_cycles, weight_rows, columns).

    Row r of the tile is row r // load_cycles of word r % load_cycles.
    """
    return tile.reshape(config.weight_rows, config.load_cycles, config.columns).transpose(1, 0, 2)


class TileTable:
    """The weight memory of a program. Each tile is stored once, when its address is first requested."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._words: list[np.ndarray] = []
        self._count = 0
        self._known: dict[object, int] = {}

    def address(self, key: object, kind: TileKind, tile: np.ndarray) -> int:
        """Return the address of the tile int8 (rows, columns) that `key` identifies.

        An identity tile takes no words, a diagonal one takes a single word, and all others take `load_cycles`.
        """
        config = self._config
        if kind == TileKind.IDENTITY:
            return 0
        if key not in self._known:
            self._known[key] = self._count
            words = tile_words(tile, config)
            if kind == TileKind.DIAGONAL:
                # One word holds the diagonal: byte b * columns + i is element (i, i) of band b.
                i = np.arange(min(config.rows, config.columns))
                words = np.zeros((1, config.weight_rows, config.columns), np.int8)
                words[0, i // config.load_cycles, i] = tile[i, i]
            self._words.append(words)
            self._count += len(words)
        return self._known[key]

    @property
    def words(self) -> np.ndarray:
        """All words so far: int8 (weight words, weight_rows, columns)."""
        empty = np.zeros((0, self._config.weight_rows, self._config.columns), np.int8)
        return np.concatenate([empty, *self._words])
