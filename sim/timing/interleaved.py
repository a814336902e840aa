"""A fast way to place interleaved passes: regular rounds are placed in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etchnet.sim.timing.footprint import GroupFootprint, InterleavedPasses
from etchnet.sim.timing.intervals import NEVER

if TYPE_CHECKING:
    from etchnet.sim.timing.timeline import Timeline

__all__ = ["InterleavedPlacer"]


class InterleavedPlacer:
    """Places one group of interleaved passes on a timeline: each pass as early as if it were placed on its own.

    Parameters
    ----------
    timeline
        The timeline to place the group on.
    group
        A group with `interleaved` passes.
    """

    def __init__(self, timeline: Timeline, group: GroupFootprint) -> None:
        lat, first = timeline.latencies, group.interleaved[0]
        self._timeline, self._group = timeline, group
        self._bank = bank = timeline.banks[first.bank ^ timeline.banks_swapped]
        self._pixels, self._slot_cycles = first.pixels, timeline.config.pass_cycles(first.pixels)
        # Bounds on the issue of passes that set rows, of those that add, and of those that overwrite drained rows.
        self._sets = bank.fold_free - lat.fold_delay
        self._adds = max(self._sets, bank.port_free - lat.fold_delay)
        self._overwrites = bank.last_read + 1 - lat.fold_write
        self._gap = lat.fold_visible - lat.fold_delay
        """least distance of two passes that fold into the same tile"""
        self._last: dict[int, int] = {}
        """the issue of the last pass of each tile"""
        self._idles: list[tuple[int, int, int]] = []

    def place(self) -> tuple[list[tuple[int, int, int]], list[int]]:
        """Place all passes and the drains; return the fields of `IdleCycles`."""
        timeline, group = self._timeline, self._group
        first_index, final = 0, group.interleaved[-1]
        for passes in group.interleaved:
            count = len(passes.tiles) - (passes is final)
            self._place(passes, count, first_index)
            first_index += count
        for tile, start in self._last.items():
            self._complete(tile, start)
        # The pass that releases the drains also waits for them.
        start = max(
            self._earliest(final, len(final.tiles) - 1, self._readable(final)),
            timeline.earliest_release(group.drains[0], self._pixels, 0),
        )
        self._issue(final.tiles[-1], start, first_index)
        self._complete(final.tiles[-1], start)
        return self._idles, timeline.release(group.drains, start, self._pixels, 0)

    def _place(self, passes: InterleavedPasses, count: int, first_index: int) -> None:
        """Place the first `count` passes of an interleaving, pass 0 of which is pass `first_index` of the group."""
        timeline, last, tiles, slot_cycles = self._timeline, self._last, passes.tiles, self._slot_cycles
        readable = self._readable(passes)
        index, in_round = 0, passes.round_robin
        while index < count:
            self._issue(tiles[index], self._earliest(passes, index, readable), first_index + index)
            index += 1
            # Once passes wait only for one another, and a round had no gaps, all further rounds are alike.
            if (
                in_round
                and index % in_round == 0
                and index + in_round <= count
                and timeline.slot >= max(readable, self._adds)
                and last[in_round - 1] - last[0] == (in_round - 1) * slot_cycles
            ):
                index += self._place_rounds((count - index) // in_round, in_round, first_index + index)

    def _place_rounds(self, rounds: int, in_round: int, index: int) -> int:
        """Place `rounds` rounds like the one before; return the number of passes placed."""
        timeline, last, slot_cycles = self._timeline, self._last, self._slot_cycles
        period = max(in_round * slot_cycles, self._gap)
        if period > in_round * slot_cycles:
            for i in range(rounds):
                self._record_idle(index + i * in_round, last[0] + (i + 1) * period)
                timeline.slot = last[in_round - 1] + (i + 1) * period + slot_cycles
        for tile in range(in_round):
            last[tile] += rounds * period
        timeline.slot = last[in_round - 1] + slot_cycles
        return rounds * in_round

    def _readable(self, passes: InterleavedPasses) -> int:
        """Return the first cycle in which all words that the passes read can be read."""
        activation = self._timeline.activation
        if passes.words is None or not activation.arriving:
            return NEVER
        return activation.all_readable(passes.words, self._timeline.slot)

    def _earliest(self, passes: InterleavedPasses, index: int, readable: int) -> int:
        """Return the first cycle in which pass `index` of an interleaving may issue."""
        timeline, tile = self._timeline, passes.tiles[index]
        before = self._last.get(tile)
        if before is None:
            start = max(timeline.slot, self._sets)
            if self._overwrites > start:
                rows = tile * self._pixels, (tile + 1) * self._pixels
                read = self._bank.read.earliest_base(rows, 1)
                start = max(start, read + 1 - timeline.latencies.fold_write)
        else:
            start = max(timeline.slot, before + self._gap, self._adds)
        return timeline.activation.earliest_start(*passes.reads(index), start) if start < readable else start

    def _issue(self, tile: int, start: int, index: int) -> None:
        """Issue pass `index` of the group in cycle `start`."""
        self._record_idle(index, start)
        self._last[tile] = start
        self._timeline.slot = start + self._slot_cycles

    def _record_idle(self, index: int, start: int) -> None:
        slot = self._timeline.slot
        if start > slot:
            requantising = self._timeline.reading_cycles(slot, start)
            self._idles.append((index, start - slot - requantising, requantising))

    def _complete(self, tile: int, start: int) -> None:
        """Record that the rows of a tile are complete after a pass that issues in cycle `start`."""
        rows = tile * self._pixels, (tile + 1) * self._pixels
        visible = start + self._timeline.latencies.fold_visible
        self._bank.complete.assign(rows, visible, 1)
