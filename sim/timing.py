"""The timing of a program: when each pass may start, and how many cycles a run takes.

Everything here follows from the config and the program; no data value is looked at. Cycles are those in which a pass
issues its pixels, counted from an arbitrary zero; latencies are those that the gateware states.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.accelerator import Accelerator
from etchnet.hdl.accumulators import AccumulatorBank
from etchnet.hdl.config import Config
from etchnet.hdl.fetch import InstructionMemory
from etchnet.hdl.isa import OUTSIDE, Counter, Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.hdl.output import OutputStage
from etchnet.hdl.sequencer import Sequencer

__all__ = [
    "Latencies",
    "ProgramError",
    "Timeline",
    "check",
    "drain_pace",
    "drain_words",
    "drains_of",
    "place",
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
    chain: int
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
            chain=OutputStage.chain_delay(config),
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


def drains_of(passes: Sequence[Pass], drains: Sequence[Drain]) -> list[list[int]]:
    """For each pass, the drains that it starts, by index: one behind a release, and those chained to it.

    Raises
    ------
    ProgramError
        Passes release more or fewer drains than the program has.
    """
    first = [i for i, d in enumerate(drains) if not d.chained]
    releasing = [i for i, p in enumerate(passes) if p.release]
    if len(first) != len(releasing) or (drains and drains[0].chained):
        raise ProgramError(f"{len(releasing)} passes release {len(first)} drains that are not chained to another")
    started: list[list[int]] = [[] for _ in passes]
    for index, begin, end in zip(releasing, first, [*first[1:], len(drains)], strict=False):
        started[index] = list(range(begin, end))
    return started


def drain_pace(drain: Drain, config: Config) -> int:
    """Cycles that a drain takes per row."""
    return config.drain_cycles_per_row(wide=drain.wide)


_STEPS = np.arange(1 << 14)
_STEPS.flags.writeable = False


@dataclass(frozen=True)
class _Footprint:
    """What a pass touches: accumulator rows, the pixel that each belongs to, the words that it reads and when."""

    rows: slice
    steps: np.ndarray
    words: np.ndarray
    when: np.ndarray

    def within(self, memory: int) -> bool:
        """Whether all words lie in a memory of that many."""
        return not len(self.words) or (int(self.words.min()) >= 0 and int(self.words.max()) < memory)


@functools.lru_cache(maxsize=1 << 13)
def _footprint(p: Pass, config: Config) -> _Footprint:
    steps = p.kept(config) if p.kind == TileKind.DEPTHWISE else _STEPS[: p.pixels]
    walked = p.walk()
    when = np.flatnonzero(walked != OUTSIDE)
    if p.hold != Fold.SET:
        # One row, set by the first sum and complete with the last.
        return _Footprint(slice(p.row, p.row + 1), steps[-1:], walked[when], when)
    return _Footprint(slice(p.row, p.row + len(steps)), steps, walked[when], when)


class Timeline:
    """Places passes one after another, each as early as its operands, banks and ports allow.

    A pass waits for: the slot of the pass before; the activation words it reads; the accumulators it adds to; the
    ports of its bank, where drains use them; the drain of the rows it overwrites; and, if it releases drains, the end
    of the drains before. A chained drain waits for the one before it, and for the rows that it reads or adds to.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.latencies = Latencies.of(config)
        self.slot = 0
        self.flip = 0
        """1 where what is placed takes bank 1 for bank 0, and 0 for 1"""
        self.busy_until = 0
        """the cycle behind the last write of every drain so far"""
        rows = config.accumulator_rows
        self._visible = np.full((2, rows), _PAST)
        self._set = np.zeros((2, rows), dtype=bool)
        self._read = np.full((2, rows), _PAST)
        self._port_free = [_PAST, _PAST]
        self._fold_free = [_PAST, _PAST]
        self._activation = np.full(config.activation_words, _PAST)
        self._written = np.zeros(config.activation_words, dtype=bool)
        self._residual = np.full(config.residual_words or 0, _PAST)
        self._kept = np.zeros(config.residual_words or 0, dtype=bool)
        self._output_free = _PAST
        self._window: tuple[int, int] = (0, _PAST)
        self._drains: list[tuple[int, int]] = []

    def copy(self) -> Timeline:
        """The same state, to be continued in another way."""
        other = copy.copy(self)
        for name in ("_visible", "_set", "_read", "_activation", "_written", "_residual", "_kept"):
            setattr(other, name, getattr(self, name).copy())
        for name in ("_port_free", "_fold_free", "_drains"):
            setattr(other, name, list(getattr(self, name)))
        return other

    def begin_repeat(self) -> None:
        """Start the program over: what it reads, it must write first, in every repeat."""
        self._set[:] = False
        self._written[:] = False
        self._kept[:] = False

    def earliest(self, p: Pass, drains: Sequence[Drain], index: int = 0) -> int:
        """The first cycle in which pass `index` may issue; raises ProgramError where none is right."""
        lat, config = self.latencies, self.config
        touched = _footprint(p, config)
        rows, steps, words = touched.rows, touched.steps, touched.words
        if rows.stop > config.accumulator_rows:
            raise ProgramError(
                f"pass {index} folds into accumulator row {rows.stop - 1}; the last is {config.accumulator_rows - 1}"
            )
        bounds = [self.slot]
        if rows.stop > rows.start:
            # Of a held row the first sum counts.
            first = 0 if p.hold != Fold.SET else int(steps[0])
            before = 0 if p.hold != Fold.SET else steps
            bounds.append(int((self._read[p.bank ^ self.flip, rows] - before).max()) + 1 - lat.fold_write)
            bounds.append(self._fold_free[p.bank ^ self.flip] - lat.fold_delay - first)
            if p.fold != Fold.SET:
                if not self._set[p.bank ^ self.flip, rows].all():
                    raise ProgramError(f"pass {index} adds to accumulators that the program has not set")
                bounds.append(int((self._visible[p.bank ^ self.flip, rows] - before).max()) - lat.fold_delay)
                bounds.append(self._port_free[p.bank ^ self.flip] - lat.fold_delay - first)
        if p.source == Source.ACTIVATION:
            if not touched.within(config.activation_words) or not self._written[words].all():
                raise ProgramError(f"pass {index} reads activation words that the program has not written")
            if len(words):
                bounds.append(int((self._activation[words] - touched.when).max()))
        elif not touched.within(config.input_words):
            raise ProgramError(f"pass {index} reads beyond the input memory")
        if p.kind == TileKind.DEPTHWISE and p.line_pixels != self._window[0]:
            bounds.append(self._window[1])
        if drains:
            # What the pass itself folds is complete by the first read: `drain_delay` sees to it.
            offset = p.pixels - 1 + lat.drain_delay
            bounds.append(self._output_free - offset)
            bounds.append(self._drain_bound(drains[0], index) - offset)
        return max(bounds)

    def _drain_bound(self, drain: Drain, index: int) -> int:
        """The first cycle in which a drain may read its first row."""
        config, lat = self.config, self.latencies
        pace, count = drain_pace(drain, config), drain.tiles * drain.pixels
        limit = config.residual_words or 0 if drain.residual else config.accumulator_rows
        if drain.row + count > limit:
            memory = "residual memory" if drain.residual else "accumulators"
            raise ProgramError(f"a drain of pass {index} reads beyond the {memory}")
        rows = slice(drain.row, drain.row + count)
        visible = self._residual[rows] if drain.residual else self._visible[drain.bank ^ self.flip, rows]
        bounds = [int((visible - np.arange(count) * pace).max())]
        if not drain.residual:
            bounds.append(self._port_free[drain.bank ^ self.flip])
        if drain.destination == Destination.ACCUMULATORS:
            named = np.arange(count) * pace + config.groups - 1 + lat.feedback
            folded = self._folded(drain)
            bounds.append(self._fold_free[drain.into ^ self.flip] - int(named[0]))
            if drain.fold != Fold.SET:
                if not drain.residual and drain.into == drain.bank:
                    raise ProgramError(
                        f"a drain of pass {index} reads the bank that it adds to: there is one read port"
                    )
                bounds.append(int((self._visible[drain.into ^ self.flip, folded] - named).max()))
                bounds.append(self._port_free[drain.into ^ self.flip] - int(named[0]))
        return max(bounds)

    def place(self, p: Pass, drains: Sequence[Drain], start: int, index: int = 0) -> list[int]:
        """Issue pass `p` in cycle `start`; returns the idle cycles that its drains need."""
        lat, config = self.latencies, self.config
        touched = _footprint(p, config)
        self._visible[p.bank ^ self.flip, touched.rows] = touched.steps + (start + lat.fold_visible)
        self._set[p.bank ^ self.flip, touched.rows] = True
        self.slot = start + max(p.pixels, config.load_cycles)
        if p.kind == TileKind.DEPTHWISE:
            # Windows of lines of another length may begin when the last column has taken its last sample.
            self._window = p.line_pixels, start + p.pixels + config.rows + config.columns
        if not drains:
            return []
        idle = [0]
        self._drain(drains[0], start + p.pixels - 1 + lat.drain_delay)
        for drain in drains[1:]:
            first = self._output_free - 1 + lat.chain
            idle.append(max(0, self._drain_bound(drain, index) - first))
            self._drain(drain, first + idle[-1])
        return idle

    def _drain(self, drain: Drain, first: int) -> None:
        """Read the first row of a drain in cycle `first`."""
        lat, config = self.latencies, self.config
        pace, count = drain_pace(drain, config), drain.tiles * drain.pixels
        last_read = first + np.arange(count) * pace + config.groups - 1
        end = first + count * pace
        rows = slice(drain.row, drain.row + count)
        if drain.residual:
            if not self._kept[rows].all():
                raise ProgramError("a drain reads residual words that the program has not written")
        else:
            if not self._set[drain.bank ^ self.flip, rows].all():
                raise ProgramError(f"a drain reads rows of bank {drain.bank} that the program has not set")
            self._read[drain.bank ^ self.flip, rows] = last_read
            self._port_free[drain.bank ^ self.flip] = max(self._port_free[drain.bank ^ self.flip], end)
        self._output_free = end
        self._drains.append((first, end))
        written = last_read + lat.result + 1
        size = config.words_per_pixel(wide=drain.wide)
        self.busy_until = max(self.busy_until, int(written[-1]) + size - 1)
        if drain.destination == Destination.ACCUMULATORS:
            named = last_read + lat.feedback
            folded = self._folded(drain)
            if drain.fold != Fold.SET and not self._set[drain.into ^ self.flip, folded].all():
                raise ProgramError(f"a drain adds to rows of bank {drain.into} that the program has not set")
            self._visible[drain.into ^ self.flip, folded] = named + AccumulatorBank.latency(config) + 1
            self._set[drain.into ^ self.flip, folded] = True
            self._fold_free[drain.into ^ self.flip] = int(named[-1]) + 1
            if drain.fold != Fold.SET:
                into = drain.into ^ self.flip
                self._port_free[into] = max(self._port_free[into], int(named[-1]) + 1)
            return
        name, most = {
            Destination.ACTIVATION: ("activation", config.activation_words),
            Destination.OUTPUT: ("output", config.output_words),
            Destination.RESIDUAL: ("residual", config.residual_words or 0),
        }[drain.destination]
        words = drain_words(drain, config).ravel()
        if words.max() + size > most:
            raise ProgramError(f"a drain writes {name} word {words.max() + size - 1}; the last is {most - 1}")
        if drain.destination == Destination.OUTPUT:
            return
        available, done = (
            (self._activation, self._written)
            if drain.destination == Destination.ACTIVATION
            else (self._residual, self._kept)
        )
        for word in range(size):
            available[words + word] = written + word
            done[words + word] = True

    def _folded(self, drain: Drain) -> np.ndarray:
        """The rows that a drain to accumulators folds into."""
        rows, most = drain_words(drain, self.config).ravel(), self.config.accumulator_rows
        if rows.max() >= most:
            raise ProgramError(f"a drain folds into accumulator row {rows.max()}; the last is {most - 1}")
        if drain.wide or len(np.unique(rows)) < len(rows):
            raise ProgramError("a drain to accumulators must not be wide, and must fold into every row once")
        ahead = rows - drain.row
        if not drain.residual and drain.into == drain.bank and (ahead > np.arange(len(rows)))[ahead < len(rows)].any():
            raise ProgramError("a drain in place must not fold into a row that it has yet to read")
        return rows

    def draining(self, start: int, end: int) -> int:
        """Cycles from `start` up to `end` in which the output stage reads."""
        self._drains = [d for d in self._drains if d[1] > start]
        return sum(max(0, min(end, stop) - max(start, first)) for first, stop in self._drains)


