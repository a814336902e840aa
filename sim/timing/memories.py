"""The state of the memories on a timeline: the cycle from which each row can be read, and when ports are free."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.sim.timing.footprint import DrainFootprint, PassFootprint
from etchnet.sim.timing.intervals import INDICES, NEVER, CycleMap, Rows

__all__ = ["ActivationState", "BankState"]


class BankState:
    """One accumulator bank: when its rows are complete, when they were read, and when its ports are free.

    Attributes
    ----------
    complete
        For each row the first cycle that may present it again after its last fold.
    read
        For each row the cycle of its last read by a drain.
    last_read
        The latest cycle in `read`.
    port_free
        The first cycle in which the read port is free of drains.
    fold_free
        The first cycle in which passes may fold, free of drains that fold into the bank.
    """

    __slots__ = ("complete", "fold_free", "last_read", "port_free", "read")

    def __init__(self) -> None:
        self.complete, self.read = CycleMap(), CycleMap()
        self.last_read = self.port_free = self.fold_free = NEVER

    def copied(self, copy_map: Callable[[CycleMap], CycleMap]) -> BankState:
        """Return a copy whose maps are made by `copy_map`."""
        other = BankState()
        other.complete, other.read = copy_map(self.complete), copy_map(self.read)
        other.last_read, other.port_free, other.fold_free = self.last_read, self.port_free, self.fold_free
        return other

    def shifted(self, by: int) -> BankState:
        """Return a copy in which everything happens `by` cycles later."""
        other = self.copied(lambda cycles: cycles.shifted(by))
        other.last_read, other.port_free, other.fold_free = (
            self.last_read + by,
            self.port_free + by,
            self.fold_free + by,
        )
        return other

    def state_key(self, slot: int) -> tuple[object, ...]:
        """Return a hashable form of everything that can delay a pass from cycle `slot` on, relative to it."""
        return (
            self.complete.state_key(slot),
            self.read.state_key(slot),
            max(0, self.last_read - slot),
            max(0, self.port_free - slot),
            max(0, self.fold_free - slot),
        )


class ActivationState:
    """The activation memory: the words that the program has written, and when those still being written arrive.

    Parameters
    ----------
    words
        Words whose writing is tracked: those of the memory, or 0 where programs are assumed to be valid.
    """

    __slots__ = ("_arriving", "_config", "_written", "_written_ranges")

    def __init__(self, config: Config, words: int) -> None:
        self._config = config
        self._arriving: list[tuple[int, int, int, DrainFootprint, int]] = []
        """writes that a pass may have to wait for: first word, stop, the first cycle in which all can be read, the
        drain, and the first cycle in which its first row can be read"""
        self._written = np.zeros(words, dtype=bool)
        self._written_ranges: list[Rows] = []
        """ranges of words known to be written: a cache of `_written`"""

    def copy(self) -> ActivationState:
        """Return an independent copy."""
        other = ActivationState(self._config, 0)
        other._arriving, other._written_ranges = list(self._arriving), list(self._written_ranges)
        other._written = self._written.copy()
        return other

    def shifted(self, by: int) -> ActivationState:
        """Return a copy in which everything happens `by` cycles later."""
        other = self.copy()
        other._arriving = [(a, b, end + by, drain, begin + by) for a, b, end, drain, begin in self._arriving]
        return other

    def state_key(self, slot: int) -> tuple[object, ...]:
        """Return a hashable form of the writes that are not over in cycle `slot`, relative to it."""
        return tuple((drain.drain, begin - slot) for _, _, end, drain, begin in self._arriving if end > slot)

    @property
    def is_arriving(self) -> bool:
        """Whether some words may not be readable yet."""
        return bool(self._arriving)

    def forget(self) -> None:
        """Treat all words as not written, as at the start of a repeat."""
        self._written[:] = False
        self._written_ranges.clear()

    def write(self, drain: DrainFootprint, last_word: int, first_cycle: int, last_cycle: int) -> None:
        """Record the writes of a drain.

        Parameters
        ----------
        drain
            The drain; its rows are `drain.pace` cycles apart.
        last_word
            The largest word that it writes.
        first_cycle, last_cycle
            The first cycles in which its first word and its last word can be read.
        """
        self._arriving.append((drain.drain.address, last_word + 1, last_cycle, drain, first_cycle))
        if len(self._written):
            for word in range(self._config.words_per_pixel(wide=drain.drain.wide)):
                self._written[drain.words + word] = True

    def is_written(self, p: PassFootprint) -> bool:
        """Return whether the program has written all the words that a pass reads."""
        first, stop = p.words
        if first == stop or any(a <= first and stop <= b for a, b in self._written_ranges):
            return True
        written = self._written
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
        """Return the first cycle in which every word of a range can be read, or `NEVER` where that is by `slot`."""
        found = NEVER
        if any(end <= slot for _, _, end, _, _ in self._arriving):
            self._arriving = [arriving for arriving in self._arriving if arriving[2] > slot]
        for first, stop, end, _, _ in self._arriving:
            if first < words[1] and words[0] < stop and end > found:
                found = end
        return found

    def earliest_start(self, words: np.ndarray, when: np.ndarray, start: int) -> int:
        """Return the first cycle from `start` on in which a pass may issue that reads `words`, each after `when`."""
        if not len(words):
            return start
        least, most = int(words.min()), int(words.max())
        readable = np.full(most - least + 1, NEVER)
        for first, stop, end, drain, begin in self._arriving:
            if end > start and first <= most and least < stop:
                at, cycles = drain.words - least, begin + INDICES[: drain.row_count] * drain.pace
                for word in range(self._config.words_per_pixel(wide=drain.drain.wide)):
                    inside = (at + word >= 0) & (at + word <= most - least)
                    readable[at[inside] + word] = cycles[inside] + word
        return max(start, int((readable[words - least] - when).max()))
