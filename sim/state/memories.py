"""The memories that drains write: activation, output and residual memory."""

from __future__ import annotations

import numpy as np

from etchnet.hdl.isa import Destination
from etchnet.sim.state.events import Events
from etchnet.sim.state.registers import MemoryView, pack_lanes
from etchnet.sim.state.results import DrainResults

__all__ = ["DrainMemory", "row_words"]


def row_words(values: np.ndarray, *, wide: bool, tiles_per_word: int) -> int:
    """Return a row of results as its memory words, the first lowest.

    A row of int8 results is repeated in every lane of its word: the write's lane mask selects one.
    """
    return pack_lanes(values.astype(np.int32)) if wide else pack_lanes(np.tile(values.astype(np.int8), tiles_per_word))


class DrainMemory:
    """One memory that drains write, at any cycle: the latest write of each lane of a word."""

    def __init__(self, events: Events, results: DrainResults, destination: Destination) -> None:
        self._events, self._results, self._destination = events, results, destination
        self.config = events.config

    def view(self) -> MemoryView:
        """Return the whole memory; the two halves of the output memory follow each other."""
        config = self.config
        depth = {
            Destination.ACTIVATION: config.activation_words,
            Destination.OUTPUT: 2 * config.output_words,
            Destination.RESIDUAL: config.residual_words,
        }[self._destination]
        return MemoryView(self.word, depth, 8 * config.rows)

    def word(self, address: int, cycle: int) -> int:
        """Return a word at the start of a cycle."""
        config, events = self.config, self._events
        half = None
        if self._destination is Destination.OUTPUT:
            half, address = divmod(address, config.output_words)
        lanes, size = config.tiles_per_word, 8 * config.rows
        missing, word = (1 << lanes) - 1, 0
        repeat = events.repeat_at(cycle)
        while repeat >= 0:
            run, number = events.repeats[repeat]
            table = events.programs[run].writes[self._destination]
            low, high = np.searchsorted(table["address"], (address, address + 1))
            if low == high:
                repeat -= number + 1
                continue
            repeat -= 1
            # Repeats fill the halves of the output memory alternately.
            if half is not None and (repeat + 1) & 1 != half:
                continue
            first = int(events.first_drain[repeat + 1])
            begin = events.drains.begin[first + table["drain"][low:high]]
            when = begin + table["when"][low:high] + events.latencies.result
            for entry in low + np.flatnonzero(when < cycle)[::-1]:
                if fresh := missing & int(table["lanes"][entry]):
                    value = self._written(first + int(table["drain"][entry]), table, int(entry))
                    for lane in range(lanes):
                        if fresh >> lane & 1:
                            mask = ((1 << size // lanes) - 1) << lane * (size // lanes)
                            word |= value & mask
                    missing &= ~fresh
                if not missing:
                    return word
        return word

    def _written(self, index: int, table: dict[str, np.ndarray], entry: int) -> int:
        """Return the word of one entry of `TimedProgram.writes`."""
        wide = self._events.drains.instruction(index).wide
        row = row_words(
            self._results.of(index)[table["row"][entry]], wide=wide, tiles_per_word=self.config.tiles_per_word
        )
        size = 8 * self.config.rows
        return row >> size * int(table["word"][entry]) & (1 << size) - 1
