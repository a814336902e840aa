"""The timing of a program: when each pass may start, and how many cycles a run takes.

Everything here follows from the config and the program; no data value is looked at. Cycles are those in which a pass
issues its pixels, counted from an arbitrary zero; latencies are those that the gateware states.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.accelerator import Accelerator
from etchnet.hdl.accumulators import AccumulatorBank
from etchnet.hdl.config import Config
from etchnet.hdl.fetch import InstructionMemory
from etchnet.hdl.isa import Counter, Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.hdl.output import OutputStage
from etchnet.hdl.sequencer import Sequencer

__all__ = [
    "Latencies",
    "ProgramError",
    "Timeline",
    "check",
    "drain_words",
    "reading_cycles",
    "run_counts",
    "schedule",
    "tail",
]

_PAST = -(1 << 40)


class ProgramError(ValueError):
    """A program that would read what is not there yet, or use one port twice."""


@dataclass(frozen=True)
class Latencies:
    """The latencies of one machine, from its gateware."""

    decide: int
    fetch: int
    fold_delay: int
    fold_write: int
    fold_visible: int
    drain_delay: int
    result: int
    feedback: int

    @classmethod
    def of(cls, config: Config) -> Latencies:
        """The latencies of `config`'s machine."""
        return cls(
            decide=Sequencer.latency(config),
            fetch=InstructionMemory.latency(config),
            fold_delay=Accelerator.fold_delay(config),
            fold_write=Accelerator.fold_delay(config) + AccumulatorBank.latency(config),
            fold_visible=Accelerator.fold_visible(config),
            drain_delay=Accelerator.drain_delay(config),
            result=OutputStage.latency(config),
            feedback=OutputStage.fold_latency(config),
        )


def drain_words(drain: Drain, config: Config) -> np.ndarray:
    """First word, or accumulator row, that each row of a drain writes: int64 of shape (tiles, pixels)."""
    tile, pixel = np.arange(drain.tiles), np.arange(drain.pixels)
    if drain.wide or drain.destination == Destination.ACCUMULATORS:
        word = tile
    else:
        word = (drain.lane + tile) // config.tiles_per_word
    return drain.address + word[:, None] * drain.tile_stride + pixel[None, :] * drain.stride