def place(timeline: Timeline, p: Pass, drains: Sequence[Drain], index: int = 0) -> tuple[int, int, list[int]]:
    """Issue a pass as early as it may: its idle cycles (all others, requantising), and those of its drains."""
    slot, start = timeline.slot, timeline.earliest(p, drains, index)
    requantising = timeline.draining(slot, start)
    return start - slot - requantising, requantising, timeline.place(p, drains, start, index)


def schedule(
    passes: Sequence[Pass], drains: Sequence[Drain], config: Config, *, once: bool = False
) -> tuple[list[Pass], list[Drain]]:
    """The same program with its idle cycles, so that it may run any number of times back to back.

    With `once` it may only run once per command: its first passes do not wait for its own last drains.
    """
    timeline = Timeline(config)
    started = drains_of(passes, drains)
    repeats = 1 if once else 2
    idle = np.zeros((repeats, len(passes), 2), dtype=np.int64)
    drain_idle = np.zeros((repeats, len(drains)), dtype=np.int64)
    for repeat in range(repeats):
        timeline.begin_repeat()
        for index, p in enumerate(passes):
            others, requantising, behind = place(timeline, p, [drains[i] for i in started[index]], index)
            idle[repeat, index] = others, requantising
            drain_idle[repeat, started[index]] = behind
    longer = idle.sum(axis=2).argmax(axis=0)
    return [
        dataclasses.replace(p, idle=int(idle[longer[i], i, 0]), idle_requantise=int(idle[longer[i], i, 1]))
        for i, p in enumerate(passes)
    ], [dataclasses.replace(d, idle=int(drain_idle[:, i].max())) for i, d in enumerate(drains)]


