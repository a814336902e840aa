"""Footprints: the rows and words that passes and drains access, and the cycles of each access from their start.

A footprint follows from the instruction and the machine alone, so a timeline can place the same one many times.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa import OUTSIDE, Destination, Drain, Fold, Pass, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing.drains import drain_pace, drain_words
from etchnet.sim.timing.errors import ProgramError
from etchnet.sim.timing.intervals import Rows, Steps

__all__ = ["DrainFootprint", "GroupFootprint", "InterleavedPasses", "PassFootprint", "footprints", "words_read"]


@functools.lru_cache(maxsize=1 << 10)
def _kept_pixels(
    config: Config, pixels: int, columns: int, dropped: int, skip_columns: int, skip_lines: int
) -> np.ndarray:
    """Return the pixels of a depthwise pass whose sums are kept: int64, read-only."""
    p = Pass(
        kind=TileKind.DEPTHWISE,
        pixels=pixels,
        columns=columns,
        dropped=dropped,
        skip_columns=skip_columns,
        skip_lines=skip_lines,
    )
    kept = p.kept(config)
    kept.flags.writeable = False
    return kept


def words_read(p: Pass) -> tuple[np.ndarray, np.ndarray]:
    """Return the words that a pass reads, and the cycle of each read from the issue of its first pixel: int64."""
    walked = p.walk()
    when = np.flatnonzero(walked != OUTSIDE)
    return walked[when], when


class PassFootprint:
    """The accumulator rows that a pass folds into, and the words that it reads.

    Attributes
    ----------
    instruction
        The pass.
    bank
        Accumulator bank.
    adds
        Whether its sums are folded into values that the rows already hold.
    source
        The memory that it reads.
    slot_cycles
        Cycles from its first pixel to that of the next pass, if the next pass has no idle cycles.
    line_pixels
        Length of the lines in the line buffers; 0 unless it is depthwise.
    rows
        Accumulator rows: first, stop. Empty if no sum is kept.
    steps
        For each row, the pixel whose sum it takes.
    first_fold
        The pixel whose sum is folded first.
    completion
        Pixels from a row's first sum to its last: 0 unless the pass holds its row.
    words
        A range that contains all words that it reads: first, stop. It is not empty if the pass reads any.
    """

    __slots__ = (
        "adds",
        "bank",
        "completion",
        "first_fold",
        "instruction",
        "line_pixels",
        "rows",
        "slot_cycles",
        "source",
        "steps",
        "words",
    )

    def __init__(self, p: Pass, config: Config) -> None:
        self.instruction, self.bank, self.adds = p, p.bank, p.fold != Fold.SET
        self.source = p.source
        self.slot_cycles = config.pass_cycles(p.pixels)
        self.line_pixels = p.line_pixels if p.kind == TileKind.DEPTHWISE else 0
        self.steps: Steps = 1
        first, last, count = 0, p.pixels - 1, p.pixels
        if self.line_pixels:
            self.steps = kept = _kept_pixels(config, p.pixels, p.columns, p.dropped, p.skip_columns, p.skip_lines)
            count = len(kept)
            if count:
                first, last = int(kept[0]), int(kept[-1])
        # A held row is first needed for the pass's first sum, and complete only after its last.
        held = p.hold != Fold.SET and count > 0
        if held:
            self.steps, count = 0, 1
        self.first_fold, self.completion = (0, last) if held else (first, 0)
        self.rows = p.row, p.row + count
        self.words = p.word_span()

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the words that the pass reads, and when: see `words_read`."""
        return words_read(self.instruction)


