"""The drains that each pass starts, how fast they read, and the words that they write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etchnet.hdl.isa import Destination, Drain, Pass
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing.errors import ProgramError

__all__ = ["drain_pace", "drain_words", "drains_of"]


def drain_pace(drain: Drain, config: Config) -> int:
    """Return the cycles that a drain takes per row."""
    return config.drain_cycles_per_row(wide=drain.wide)


def drain_words(drain: Drain, config: Config) -> np.ndarray:
    """Return the first word, or the accumulator row, that each row of a drain writes: int64 of (tiles, pixels)."""
    tile, pixel = np.arange(drain.tiles), np.arange(drain.pixels)
    if drain.wide or drain.destination == Destination.ACCUMULATORS:
        word = tile
    else:
        word = (drain.lane + tile) // config.tiles_per_word
    return drain.address + word[:, None] * drain.tile_stride + pixel[None, :] * drain.stride


def drains_of(passes: Sequence[Pass], drains: Sequence[Drain]) -> list[list[int]]:
    """Return the indices of the drains that each pass starts: the one it releases, and those chained to that one.

    Raises
    ------
    ProgramError
        The passes do not release exactly the drains that are not chained.
    """
    first = [i for i, d in enumerate(drains) if not d.chained]
    releasing = [i for i, p in enumerate(passes) if p.release]
    if len(first) != len(releasing) or (drains and drains[0].chained):
        raise ProgramError(f"{len(releasing)} passes release {len(first)} drains that are not chained to another")
    started: list[list[int]] = [[] for _ in passes]
    for index, begin, stop in zip(releasing, first, [*first[1:], len(drains)], strict=False):
        started[index] = list(range(begin, stop))
    return started