def check(passes: Sequence[Pass], drains: Sequence[Drain], config: Config, *, repeats: int) -> None:
    """Raise ProgramError for a program that breaks a rule of the machine, or whose passes come before they may."""
    if not passes or not passes[-1].release or not drains or not drains[-1].commit:
        raise ProgramError("a program must end with a pass that releases a drain that commits its output")
    _check_fields(passes, drains, config)
    started = drains_of(passes, drains)
    _check_halves(passes, drains, started)
    timeline = Timeline(config)
    for _ in range(min(repeats, 2)):
        timeline.begin_repeat()
        for index, p in enumerate(passes):
            behind = [drains[i] for i in started[index]]
            start = timeline.slot + p.idle + p.idle_requantise
            if (needed := timeline.earliest(p, behind, index)) > start:
                raise ProgramError(f"pass {index} starts {needed - start} cycles before it may")
            idles = timeline.place(p, behind, start, index)
            for i, drain, idle in zip(started[index], behind, idles, strict=True):
                if drain.idle < idle:
                    raise ProgramError(f"drain {i} starts {idle - drain.idle} cycles before it may")


def _check_fields(passes: Sequence[Pass], drains: Sequence[Drain], config: Config) -> None:
    """Values that a field holds but the machine does not have."""
    for index, p in enumerate(passes):
        tile = config.load_cycles if p.kind in (TileKind.STORED, TileKind.DEPTHWISE) else 1
        if p.pixels < 1:
            raise ProgramError(f"pass {index} must have at least 1 pixel, not {p.pixels}")
        if p.kind not in list(TileKind) or p.fold not in list(Fold) or p.hold not in list(Fold):
            raise ProgramError(f"pass {index} has tile kind {p.kind}, fold {p.fold} and hold {p.hold}: one of them "
                               "does not exist")  # fmt: skip
        if p.hold != Fold.SET and p.fold not in (Fold.SET, p.hold):
            raise ProgramError(f"pass {index} holds a row by {p.hold.name.lower()}: it must fold by set or by that, "
                               f"not by {p.fold.name.lower()}")  # fmt: skip
        if p.kind != TileKind.IDENTITY and p.weights + tile > config.weight_words:
            raise ProgramError(f"pass {index} reads weight word {p.weights + tile - 1}; the last is "
                               f"{config.weight_words - 1}")  # fmt: skip
        if p.kind == TileKind.DEPTHWISE:
            _check_windows(index, p, config)
    for index, d in enumerate(drains):
        if d.tiles < 1 or d.pixels < 1:
            raise ProgramError(f"drain {index} must have at least 1 tile and 1 pixel, not {d.tiles} and {d.pixels}")
        if d.destination not in list(Destination) or d.fold not in list(Fold):
            raise ProgramError(f"drain {index} has destination {d.destination} and fold {d.fold}: one does not exist")
        last = d.parameters + (1 if d.shared else d.tiles) * config.groups - 1
        if last >= config.parameter_words:
            raise ProgramError(f"drain {index} reads parameter word {last}; the last is {config.parameter_words - 1}")
        if d.lane >= config.tiles_per_word:
            raise ProgramError(f"drain {index} has lane {d.lane}; the last is {config.tiles_per_word - 1}")
        if d.low > d.high:
            raise ProgramError(f"drain {index} clamps to {d.low}..{d.high}: low must not be above high")
        if d.wide and d.destination != Destination.OUTPUT:
            raise ProgramError(f"drain {index} writes int32: only the output memory holds it")
        if (d.residual or d.destination == Destination.RESIDUAL) and not config.residual_words:
            raise ProgramError(f"drain {index} uses the residual memory, which this machine does not have")