class DrainFootprint:
    """The rows that a drain reads, and the words that it writes or the accumulator rows that it folds into.

    Attributes
    ----------
    drain
        The instruction.
    row_count
        Rows that it reads: tiles x pixels.
    pace
        Cycles per row.
    rows
        Rows that it reads, of the accumulators or of the residual memory: first, stop.
    words_per_row
        Consecutive memory words that each row occupies.
    """

    __slots__ = ("_config", "_folded", "_words", "drain", "pace", "row_count", "rows", "words_per_row")

    def __init__(self, drain: Drain, config: Config) -> None:
        self.drain, self._config = drain, config
        self.row_count, self.pace = drain.tiles * drain.pixels, drain_pace(drain, config)
        self.rows = drain.row, drain.row + self.row_count
        self.words_per_row = config.words_per_pixel(wide=drain.wide)
        self._folded: list[Rows] | None = None
        self._words: np.ndarray | None = None

    @property
    def words(self) -> np.ndarray:
        """The first word that each row writes, or the accumulator row that it is folded into: int64 (row_count,)."""
        if self._words is None:
            self._words = drain_words(self.drain, self._config).ravel()
        return self._words

    @property
    def last_word(self) -> int:
        """The largest of `words`."""
        d = self.drain
        tile = d.tiles - 1
        if not d.wide and d.destination != Destination.ACCUMULATORS:
            tile = (d.lane + tile) // self._config.tiles_per_word
        return d.address + tile * d.tile_stride + (d.pixels - 1) * d.stride

    def folded_rows(self) -> list[Rows]:
        """Return the runs of accumulator rows that a drain to the accumulators folds into, in the order of its rows.

        Raises
        ------
        ProgramError
            A row that does not exist, is folded into twice, or would be overwritten before the drain reads it.
        """
        if self._folded is None:
            self._folded = self._check_and_list_folded_rows()
        return self._folded

    def _check_and_list_folded_rows(self) -> list[Rows]:
        drain, row_limit, count = self.drain, self._config.accumulator_rows, self.row_count
        if (last := self.last_word) >= row_limit:
            raise ProgramError(f"a drain folds into accumulator row {last}; the last is {row_limit - 1}")
        contiguous = drain.stride == 1 and (drain.tiles == 1 or drain.tile_stride == drain.pixels)
        if drain.wide or not (contiguous or len(np.unique(self.words)) == count):
            raise ProgramError("a drain to accumulators must not be wide, and must fold into every row once")
        in_place = not drain.residual and drain.into == drain.bank
        if contiguous:
            overtakes = 0 < drain.address - drain.row < count
        else:
            # Row j is read in step j, so step i must not write a row j > i.
            distance = self.words - drain.row
            overtakes = bool((distance > np.arange(count))[distance < count].any())
        if in_place and overtakes:
            raise ProgramError("a drain in place must not fold into a row that it has yet to read")
        if contiguous:
            return [(drain.address, drain.address + count)]
        return [(row, row + 1) for row in self.words.tolist()]


@dataclass(frozen=True)
class InterleavedPasses:
    """Passes of equal length that accumulate a few column tiles in one bank, alternating between the tiles.

    Tile t has the accumulator rows from t x `pixels` on; its first pass of the group sets them, and all others add.

    Attributes
    ----------
    bank
        Accumulator bank of all passes.
    pixels
        Pixels of every pass.
    tiles
        The tile of every pass, in order.
    round_robin
        The number of tiles where pass i belongs to tile i modulo that number; 0 for any other order.
    words
        Range of activation words that contains all words that the passes read: first, stop. None if the passes never
        have to wait for activation words.
    reads
        Returns the words that pass i reads, and when: see `words_read`.
    """

    bank: int
    pixels: int
    tiles: Sequence[int]
    round_robin: int
    words: Rows | None
    reads: Callable[[int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class GroupFootprint:
    """Passes up to one that releases drains, and those drains.

    Attributes
    ----------
    passes
        The passes one by one; empty where `interleaved` describes them.
    interleaved
        The passes as one or several interleavings, executed one after another.
    drains
        The drains that the last pass starts.
    """

    passes: Sequence[PassFootprint]
    interleaved: Sequence[InterleavedPasses]
    drains: Sequence[DrainFootprint]

    @classmethod
    def of(
        cls, passes: Sequence[Pass] | Sequence[InterleavedPasses], drains: Sequence[Drain], config: Config
    ) -> GroupFootprint:
        """Make the footprint of a group that is given either as single passes or as interleaved passes."""
        return cls(
            [PassFootprint(p, config) for p in passes if isinstance(p, Pass)],
            [p for p in passes if isinstance(p, InterleavedPasses)],
            [DrainFootprint(d, config) for d in drains],
        )


def footprints(
    passes: Sequence[Pass], drains: Sequence[Drain], started: Sequence[Sequence[int]], config: Config
) -> list[tuple[PassFootprint, list[DrainFootprint]]]:
    """Return the footprint of each pass with those of the drains that it starts, `started` being `drains_of`."""
    of_drains = [DrainFootprint(d, config) for d in drains]
    return [
        (PassFootprint(p, config), [of_drains[i] for i in indices]) for p, indices in zip(passes, started, strict=True)
    ]
