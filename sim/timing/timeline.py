"""The timeline: places passes and drains one after another, each in the first cycle that the machine allows."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from etchnet.hdl.isa import Destination, Fold, Source
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing.errors import ProgramError
from etchnet.sim.timing.footprint import DrainFootprint, GroupFootprint, PassFootprint
from etchnet.sim.timing.interleaved import InterleavedPlacer
from etchnet.sim.timing.intervals import NEVER, CycleMap
from etchnet.sim.timing.latencies import Latencies
from etchnet.sim.timing.memories import ActivationState, BankState

__all__ = ["IdleCycles", "PlacedPass", "Timeline"]


class PlacedPass(NamedTuple):
    """Idle cycles of a pass that is placed as early as possible, and of the drains that it starts."""

    idle: int
    """idle cycles of the pass in which the output stage does not read"""
    idle_requantise: int
    """idle cycles of the pass in which the output stage reads"""
    drains: list[int]
    """idle cycles of each drain"""


class IdleCycles(NamedTuple):
    """Idle cycles of a group that is placed as early as possible."""

    passes: list[tuple[int, int, int]]
    """for each pass that needs any: its index in the group, `idle` and `idle_requantise`"""
    drains: list[int]
    """idle cycles of each drain"""


class Timeline:
    """The state of one machine's schedule: it places passes one after another, each as early as the machine allows.

    A pass waits for: the slot of the pass before; the activation words that it reads; the accumulators that it adds to;
    the ports of its bank, if drains use them; the drain of the rows that it overwrites; and, if it releases drains, the
    end of the drains before. A chained drain waits for the one before it, and for the rows that it reads or adds to.

    Cycles are those in which a pass issues its first pixel, counted from an arbitrary zero.

    Parameters
    ----------
    assume_valid
        Whether every pass and drain is known to read only what others have written. Then this is not checked, and
        copies keep only what can still delay a pass.

    Attributes
    ----------
    slot
        The first cycle in which the next pass may issue, considering only the slots of the passes before it.
    banks_swapped
        Whether passes and drains are placed with their banks exchanged: bank 1 instead of 0, and 0 instead of 1.
    busy_until
        The first cycle after the last write of every drain placed so far.
    """

    def __init__(self, config: Config, *, assume_valid: bool = False) -> None:
        self.config, self.assume_valid = config, assume_valid
        self.latencies = Latencies.of(config)
        self._written_memories = {
            Destination.ACTIVATION: ("activation", config.activation_words),
            Destination.OUTPUT: ("output", config.output_words),
            Destination.RESIDUAL: ("residual", config.residual_words),
        }
        self.slot = 0
        self.banks_swapped = False
        self.busy_until = 0
        self.banks = [BankState(), BankState()]
        self.activation = ActivationState(np.zeros(0 if assume_valid else config.activation_words, bool))
        self._residual = CycleMap()
        self._output_free = NEVER
        """first cycle in which the output stage can read for another drain"""
        self._lines: tuple[int, int] = (0, NEVER)
        """length of the lines in the line buffers, and the first cycle in which a pass with another length may issue"""
        self._drains: list[tuple[int, int]] = []
        """ranges of cycles in which the output stage reads, from `slot` on"""

    def copy(self) -> Timeline:
        """Return an independent copy."""
        other = copy.copy(self)
        # A validity check needs all past writes; timing needs only accesses that can still delay a pass.
        copied = functools.partial(CycleMap.pending, cycle=self.slot) if self.assume_valid else CycleMap.copy
        other.banks = [bank.copied(copied) for bank in self.banks]
        other._residual = copied(self._residual)
        other.activation = self.activation.copy()
        other._drains = list(self._drains)
        return other

    def shifted(self, by: int, *, swap_banks: bool) -> Timeline:
        """Return a copy in which everything happens `by` cycles later, with the banks exchanged if `swap_banks`."""
        other = self.copy()
        other.banks = [bank.shifted(by) for bank in other.banks]
        if swap_banks:
            other.banks.reverse()
        other._residual = other._residual.shifted(by)
        other.activation = self.activation.shifted(by)
        other._drains = [(first + by, stop + by) for first, stop in self._drains]
        other._lines = self._lines[0], self._lines[1] + by
        other.slot, other.busy_until, other._output_free = self.slot + by, self.busy_until + by, self._output_free + by
        return other

    @property
    def state_key(self) -> object:
        """Everything that the timing of later passes depends on, relative to `slot`, if `assume_valid` is set.

        Timelines with equal keys evolve identically up to a shift: after the same passes, each is the other `shifted`.
        """
        slot, swapped = self.slot, self.banks_swapped
        return (
            self.banks[swapped].state_key(slot),
            self.banks[not swapped].state_key(slot),
            self._residual.state_key(slot),
            max(0, self._output_free - slot),
            (self._lines[0], max(0, self._lines[1] - slot)),
            self.activation.state_key(slot),
        )

    def earliest(self, p: PassFootprint, drains: Sequence[DrainFootprint], index: int = 0) -> int:
        """Return the first cycle in which a pass that starts `drains` may issue.

        Raises
        ------
        ProgramError
            The pass or its drains access rows or words that do not exist or are not written. The message names the pass
            by `index`.
        """
        lat, config, rows = self.latencies, self.config, p.rows
        if rows[1] > config.accumulator_rows:
            raise ProgramError(
                f"pass {index} folds into accumulator row {rows[1] - 1}; the last is {config.accumulator_rows - 1}"
            )
        start = self.slot
        if rows[1] > rows[0]:
            bank = self.banks[p.bank ^ self.banks_swapped]
            first = p.first_fold
            if bank.last_read + 1 - lat.fold_write > start:
                start = max(start, bank.read.earliest_base(rows, p.steps) + 1 - lat.fold_write)
            start = max(start, bank.fold_free - lat.fold_delay - first)
            if p.adds:
                if not self.assume_valid and not bank.complete.is_assigned(rows):
                    raise ProgramError(f"pass {index} adds to accumulators that the program has not set")
                start = max(
                    start,
                    bank.complete.earliest_base(rows, p.steps) - lat.fold_delay,
                    bank.port_free - lat.fold_delay - first,
                )
        if p.source == Source.ACTIVATION:
            if not self.assume_valid and not self.activation.is_written(p):
                raise ProgramError(f"pass {index} reads activation words that the program has not written")
            if self.activation.arriving and start < self.activation.all_readable(p.words, self.slot):
                start = self.activation.earliest_start(*p.read(), start)
        elif p.words[0] < 0 or p.words[1] > config.input_words:
            words = p.read()[0]
            if len(words) and (int(words.min()) < 0 or int(words.max()) >= config.input_words):
                raise ProgramError(f"pass {index} reads beyond the input memory")
        if p.line_pixels and p.line_pixels != self._lines[0]:
            start = max(start, self._lines[1])
        if drains:
            start = max(start, self.earliest_release(drains[0], p.instruction.pixels, index))
        return start

    def earliest_release(self, drain: DrainFootprint, pixels: int, index: int) -> int:
        """Return the first cycle in which a pass of `pixels` pixels may issue, considering only its first drain."""
        # The rows that the pass itself folds are complete by the first read: `drain_delay` ensures it.
        return max(self._output_free, self._earliest_read(drain, index)) - (pixels - 1 + self.latencies.drain_delay)

    def issue(
        self,
        p: PassFootprint,
        drains: Sequence[DrainFootprint],
        start: int,
        index: int = 0,
        drain_idle: Sequence[int] | None = None,
    ) -> list[int]:
        """Issue a pass in cycle `start`, and start its drains; return the idle cycles that each drain needs.

        `start` must not be before `earliest`. Each chained drain waits `drain_idle` cycles, but at least as many as it
        needs. Raises ProgramError if a drain cannot run.
        """
        lat, config, rows, pixels = self.latencies, self.config, p.rows, p.instruction.pixels
        if rows[1] > rows[0]:
            base = start + lat.fold_visible + p.completion
            self.banks[p.bank ^ self.banks_swapped].complete.assign(rows, base, p.steps)
        self.slot = start + p.slot_cycles
        if p.line_pixels:
            # Windows of lines of another length may begin when the last column has taken its last sample.
            self._lines = p.line_pixels, start + pixels + config.rows + config.columns
        return self.release(drains, start, pixels, index, drain_idle) if drains else []

    def place(self, p: PassFootprint, drains: Sequence[DrainFootprint], index: int = 0) -> PlacedPass:
        """Issue a pass in the first possible cycle; raises ProgramError as `earliest` and `issue` do."""
        slot, start = self.slot, self.earliest(p, drains, index)
        requantising = self.reading_cycles(slot, start) if start > slot else 0
        return PlacedPass(start - slot - requantising, requantising, self.issue(p, drains, start, index))

    def place_group(self, group: GroupFootprint) -> IdleCycles:
        """Place the passes of a group, and the drains that the last of them starts, each as early as possible."""
        if group.interleaved:
            return IdleCycles(*InterleavedPlacer(self, group).place())
        idles, last = [], len(group.passes) - 1
        of_drains: list[int] = []
        for index, p in enumerate(group.passes):
            idle, idle_requantise, of_drains = self.place(p, group.drains if index == last else (), index)
            if idle or idle_requantise:
                idles.append((index, idle, idle_requantise))
        return IdleCycles(idles, of_drains)

    def reading_cycles(self, start: int, stop: int) -> int:
        """Return the number of cycles in `start` to `stop` - 1 in which the output stage reads; forget earlier ones."""
        self._drains = [d for d in self._drains if d[1] > start]
        return sum(max(0, min(stop, end) - max(start, first)) for first, end in self._drains)

    def release(
        self,
        drains: Sequence[DrainFootprint],
        start: int,
        pixels: int,
        index: int,
        drain_idle: Sequence[int] | None = None,
    ) -> list[int]:
        """Start the drains of a pass that issues in cycle `start`; return the idle cycles that each of them needs."""
        needed = [0]
        self._drain(drains[0], start + pixels - 1 + self.latencies.drain_delay)
        for number, drain in enumerate(drains[1:], 1):
            first = self._output_free - 1 + self.latencies.chain
            needed.append(max(0, self._earliest_read(drain, index) - first))
            self._drain(drain, first + (needed[-1] if drain_idle is None else max(needed[-1], drain_idle[number])))
        return needed

    def _earliest_read(self, footprint: DrainFootprint, index: int) -> int:
        """Return the first cycle in which a drain may read its first row."""
        config, lat, drain, rows = self.config, self.latencies, footprint.drain, footprint.rows
        limit = config.residual_words if drain.residual else config.accumulator_rows
        if rows[1] > limit:
            memory = "residual memory" if drain.residual else "accumulators"
            raise ProgramError(f"a drain of pass {index} reads beyond the {memory}")
        if drain.residual:
            bound = self._residual.earliest_base(rows, footprint.pace)
        else:
            bank = self.banks[drain.bank ^ self.banks_swapped]
            bound = max(bank.complete.earliest_base(rows, footprint.pace), bank.port_free)
        if drain.destination == Destination.ACCUMULATORS:
            into, until_fold = self.banks[drain.into ^ self.banks_swapped], config.groups - 1 + lat.feedback
            folded = footprint.folded_rows()
            bound = max(bound, into.fold_free - until_fold)
            if drain.fold != Fold.SET:
                if not drain.residual and drain.into == drain.bank:
                    raise ProgramError(
                        f"a drain of pass {index} reads the bank that it adds to: there is one read port"
                    )
                bound = max(bound, into.port_free - until_fold)
                done = 0
                for run in folded:
                    complete = into.complete.earliest_base(run, footprint.pace)
                    bound = max(bound, complete - done * footprint.pace - until_fold)
                    done += run[1] - run[0]
        return bound

    def _drain(self, footprint: DrainFootprint, first: int) -> None:
        """Read the first row of a drain in cycle `first`."""
        lat, config, drain = self.latencies, self.config, footprint.drain
        pace, count, rows = footprint.pace, footprint.row_count, footprint.rows
        # The first row is read for the last time here; all that follows from row i comes i x `pace` cycles later.
        last_read = first + config.groups - 1
        end, further = first + count * pace, (count - 1) * pace
        if drain.residual:
            if not self.assume_valid and not self._residual.is_assigned(rows):
                raise ProgramError("a drain reads residual words that the program has not written")
        else:
            bank = self.banks[drain.bank ^ self.banks_swapped]
            if not self.assume_valid and not bank.complete.is_assigned(rows):
                raise ProgramError(f"a drain reads rows of bank {drain.bank} that the program has not set")
            bank.read.assign(rows, last_read, pace)
            bank.last_read = max(bank.last_read, last_read + further)
            bank.port_free = max(bank.port_free, end)
        self._output_free = end
        self._drains.append((first, end))
        written = last_read + lat.result + 1
        size = footprint.words_per_row
        self.busy_until = max(self.busy_until, written + further + size - 1)
        if drain.destination == Destination.ACCUMULATORS:
            self._fold(footprint, last_read + lat.feedback)
            return
        name, words = self._written_memories[drain.destination]
        last_word = footprint.last_word + size - 1
        if last_word >= words:
            raise ProgramError(f"a drain writes {name} word {last_word}; the last is {words - 1}")
        if drain.destination == Destination.ACTIVATION:
            self.activation.write(footprint, last_word, written, written + further + size - 1)
        elif drain.destination == Destination.RESIDUAL:
            self._write_residual(footprint, written, size)

    def _fold(self, footprint: DrainFootprint, first: int) -> None:
        """Fold the results of a drain into an accumulator bank, presenting the first row in cycle `first`."""
        drain, pace = footprint.drain, footprint.pace
        bank, adds = self.banks[drain.into ^ self.banks_swapped], drain.fold != Fold.SET
        done = 0
        for run in footprint.folded_rows():
            if adds and not self.assume_valid and not bank.complete.is_assigned(run):
                raise ProgramError(f"a drain adds to rows of bank {drain.into} that the program has not set")
            bank.complete.assign(run, first + done * pace + self.latencies.accumulate + 1, pace)
            done += run[1] - run[0]
        bank.fold_free = first + (footprint.row_count - 1) * pace + 1
        if adds:
            bank.port_free = max(bank.port_free, bank.fold_free)

    def _write_residual(self, footprint: DrainFootprint, written: int, size: int) -> None:
        """Record the writes of a drain to the residual memory, whose first word can be read from cycle `written` on."""
        drain, pace = footprint.drain, footprint.pace
        for tile in range(drain.tiles):
            address, at = drain.address + tile * drain.tile_stride, written + tile * drain.pixels * pace
            if size == 1 and drain.stride == 1 and not drain.lane:
                self._residual.assign((address, address + drain.pixels), at, pace)
                continue
            for row in range(drain.pixels):
                for offset in range(size):
                    word = int(footprint.words[tile * drain.pixels + row]) + offset
                    self._residual.assign((word, word + 1), at + row * pace + offset, 1)