def _check_windows(index: int, p: Pass, config: Config) -> None:
    """The windows of a depthwise pass lie within what it walks."""
    if not config.depthwise:
        raise ProgramError(f"pass {index} is depthwise, which this machine does not have")
    if not config.shortest_line <= p.line_pixels <= config.longest_line:
        raise ProgramError(f"pass {index} has lines of {p.line_pixels} pixels; depthwise passes take "
                           f"{config.shortest_line} to {config.longest_line}")  # fmt: skip
    if not len(p.kept(config)):
        raise ProgramError(f"pass {index} walks {p.pixels} pixels: no window lies within them")


def _check_halves(passes: Sequence[Pass], drains: Sequence[Drain], started: Sequence[Sequence[int]]) -> None:
    """Halves of the input memory are waited for before they are read; a half of the output, before it is written."""
    held = wrote = False
    for index, p in enumerate(passes):
        held |= p.wait_input
        if (p.source == Source.INPUT or p.release_input) and not held:
            raise ProgramError(f"pass {index} reads the input memory, which it has not waited for or has released")
        held &= not p.release_input
        if p.wait_output and wrote:
            raise ProgramError(f"pass {index} waits for a second half of the output memory; a program has one")
        wrote |= p.wait_output
        for drain in (drains[i] for i in started[index]):
            if drain.commit and (drain.destination != Destination.OUTPUT or drain is not drains[-1]):
                raise ProgramError(
                    f"the drain of pass {index} commits an output; only the last may, and it must write one"
                )
            if drain.destination == Destination.OUTPUT and not wrote:
                raise ProgramError(f"the drain of pass {index} writes the output memory, which no pass has waited for")
    if held and any(p.release_input for p in passes):
        raise ProgramError("a program that releases input must release every half that it waits for")


