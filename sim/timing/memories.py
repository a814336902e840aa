"""The state of the memories on a timeline: the first cycle in which each row can be read, and when ports are free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from etchnet.sim.timing.footprint import DrainFootprint, PassFootprint
from etchnet.sim.timing.intervals import INDICES, NEVER, CycleMap, Rows

__all__ = ["ActivationState", "BankState"]


@dataclass(slots=True, eq=False)
class BankState:
    """One accumulator bank: when its rows are complete, when they were read, and when its ports are free.

    Attributes
    ----------
    complete
        For each row, the first cycle that may present it again after its last fold.
    read
        For each row, the cycle of its last read by a drain.
    last_read
        The latest cycle in `read`.
    port_free
        The first cycle in which the read port is free of drains.
    fold_free
        The first cycle in which passes may fold into the bank, after drains that fold into it.
    """

    complete: CycleMap = field(default_factory=CycleMap)
    read: CycleMap = field(default_factory=CycleMap)
    last_read: int = NEVER
    port_free: int = NEVER
    fold_free: int = NEVER

    def copied(self, copy_map: Callable[[CycleMap], CycleMap]) -> BankState:
        """Return a copy whose maps are made by `copy_map`."""
        return BankState(copy_map(self.complete), copy_map(self.read), self.last_read, self.port_free, self.fold_free)

    def shifted(self, by: int) -> BankState:
        """Return a copy in which everything happens `by` cycles later."""
        return BankState(
            self.complete.shifted(by),
            self.read.shifted(by),
            self.last_read + by,
            self.port_free + by,
            self.fold_free + by,
        )

    def state_key(self, slot: int) -> tuple[object, ...]:
        """Return a hashable form of everything that can delay a pass from cycle `slot` on, relative to `slot`."""
        return (
            self.complete.state_key(slot),
            self.read.state_key(slot),
            max(0, self.last_read - slot),
            max(0, self.port_free - slot),
            max(0, self.fold_free - slot),
        )


@dataclass(slots=True, eq=False)
class ActivationState:
    """The activation memory: the words that the program has written, and when words still being written can be read.

    Attributes
    ----------
    written
        Whether each word has been written: bool (activation words,). It is empty, and not updated, if programs are
        assumed to be valid.
    arriving
        Writes that a pass may have to wait for: first word, stop, the first cycle in which all of them can be read, the
        drain, and the first cycle in which the drain's first row can be read.
    """

    written: np.ndarray
    arriving: list[tuple[int, int, int, DrainFootprint, int]] = field(default_factory=list)
    _written_ranges: list[Rows] = field(default_factory=list)
    """ranges of words known to be written: a cache of `written`"""

    def copy(self) -> ActivationState:
        """Return an independent copy."""
        return ActivationState(self.written.copy(), list(self.arriving), list(self._written_ranges))

    def shifted(self, by: int) -> ActivationState:
        """Return a copy in which everything happens `by` cycles later."""
        other = self.copy()
        other.arriving = [(a, b, end + by, drain, begin + by) for a, b, end, drain, begin in self.arriving]
        return other

    def state_key(self, slot: int) -> tuple[object, ...]:
        """Return a hashable form of the writes that are not finished in cycle `slot`, relative to `slot`."""
        return tuple((drain.drain, begin - slot) for _, _, end, drain, begin in self.arriving if end > slot)

    def write(self, drain: DrainFootprint, last_word: int, first_cycle: int, last_cycle: int) -> None:
        """Record the writes of a drain.

        Parameters
        ----------
        drain
            The drain; its rows are `drain.pace` cycles apart.
        last_word
            The highest word that it writes.
        first_cycle, last_cycle
            The first cycles in which its first word and its last word can be read.
        """
        self.arriving.append((drain.drain.address, last_word + 1, last_cycle, drain, first_cycle))
        if len(self.written):
            for word in range(drain.words_per_row):
                self.written[drain.words + word] = True

    def is_written(self, p: PassFootprint) -> bool:
        """Return whether the program has written all the words that a pass reads."""
        first, stop = p.words
        if first == stop or any(a <= first and stop <= b for a, b in self._written_ranges):
            return True
        written = self.written
        if first >= 0 and stop <= len(written) and written[first:stop].all():
            missing = np.flatnonzero(~written)
            at = int(np.searchsorted(missing, first))
            self._written_ranges.append(
                (int(missing[at - 1]) + 1 if at else 0, int(missing[at]) if at < len(missing) else len(written))
            )
            return True
        words = p.read()[0]
        if not len(words):
            return True
        return int(words.min()) >= 0 and int(words.max()) < len(written) and bool(written[words].all())

    def all_readable(self, words: Rows, slot: int) -> int:
        """Return the first cycle in which every word of a range can be read, or `NEVER` if that is `slot` or earlier.

        Writes that are finished by `slot` are forgotten.
        """
        found = NEVER
        if any(end <= slot for _, _, end, _, _ in self.arriving):
            self.arriving = [arriving for arriving in self.arriving if arriving[2] > slot]
        for first, stop, end, _, _ in self.arriving:
            if first < words[1] and words[0] < stop and end > found:
                found = end
        return found

    def earliest_start(self, words: np.ndarray, when: np.ndarray, start: int) -> int:
        """Return the first cycle from `start` on in which a pass may issue, considering the words that it reads.

        Parameters
        ----------
        words, when
            The words, and the cycle of each read from the issue of the pass: int64, see `words_read`.
        start
            The first cycle that is possible otherwise.
        """
        if not len(words):
            return start
        least, most = int(words.min()), int(words.max())
        readable = np.full(most - least + 1, NEVER)
        for first, stop, end, drain, begin in self.arriving:
            if end > start and first <= most and least < stop:
                at, cycles = drain.words - least, begin + INDICES[: drain.row_count] * drain.pace
                for word in range(drain.words_per_row):
                    inside = (at + word >= 0) & (at + word <= most - least)
                    # Rows that overlap write a word several times.
                    np.maximum.at(readable, at[inside] + word, cycles[inside] + word)
        return max(start, int((readable[words - least] - when).max()))
