"""The writing of result rows in any cycle: the words of a row after its first, and the commits of output halves."""

from __future__ import annotations

import numpy as np

from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.isa import Destination
from etchnet.sim.state.drain_walk import DrainWalkState
from etchnet.sim.state.events import Events
from etchnet.sim.state.memories import row_words
from etchnet.sim.state.registers import Register
from etchnet.sim.state.results import DrainResults

__all__ = ["RowWriterState"]


class RowWriterState:
    """The shift register that cuts rows into memory words, and the registers that count committed output halves."""

    def __init__(self, events: Events, walk: DrainWalkState, results: DrainResults) -> None:
        self._events, self._walk, self._results = events, walk, results
        self.config = events.config
        self._latency = OutputStage.latency(self.config)
        self._stored = events.drains.which(lambda d: d.destination != Destination.ACCUMULATORS)
        last = events.first_drain + np.array(
            [len(events.programs[run].drains) - 1 for run, _ in events.repeats], dtype=np.int64
        )
        self._commits = np.array([self._last_write(int(i)) for i in last], dtype=np.int64) + events.latencies.commit
        """for each repeat, the cycle in which its output half is committed"""

    def _last_write(self, index: int) -> int:
        """Return the cycle in which an executed drain writes its last word."""
        drains = self._events.drains
        pace, count = drains.shape(index)
        size = self.config.words_per_pixel(wide=drains.instruction(index).wide)
        last_read = int(drains.begin[index]) + (count - 1) * pace + self.config.groups - 1
        return last_read + self._events.latencies.result + size - 1

    def _latest_row(self, cycle: int) -> tuple[int, int, int, int] | None:
        """Return the latest row whose first word went to a memory before a cycle.

        Returns
        -------
        The cycle of that word, the drain's index, the row of the drain, and the number of words that have followed, or
        None if there is no such row.
        """
        groups, drains = self.config.groups, self._events.drains
        read = cycle - 1 - self._latency
        index = drains.last(read, self._stored, offset=groups - 1)
        if index < 0:
            return None
        pace, count = drains.shape(index)
        begin = int(drains.begin[index])
        age = min(read - begin, count * pace - 1)
        age -= (age - (groups - 1)) % pace
        size = self.config.words_per_pixel(wide=drains.instruction(index).wide)
        written = begin + age + self._latency
        return written, index, age // pace, min(cycle - 1 - written, size - 1)

    def registers(self) -> dict[str, Register]:
        """Return the registers by name."""
        config, group = self.config, self._walk.group_layout
        rest = max(1, 8 * config.rows * (config.words_per_pixel(wide=True) - 1))
        found = {
            "output.writer.rest": Register(lambda t: self._rest(t) & (1 << rest) - 1, rest),
            "output.writer.rest_now": Register(self._rest_group, group.width, layout=group),
            "output.writer.rest_address": Register(self._rest_address, self._walk.widths["address"]),
            "output.writer.extra": Register(self._words_left, config.words_per_pixel(wide=True).bit_length()),
            "results.write_half": Register(lambda t: self._committed(t) & 1, 1),
        }
        for half in range(2):
            found[f"results.words_{half}"] = Register(
                lambda t, h=half: self._words(h, t), config.output_words.bit_length()
            )
        return found

    def _rest(self, cycle: int) -> int:
        """Return the words of the row that are still to be written; they shift by a word in every cycle."""
        if (latest := self._latest_row(cycle)) is None:
            return 0
        written, index, row, _ = latest
        wide = self._events.drains.instruction(index).wide
        whole = row_words(self._results.of(index)[row], wide=wide, tiles_per_word=self.config.tiles_per_word)
        return whole >> 8 * self.config.rows * (cycle - written)

    def _rest_group(self, cycle: int) -> int:
        """Return the group that finished the row."""
        latest = self._latest_row(cycle)
        return self._walk.group(latest[0] - self._latency) if latest else 0

    def _rest_address(self, cycle: int) -> int:
        """Return the address of the next word; it counts up in every cycle."""
        if (latest := self._latest_row(cycle)) is None:
            return self._walk.mask("address", cycle)
        address = self._walk.group_layout.get(self._walk.group(latest[0] - self._latency), "address")
        return self._walk.mask("address", address + cycle - latest[0])

    def _words_left(self, cycle: int) -> int:
        if (latest := self._latest_row(cycle)) is None:
            return 0
        return self.config.words_per_pixel(wide=self._events.drains.instruction(latest[1]).wide) - 1 - latest[3]

    def _committed(self, cycle: int) -> int:
        """Return how many halves of the output memory were committed before a cycle."""
        return int(np.searchsorted(self._commits, cycle))

    def _words(self, half: int, cycle: int) -> int:
        """Return the output words of the run that committed a half last."""
        repeat = self._committed(cycle) - 1
        repeat -= (repeat ^ half) & 1
        if repeat < 0:
            return 0
        return int(self._events.runs[self._events.repeats[repeat][0]].command.output_words)