def reading_cycles(drains: Sequence[Drain], config: Config) -> tuple[int, int]:
    """Of drains chained to one another: cycles that read, and from the first read to the write of the last word."""
    reading, end = 0, 0
    chain = OutputStage.chain_delay(config)
    for index, drain in enumerate(drains):
        cycles = drain.tiles * drain.pixels * drain_pace(drain, config)
        end += cycles + (chain - 1 + drain.idle if index else 0)
        reading += cycles
    last = drains[-1]
    last_read = end - drain_pace(last, config) + config.groups - 1
    return reading, last_read + OutputStage.latency(config) + config.words_per_pixel(wide=last.wide) - 1


def tail(passes: Sequence[Pass], drains: Sequence[Drain], config: Config) -> tuple[int, int]:
    """Cycles from the end of the last pass's slot to its last result: (all, those that read)."""
    lat, last = Latencies.of(config), passes[-1]
    reading, behind = reading_cycles([drains[i] for i in drains_of(passes, drains)[-1]], config)
    behind_pixel = lat.decide + lat.drain_delay + behind
    return behind_pixel - (max(last.pixels, config.load_cycles) - last.pixels), reading


def run_counts(
    passes: Sequence[Pass], drains: Sequence[Drain], config: Config, *, repeats: int = 1
) -> dict[Counter, int]:
    """Every counter of a run that never waits for its links; waits add to CYCLES and to their own class alone."""
    counts = dict.fromkeys(Counter, 0)
    for p in passes:
        counts[Counter.ISSUE] += p.pixels
        counts[Counter.USEFUL] += len(p.kept(config)) * p.useful
        counts[Counter.WEIGHT_LOAD] += max(0, config.load_cycles - p.pixels)
        counts[Counter.REQUANTISE] += p.idle_requantise
        counts[Counter.FILL_DRAIN] += p.idle
    counts = {counter: count * repeats for counter, count in counts.items()}
    total, reading = tail(passes, drains, config)
    counts[Counter.REQUANTISE] += reading
    counts[Counter.FILL_DRAIN] += total - reading + Latencies.of(config).fetch - 1
    counts[Counter.CYCLES] = sum(counts[c] for c in Counter if c not in (Counter.CYCLES, Counter.USEFUL))
    return counts