class Timeline:
    """Places passes one after another, each as early as its operands, banks and ports allow.

    A pass waits for: the slot of the pass before; the activation words it reads; the accumulators it adds to; the
    read port of its bank, if it adds; the drain of the rows it overwrites; and, if it releases a drain, the end of
    the drain before.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.latencies = Latencies.of(config)
        self.slot = 0
        rows = config.accumulator_rows
        self._visible = np.full((2, rows), _PAST)
        self._set = np.zeros((2, rows), dtype=bool)
        self._read = np.full((2, rows), _PAST)
        self._port_free = [_PAST, _PAST]
        self._fold_free = [_PAST, _PAST]
        self._activation = np.full(config.activation_words, _PAST)
        self._written = np.zeros(config.activation_words, dtype=bool)
        self._output_free = _PAST
        self._drains: list[tuple[int, int]] = []

    def begin_repeat(self) -> None:
        """Start the program over: what it reads, it must write first, in every repeat."""
        self._set[:] = False
        self._written[:] = False

    def earliest(self, p: Pass, drain: Drain | None, index: int = 0) -> int:
        """The first cycle in which pass `index` may issue; raises ProgramError where none is right."""
        lat, steps = self.latencies, np.arange(p.pixels)
        rows = slice(p.row, p.row + p.pixels)
        if p.row + p.pixels > self.config.accumulator_rows:
            raise ProgramError(
                f"pass {index} folds into accumulator row {p.row + p.pixels - 1}; "
                f"the last is {self.config.accumulator_rows - 1}"
            )
        bounds = [self.slot, int((self._read[p.bank, rows] - steps).max()) + 1 - lat.fold_write]
        bounds.append(self._fold_free[p.bank] - lat.fold_delay)
        if p.fold != Fold.SET:
            if not self._set[p.bank, rows].all():
                raise ProgramError(f"pass {index} adds to accumulators that the program has not set")
            bounds.append(int((self._visible[p.bank, rows] - steps).max()) - lat.fold_delay)
            bounds.append(self._port_free[p.bank] - lat.fold_delay)
        if p.source == Source.ACTIVATION:
            words = p.address + steps * p.stride
            if words[-1] >= self.config.activation_words or not self._written[words].all():
                raise ProgramError(f"pass {index} reads activation words that the program has not written")
            bounds.append(int((self._activation[words] - steps).max()))
        elif p.address + (p.pixels - 1) * p.stride >= self.config.input_words:
            raise ProgramError(f"pass {index} reads beyond the input memory")
        if p.release:
            if drain is None:
                raise ProgramError(f"pass {index} releases a drain that the program does not have")
            offset = p.pixels - 1 + lat.drain_delay
            pace = self.config.drain_cycles_per_row(wide=drain.wide)
            count = drain.tiles * drain.pixels
            if drain.row + count > self.config.accumulator_rows:
                raise ProgramError(f"the drain of pass {index} reads beyond the accumulators")
            drained = slice(drain.row, drain.row + count)
            bounds.append(self._output_free - offset)
            bounds.append(self._port_free[drain.bank] - offset)
            bounds.append(int((self._visible[drain.bank, drained] - np.arange(count) * pace).max()) - offset)
            if drain.destination == Destination.ACCUMULATORS and drain.fold != Fold.SET:
                folded = self._folded(drain)
                named = np.arange(count) * pace + self.config.groups - 1 + lat.feedback
                bounds.append(int((self._visible[1 - drain.bank, folded] - named).max()) - offset)
        return max(bounds)

    def place(self, p: Pass, drain: Drain | None, start: int) -> None:
        """Issue pass `p` in cycle `start`."""
        lat, config = self.latencies, self.config
        rows = slice(p.row, p.row + p.pixels)
        self._visible[p.bank, rows] = start + np.arange(p.pixels) + lat.fold_visible
        self._set[p.bank, rows] = True
        self.slot = start + max(p.pixels, config.load_cycles)
        if not p.release or drain is None:
            return
        count = drain.tiles * drain.pixels
        pace = config.drain_cycles_per_row(wide=drain.wide)
        first = start + p.pixels - 1 + lat.drain_delay
        last_read = first + np.arange(count) * pace + config.groups - 1
        end = first + count * pace
        self._read[drain.bank, drain.row : drain.row + count] = last_read
        self._port_free[drain.bank] = max(self._port_free[drain.bank], end)
        self._output_free = end
        self._drains.append((first, end))
        if not self._set[drain.bank, drain.row : drain.row + count].all():
            raise ProgramError(f"a drain reads rows of bank {drain.bank} that the program has not set")
        if drain.destination == Destination.OUTPUT:
            last = int(drain_words(drain, config).max()) + config.words_per_pixel(wide=drain.wide) - 1
            if last >= config.output_words:
                raise ProgramError(f"a drain writes output word {last}; the last is {config.output_words - 1}")
        if drain.destination == Destination.ACTIVATION:
            written = last_read + lat.result + 1
            words = drain_words(drain, config).ravel()
            for word in range(config.words_per_pixel(wide=drain.wide)):
                if words.max() + word >= config.activation_words:
                    raise ProgramError(f"a drain writes activation word {words.max() + word}; "
                                       f"the last is {config.activation_words - 1}")  # fmt: skip
                self._activation[words + word] = written + word
                self._written[words + word] = True
        elif drain.destination == Destination.ACCUMULATORS:
            target, named = 1 - drain.bank, last_read + lat.feedback
            folded = self._folded(drain)
            if drain.fold != Fold.SET and not self._set[target, folded].all():
                raise ProgramError(f"a drain adds to rows of bank {target} that the program has not set")
            self._visible[target, folded] = named + AccumulatorBank.latency(config) + 1
            self._set[target, folded] = True
            self._fold_free[target] = int(named[-1]) + 1
            self._port_free[target] = max(self._port_free[target], int(named[-1]) + 1)

    def _folded(self, drain: Drain) -> np.ndarray:
        """The rows of the other bank that a drain to accumulators folds into."""
        rows, most = drain_words(drain, self.config).ravel(), self.config.accumulator_rows
        if rows.max() >= most:
            raise ProgramError(f"a drain folds into accumulator row {rows.max()}; the last is {most - 1}")
        if drain.wide or len(np.unique(rows)) < len(rows):
            raise ProgramError("a drain to accumulators must not be wide, and must fold into every row once")
        return rows

    def draining(self, start: int, end: int) -> int:
        """Cycles from `start` up to `end` in which the output stage reads accumulators."""
        self._drains = [d for d in self._drains if d[1] > start]
        return sum(max(0, min(end, stop) - max(start, first)) for first, stop in self._drains)


def schedule(passes: Sequence[Pass], drains: Sequence[Drain], config: Config, *, once: bool = False) -> list[Pass]:
    """The same passes with their idle cycles, so that the program may run any number of times back to back.

    With `once` it may only run once per command: its first passes do not wait for its own last drains.
    """
    timeline = Timeline(config)
    idle = np.zeros((1 if once else 2, len(passes), 2), dtype=np.int64)
    for repeat in range(len(idle)):
        timeline.begin_repeat()
        pending = iter(drains)
        for index, p in enumerate(passes):
            drain = next(pending, None) if p.release else None
            start = timeline.earliest(p, drain, index)
            requantising = timeline.draining(timeline.slot, start)
            idle[repeat, index] = start - timeline.slot - requantising, requantising
            timeline.place(p, drain, start)
    longer = idle.sum(axis=2).argmax(axis=0)
    return [
        dataclasses.replace(p, idle=int(idle[longer[i], i, 0]), idle_requantise=int(idle[longer[i], i, 1]))
        for i, p in enumerate(passes)
    ]


def check(passes: Sequence[Pass], drains: Sequence[Drain], config: Config, *, repeats: int) -> None:
    """Raise ProgramError for a program that breaks a rule of the machine, or whose passes come before they may."""
    _check_fields(passes, drains, config)
    if not passes or not passes[-1].release or not drains or not drains[-1].commit:
        raise ProgramError("a program must end with a pass that releases a drain that commits its output")
    if sum(p.release for p in passes) != len(drains):
        raise ProgramError(f"{sum(p.release for p in passes)} passes release {len(drains)} drains")
    _check_halves(passes, drains)
    timeline = Timeline(config)
    for _ in range(min(repeats, 2)):
        timeline.begin_repeat()
        pending = iter(drains)
        for index, p in enumerate(passes):
            drain = next(pending) if p.release else None
            start = timeline.slot + p.idle + p.idle_requantise
            if (needed := timeline.earliest(p, drain, index)) > start:
                raise ProgramError(f"pass {index} starts {needed - start} cycles before it may")
            timeline.place(p, drain, start)


def _check_fields(passes: Sequence[Pass], drains: Sequence[Drain], config: Config) -> None:
    """Values that a field holds but the machine does not have."""
    for index, p in enumerate(passes):
        tile = config.load_cycles if p.kind == TileKind.STORED else 1
        if p.pixels < 1:
            raise ProgramError(f"pass {index} must have at least 1 pixel, not {p.pixels}")
        if p.kind not in list(TileKind) or p.fold not in list(Fold):
            raise ProgramError(f"pass {index} has tile kind {p.kind} and fold {p.fold}: one of them does not exist")
        if p.kind != TileKind.IDENTITY and p.weights + tile > config.weight_words:
            raise ProgramError(f"pass {index} reads weight word {p.weights + tile - 1}; the last is "
                               f"{config.weight_words - 1}")  # fmt: skip
    for index, d in enumerate(drains):
        if d.tiles < 1 or d.pixels < 1:
            raise ProgramError(f"drain {index} must have at least 1 tile and 1 pixel, not {d.tiles} and {d.pixels}")
        if d.destination not in list(Destination) or d.fold not in list(Fold):
            raise ProgramError(f"drain {index} has destination {d.destination} and fold {d.fold}: one does not exist")
        last = d.parameters + d.tiles * config.groups - 1
        if last >= config.parameter_words:
            raise ProgramError(f"drain {index} reads parameter word {last}; the last is {config.parameter_words - 1}")
        if d.lane >= config.tiles_per_word:
            raise ProgramError(f"drain {index} has lane {d.lane}; the last is {config.tiles_per_word - 1}")
        if d.low > d.high:
            raise ProgramError(f"drain {index} clamps to {d.low}..{d.high}: low must not be above high")
        if d.wide and d.destination == Destination.ACTIVATION:
            raise ProgramError(f"drain {index} writes int32 to the activation memory, which holds int8")


def _check_halves(passes: Sequence[Pass], drains: Sequence[Drain]) -> None:
    """Halves of the input memory are waited for before they are read; a half of the output, before it is written."""
    held = wrote = False
    pending = iter(drains)
    for index, p in enumerate(passes):
        held |= p.wait_input
        if (p.source == Source.INPUT or p.release_input) and not held:
            raise ProgramError(f"pass {index} reads the input memory, which it has not waited for or has released")
        held &= not p.release_input
        if p.wait_output and wrote:
            raise ProgramError(f"pass {index} waits for a second half of the output memory; a program has one")
        wrote |= p.wait_output
        drain = next(pending) if p.release else None
        if drain is not None and drain.commit and (drain.destination != Destination.OUTPUT or drain is not drains[-1]):
            raise ProgramError(f"the drain of pass {index} commits an output; only the last may, and it must write one")
        if drain is not None and drain.destination == Destination.OUTPUT and not wrote:
            raise ProgramError(f"the drain of pass {index} writes the output memory, which no pass has waited for")
    if held and any(p.release_input for p in passes):
        raise ProgramError("a program that releases input must release every half that it waits for")


def reading_cycles(drain: Drain, config: Config) -> tuple[int, int]:
    """Cycles from a drain's first read to its last, and to the write of its last word."""
    rows = drain.tiles * drain.pixels - 1
    last_read = rows * config.drain_cycles_per_row(wide=drain.wide) + config.groups - 1
    return last_read, last_read + OutputStage.latency(config) + config.words_per_pixel(wide=drain.wide) - 1


