"""The accumulator banks in any cycle: a row is the fold of all values since it was last set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import Destination, Drain, Fold
from etchnet.sim.state.array import ArrayState
from etchnet.sim.state.events import Events
from etchnet.sim.state.issue import Issue
from etchnet.sim.state.output import OutputState
from etchnet.sim.state.registers import Layout, MemoryView, Register, cached, delayed_view, pack_lanes, read_registers
from etchnet.sim.state.results import DrainResults, fold_values

__all__ = ["BankState"]


@dataclass(frozen=True)
class _Fold:
    """A pass or a drain that folds into one row."""

    when: int
    """first cycle that presents the row to the bank"""
    sets: bool
    """whether the row's old value is discarded"""
    apply: Callable[[np.ndarray], np.ndarray]


class BankState:
    """One bank: its memory, its read data, and its adders.

    The adders work in every cycle. In a bubble they fold the sums that leave the array (zeros, or sums of a depthwise
    pass that are not kept) with the fields of the pass at the head of its stream, and nothing is written.
    """

    def __init__(
        self, index: int, events: Events, issue: Issue, array: ArrayState, output: OutputState, results: DrainResults
    ) -> None:
        self.index, self._events, self._issue, self._array = index, events, issue, array
        self._output, self._results = output, results
        self.config = config = events.config
        self.layout = Layout(AccumulatorBank.fold_layout(config))
        self.data = cached(self._data)
        self.folded = cached(self._folded)
        self.row = cached(self._row)
        self._read, self._written = AccumulatorBank.read_latency(config), AccumulatorBank.latency(config)
        # From the decision to issue a pixel to the cycle that presents its row.
        self._present_delay = events.latencies.decide + Machine.fold_delay(config)
        self._pixel_delay = events.pixel_delay()
        self._feedback = config.groups - 1 + events.latencies.feedback
        first, banks = events.passes.each("first_kept"), events.passes.each("banks")
        self._folding = np.flatnonzero((banks == index) & (first >= 0))
        self._folding_begin = events.passes.begin[self._folding] + first[self._folding]
        self._read_by = events.drains.which(lambda d: d.bank == index and not d.residual)
        self._fed_by = events.drains.which(self._is_fed)

    def _is_fed(self, drain: Drain) -> bool:
        return drain.destination == Destination.ACCUMULATORS and drain.into == self.index

    def registers(self) -> dict[str, Register]:
        """Return the registers by name."""
        path, width = f"bank_{self.index}", 32 * self.config.columns
        return {
            **{
                f"{path}.{name}": Register(lambda t, s=stage: self.fold(t - s), self.layout.width, layout=self.layout)
                for stage, name in enumerate([*(f"folding_{s}" for s in range(1, self._read + 1)), "written"], start=1)
            },
            **{
                f"{path}.lane_{c}.folded": Register(lambda t, c=c: int(self.folded(t)[c]), 32, signed=True)
                for c in range(self.config.columns)
            },
            **read_registers(f"{path}.memory", lambda t: pack_lanes(self._last_read(t)), width, self._read),
        }

    def memories(self) -> dict[str, MemoryView]:
        """Return the memory by name."""
        rows = MemoryView(
            lambda row, t: pack_lanes(self.row(row, t)), self.config.accumulator_rows, 32 * self.config.columns
        )
        return {f"bank_{self.index}.memory.memory": delayed_view(rows, self._read)}

    # The fold that is presented in a cycle

    def fold(self, cycle: int) -> int:
        """Return the fold that is presented to the bank in a cycle, as `AccumulatorBank.fold_layout`."""
        if cycle < 0:
            return 0
        fold, issue = self._issue.fold(max(0, cycle - self._issue.fold_delay)), self._issue.fold_layout
        if cycle < self._issue.fold_delay:
            fold = 0
        fed = self._output.fold(cycle)
        layout = self._output.fold_layout
        if layout.get(fed, "valid") and layout.get(fed, "bank") == self.index:
            return self.layout.pack(valid=1, row=layout.get(fed, "row"), fold=layout.get(fed, "fold"))
        return self.layout.pack(
            valid=issue.get(fold, "row.valid") and issue.get(fold, "bank") == self.index,
            **{name: issue.get(fold, f"row.{name}") for name in ("row", "fold", "held")},
        )

    def _values(self, cycle: int) -> np.ndarray:
        """Return the values folded in a cycle, int32 (columns,): a drain's results, or else the array's sums."""
        fed, layout = self._output.fold(cycle - self._read) if cycle >= self._read else 0, self._output.fold_layout
        if layout.get(fed, "valid") and layout.get(fed, "bank") == self.index:
            return self._output.row_values(cycle)
        return self._array.leaving(cycle)

    def _folded(self, cycle: int) -> np.ndarray:
        """Return the register after the adders: int32 (columns,)."""
        zeros = np.zeros(self.config.columns, np.int32)
        if cycle < 1:
            return zeros
        now = cycle - 1
        folding = self.fold(now - self._read)
        fold, held = self.layout.get(folding, "fold"), self.layout.get(folding, "held")
        if not held or fold not in (Fold.ADD, Fold.MAX):
            return fold_values(self.data(now), self._values(now), fold)
        # A held row: every cycle since the first sum of its pass folds in the same way.
        first = self._held_from(now)
        values = np.stack([self._values(t) for t in range(first, now + 1)])
        folded = values.sum(axis=0, dtype=np.int32) if fold == Fold.ADD else values.max(axis=0)
        return fold_values(self.folded(first), folded, fold)

    def _held_from(self, cycle: int) -> int:
        """Return the first cycle since which the adders have only folded into the held row, up to `cycle`."""
        decided = cycle - self._read - self._present_delay
        passes = self._events.passes
        index = int(np.searchsorted(passes.begin, decided, "right")) - 1
        kept = passes.program(index).kept(int(passes.number[index]))
        first = int(passes.begin[index]) + int(kept[0]) + 1 + self._present_delay + self._read
        return max(first, self._last_fed(cycle - self._read) + 1 + self._read)

    # Reads

    def _last_fed(self, cycle: int) -> int:
        """Return the last cycle up to `cycle` in which a drain presents a row, or a large negative number."""
        drains = self._events.drains
        index = drains.last(cycle, self._fed_by, offset=self._feedback)
        if index < 0:
            return -(1 << 40)
        first = int(drains.begin[index]) + self._feedback
        pace, count = self._events.drains.shape(index)
        return first + min((cycle - first) // pace, count - 1) * pace

    def _last_folded(self, cycle: int) -> int:
        """Return the last cycle up to `cycle` in which a pass presents a row, or a large negative number."""
        position = int(np.searchsorted(self._folding_begin, cycle - self._present_delay, "right")) - 1
        if position < 0:
            return -(1 << 40)
        index, passes = int(self._folding[position]), self._events.passes
        kept, begin = passes.program(index).kept(int(passes.number[index])), int(passes.begin[index])
        last = kept[int(np.searchsorted(kept, cycle - self._present_delay - begin, "right")) - 1]
        return begin + int(last) + self._present_delay

    def _data(self, cycle: int) -> np.ndarray:
        """Return the bank's output."""
        before = cycle + 1 - self._read
        return self._last_read(before) if before >= 0 else np.zeros(self.config.columns, np.int32)

    def _last_read(self, cycle: int) -> np.ndarray:
        """Return the word of the memory's latest read, by a drain or a fold; a fold reads even if it sets the row."""
        before = cycle - 1
        read = self._events.drains.last_read(before, self._read_by)
        when = max(read, self._last_fed(before), self._last_folded(before))
        if when < 0:
            return np.zeros(self.config.columns, np.int32)
        if when == read:
            row = self._output.walk.read_layout.get(self._output.walk.read(when), "row")
        else:
            row = self.layout.get(self.fold(when), "row")
        rows = self.config.accumulator_rows
        return self.row(row & (1 << self.config.address_bits(rows)) - 1, when)

    # Contents

    def _row(self, row: int, cycle: int) -> np.ndarray:
        """Return a row at the start of a cycle, int32 (columns,): all folds into it since it was last set."""
        value = np.zeros(self.config.columns, np.int32)
        last = cycle - 1 - self._written
        for repeat in range(self._events.repeat_at(last), -1, -1):
            folds = [f for f in self._folds(repeat, row, last) if f.when <= last]
            folds.sort(key=lambda f: f.when)
            sets = [i for i, f in enumerate(folds) if f.sets]
            if sets:
                for fold in folds[sets[-1] :]:
                    value = fold.apply(value)
                return value
        return value

    def _folds(self, repeat: int, row: int, last: int) -> list[_Fold]:
        events = self._events
        program = events.programs[events.repeats[repeat][0]]
        base, passes = int(events.first_pass[repeat]), events.passes
        first, count = program.rows
        found = []
        for number in np.flatnonzero((program.banks == self.index) & (first <= row) & (row < first + count)).tolist():
            p, kept, begin = program.passes[number], program.kept(number), int(passes.begin[base + number])
            if p.hold == Fold.SET:
                pixels = kept[row - p.row : row - p.row + 1]
            else:
                pixels = kept[: int(np.searchsorted(kept, last - self._present_delay - begin, "right"))]
            if len(pixels):
                found.append(self._pass_fold(begin, pixels, p.fold, p.hold))
        begins = events.drains.begin
        for number, rows in program.accumulator_rows.items():
            drain, index = program.drains[number], int(events.first_drain[repeat]) + number
            for entry in np.flatnonzero(rows == row) if drain.into == self.index else ():
                when = int(begins[index]) + int(entry) * int(program.pace[number]) + self._feedback
                if when <= last:
                    found.append(self._drain_fold(when, index, int(entry), drain.fold))
        return found

    def _pass_fold(self, begin: int, pixels: np.ndarray, fold: int, hold: int) -> _Fold:
        entered, sums = begin + self._pixel_delay, self._array.sums

        def apply(old: np.ndarray) -> np.ndarray:
            value = fold_values(old, sums(entered + int(pixels[0])), fold)
            if len(pixels) > 1:
                # The adders of a held row fold every sum from the first kept one to the last.
                rest = np.stack([sums(entered + p) for p in range(int(pixels[0]) + 1, int(pixels[-1]) + 1)])
                value = fold_values(
                    value, rest.sum(axis=0, dtype=np.int32) if hold == Fold.ADD else rest.max(axis=0), hold
                )
            return value

        return _Fold(begin + int(pixels[0]) + self._present_delay, fold == Fold.SET, apply)

    def _drain_fold(self, when: int, index: int, entry: int, fold: int) -> _Fold:
        return _Fold(when, fold == Fold.SET, lambda old: fold_values(old, self._results.of(index)[entry], fold))