def tail(last: Pass, drain: Drain, config: Config) -> tuple[int, int]:
    """Cycles from the end of the last pass's slot to its last result: (all, those that read accumulators)."""
    lat = Latencies.of(config)
    reading = drain.tiles * drain.pixels * config.drain_cycles_per_row(wide=drain.wide)
    behind_pixel = lat.decide + lat.drain_delay + reading_cycles(drain, config)[1]
    return behind_pixel - (max(last.pixels, config.load_cycles) - last.pixels), reading


def run_counts(
    passes: Sequence[Pass], drains: Sequence[Drain], config: Config, *, repeats: int = 1
) -> dict[Counter, int]:
    """Every counter of a run that never waits for its links; waits add to CYCLES and to their own class alone."""
    counts = dict.fromkeys(Counter, 0)
    for p in passes:
        counts[Counter.ISSUE] += p.pixels
        counts[Counter.USEFUL] += p.pixels * p.useful
        counts[Counter.WEIGHT_LOAD] += max(0, config.load_cycles - p.pixels)
        counts[Counter.REQUANTISE] += p.idle_requantise
        counts[Counter.FILL_DRAIN] += p.idle
    counts = {counter: count * repeats for counter, count in counts.items()}
    total, reading = tail(passes[-1], drains[-1], config)
    counts[Counter.REQUANTISE] += reading
    counts[Counter.FILL_DRAIN] += total - reading + Latencies.of(config).fetch - 1
    counts[Counter.CYCLES] = sum(counts[c] for c in Counter if c not in (Counter.CYCLES, Counter.USEFUL))
    return counts
