"""The timing of a program: when each pass may start, and how many cycles a run takes.

Everything here follows from the config and the program; no data value is looked at. Cycles are those in which a pass
issues its pixels, counted from an arbitrary zero; latencies are those that the gateware states.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.isa import OUTSIDE, Counter, Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.hdl.isa.passes import is_stored

__all__ = [
    "Idles",
    "Latencies",
    "ProgramError",
    "Taken",
    "Timeline",
    "Turns",
    "check",
    "drain_pace",
    "drain_words",
    "drains_of",
    "place",
    "reading_cycles",
    "run_counts",
    "schedule",
    "tail",
    "words_read",
]

_PAST = -(1 << 40)
_KINDS, _FOLDS, _DESTINATIONS = frozenset(TileKind), frozenset(Fold), frozenset(Destination)


class ProgramError(EtchnetError, ValueError):
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
    commit: int

    @classmethod
    def of(cls, config: Config) -> Latencies:
        """The latencies of `config`'s machine."""
        return cls(
            decide=Sequencer.latency(config),
            fetch=InstructionMemory.latency(config),
            fold_delay=Machine.fold_delay(config),
            fold_write=Machine.fold_delay(config) + AccumulatorBank.latency(config),
            fold_visible=Machine.fold_visible(config),
            drain_delay=Machine.drain_delay(config),
            chain=OutputStage.chain_delay(config),
            result=OutputStage.latency(config),
            feedback=OutputStage.fold_latency(config),
            commit=Machine.commit_delay(config),
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

_Steps = int | np.ndarray
"""What is added from one row to the next: as much for each, or an array of what each has."""


def _end(rows: tuple[int, int], run: tuple[int, _Steps, int]) -> int:
    """The last cycle of a run."""
    base, steps, _ = run
    return base + (steps * (rows[1] - rows[0] - 1) if isinstance(steps, int) else int(steps[-1]))


class _Rows:
    """For every row of a memory the cycle that it was last set, read or written in, as runs of neighbouring rows.

    A run is (first row, row behind the last): (cycle of the first row, steps, epoch). `steps` is what a row adds: a
    whole number for each row, or an array of one for every row.
    """

    __slots__ = ("runs",)

    def __init__(self, runs: dict[tuple[int, int], tuple[int, _Steps, int]] | None = None) -> None:
        self.runs = {} if runs is None else runs

    def copy(self) -> _Rows:
        return _Rows(dict(self.runs))

    def after(self, cycle: int) -> _Rows:
        """Those with a cycle after one."""
        return _Rows({rows: run for rows, run in self.runs.items() if _end(rows, run) > cycle})

    def moved(self, by: int) -> _Rows:
        """The same, later by some cycles."""
        return _Rows({rows: (base + by, steps, epoch) for rows, (base, steps, epoch) in self.runs.items()})

    def seen_from(self, cycle: int) -> frozenset[object]:
        """All that is after a cycle, and how far behind it."""
        return frozenset(
            (rows, run[0] - cycle, run[1] if isinstance(run[1], int) else run[1].tobytes())
            for rows, run in self.runs.items()
            if _end(rows, run) > cycle
        )

    def put(self, rows: tuple[int, int], base: int, steps: _Steps, epoch: int) -> None:
        """Row `rows[0]` + i has cycle `base` + the i-th step."""
        runs = self.runs
        if rows not in runs:
            begin, end = rows
            for (a, b), (at, s, old) in [item for item in runs.items() if item[0][0] < end and begin < item[0][1]]:
                del runs[a, b]
                if a < begin:
                    runs[a, begin] = at, s if isinstance(s, int) else s[: begin - a], old
                if end < b:
                    runs[end, b] = (at + s * (end - a), s, old) if isinstance(s, int) else (at, s[end - a :], old)
        runs[rows] = base, steps, epoch

    def latest(self, rows: tuple[int, int], steps: _Steps) -> int:
        """The largest of the rows' cycles, each less its step."""
        run = self.runs.get(rows)
        if run is not None and isinstance(steps, int) and isinstance(run[1], int):
            slope = run[1] - steps
            return run[0] + slope * (rows[1] - rows[0] - 1) if slope > 0 else run[0]
        begin, end = rows
        found = _PAST
        for (a, b), (at, s, _) in self.runs.items():
            if a < end and begin < b:
                first, behind = max(a, begin), min(b, end)
                if isinstance(s, int) and isinstance(steps, int):
                    first_value = at + s * (first - a) - steps * (first - begin)
                    found = max(found, first_value, first_value + (s - steps) * (behind - 1 - first))
                else:
                    cycles = s * _STEPS[first - a : behind - a] if isinstance(s, int) else s[first - a : behind - a]
                    less = (
                        steps * _STEPS[first - begin : behind - begin]
                        if isinstance(steps, int)
                        else steps[first - begin : behind - begin]
                    )
                    found = max(found, at + int((cycles - less).max()))
        return found

    def covers(self, rows: tuple[int, int], epoch: int) -> bool:
        """Whether all of the rows were put in this epoch."""
        run = self.runs.get(rows)
        if run is not None:
            return run[2] == epoch
        begin, end = rows
        inside = sum(
            min(b, end) - max(a, begin)
            for (a, b), (_, _, when) in self.runs.items()
            if a < end and begin < b and when == epoch
        )
        return inside == end - begin


@functools.lru_cache(maxsize=1 << 10)
def _windows(config: Config, *geometry: int) -> np.ndarray:
    """The pixels of a depthwise pass whose sums are kept."""
    pixels, columns, dropped, skip_columns, skip_lines = geometry
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


class _Touch:
    """What a pass touches: accumulator rows, the pixel that each belongs to, and the words that it reads."""

    __slots__ = ("adds", "bank", "complete", "first", "lines", "memory", "occupies", "of", "rows", "steps", "words")

    def __init__(self, p: Pass, config: Config) -> None:
        self.of, self.bank, self.adds = p, p.bank, p.fold != Fold.SET
        self.memory = p.source
        self.occupies = config.pass_cycles(p.pixels)
        self.lines = p.line_pixels if p.kind == TileKind.DEPTHWISE else 0
        self.steps: _Steps = 1
        first, last, count = 0, p.pixels - 1, p.pixels
        if self.lines:
            self.steps = kept = _windows(config, p.pixels, p.columns, p.dropped, p.skip_columns, p.skip_lines)
            count = len(kept)
            if count:
                first, last = int(kept[0]), int(kept[-1])
        # Of a held row the first sum counts where it waits, and the last where others wait for it.
        held = p.hold != Fold.SET and count > 0
        if held:
            self.steps, count = 0, 1
        self.first, self.complete = (0, last) if held else (first, 0)
        self.rows = p.row, p.row + count
        self.words = p.word_span()

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """The words that are read, and when."""
        return words_read(self.of)


def words_read(p: Pass) -> tuple[np.ndarray, np.ndarray]:
    """The words that a pass reads, and in which of its cycles."""
    walked = p.walk()
    when = np.flatnonzero(walked != OUTSIDE)
    return walked[when], when


class _Way:
    """What a drain does: the rows that it reads, and those that it folds into."""

    __slots__ = ("_folded", "_words", "config", "count", "drain", "pace", "rows")

    def __init__(self, drain: Drain, config: Config) -> None:
        self.drain, self.config = drain, config
        self.count, self.pace = drain.tiles * drain.pixels, drain_pace(drain, config)
        self.rows = drain.row, drain.row + self.count
        self._folded: list[tuple[int, int]] | None = None
        self._words: np.ndarray | None = None

    @property
    def words(self) -> np.ndarray:
        """The first word that each row writes."""
        if self._words is None:
            self._words = drain_words(self.drain, self.config).ravel()
        return self._words

    @property
    def last_word(self) -> int:
        """The largest of `words`."""
        d = self.drain
        tile = d.tiles - 1
        if not d.wide and d.destination != Destination.ACCUMULATORS:
            tile = (d.lane + tile) // self.config.tiles_per_word
        return d.address + tile * d.tile_stride + (d.pixels - 1) * d.stride

    def folded(self) -> list[tuple[int, int]]:
        """The runs of accumulator rows that a drain to accumulators folds into, in order."""
        if self._folded is None:
            self._folded = self._runs()
        return self._folded

    def _runs(self) -> list[tuple[int, int]]:
        drain, most, count = self.drain, self.config.accumulator_rows, self.count
        if (last := self.last_word) >= most:
            raise ProgramError(f"a drain folds into accumulator row {last}; the last is {most - 1}")
        whole = drain.stride == 1 and (drain.tiles == 1 or drain.tile_stride == drain.pixels)
        if drain.wide or not (whole or len(np.unique(self.words)) == count):
            raise ProgramError("a drain to accumulators must not be wide, and must fold into every row once")
        in_place = not drain.residual and drain.into == drain.bank
        if whole:
            ahead = drain.address - drain.row
            late = 0 < ahead < count
        else:
            distance = self.words - drain.row
            late = bool((distance > np.arange(count))[distance < count].any())
        if in_place and late:
            raise ProgramError("a drain in place must not fold into a row that it has yet to read")
        if whole:
            return [(drain.address, drain.address + count)]
        return [(row, row + 1) for row in self.words.tolist()]


@dataclass(frozen=True)
class Turns:
    """Passes of equally many pixels that add to a few column tiles by turns, all into one bank.

    Tile t has the accumulator rows from t x `pixels` on; its first pass of the group sets them, and all others add.

    Attributes
    ----------
    tiles
        The tile of every pass, in order.
    even
        Of how many tiles, where they take turns one after another from the first; 0 where they do not.
    words
        The first word and the word behind the last that passes may read of the activation memory; None: of no interest.
    read
        For a pass, the words that it reads and when.
    """

    bank: int
    pixels: int
    tiles: Sequence[int]
    even: int
    words: tuple[int, int] | None
    read: Callable[[int], tuple[np.ndarray, np.ndarray]]


class Idles(NamedTuple):
    """What a timeline found for some passes and the drains behind them."""

    passes: list[tuple[int, int, int]]
    """which pass, its idle cycles but for requantising, and those"""
    drains: list[int]
    """idle cycles of every drain"""


@dataclass(frozen=True, eq=False)
class Taken:
    """Passes up to one that releases drains, and these drains, as a timeline takes them."""

    passes: Sequence[_Touch]
    turns: Sequence[Turns]
    ways: Sequence[_Way]

    @classmethod
    def of(cls, passes: Sequence[Pass] | Sequence[Turns], drains: Sequence[Drain], config: Config) -> Taken:
        """Of passes one by one, or of all as turns."""
        touches = [_Touch(p, config) for p in passes if isinstance(p, Pass)]
        return cls(touches, [t for t in passes if isinstance(t, Turns)], [_Way(d, config) for d in drains])


class Timeline:
    """Places passes one after another, each as early as its operands, banks and ports allow.

    A pass waits for: the slot of the pass before; the activation words it reads; the accumulators it adds to; the
    ports of its bank, where drains use them; the drain of the rows it overwrites; and, if it releases drains, the end
    of the drains before. A chained drain waits for the one before it, and for the rows that it reads or adds to.

    Parameters
    ----------
    trusted
        Whether every pass and drain reads only what others have written: then this is not looked at.
    """

    def __init__(self, config: Config, *, trusted: bool = False) -> None:
        self.config, self.trusted = config, trusted
        self.latencies = Latencies.of(config)
        self.slot = 0
        self.flip = 0
        """1 where what is placed takes bank 1 for bank 0, and 0 for 1"""
        self.busy_until = 0
        """the cycle behind the last write of every drain so far"""
        self._epoch = 0
        self._visible = [_Rows(), _Rows()]
        self._read = [_Rows(), _Rows()]
        self._last_read = [_PAST, _PAST]
        self._port_free = [_PAST, _PAST]
        self._fold_free = [_PAST, _PAST]
        self._residual = _Rows()
        self._arriving: list[tuple[int, int, int, _Way, int]] = []
        """writes of the activation memory that some pass may have to wait for: first word, word behind the last, the
        cycle from which on all are there, the drain and the cycle in which its first row is there"""
        self._written = np.zeros(0 if trusted else config.activation_words, dtype=bool)
        self._whole: list[tuple[int, int]] = []
        """runs of activation words that are known to be written"""
        self._output_free = _PAST
        self._window: tuple[int, int] = (0, _PAST)
        self._drains: list[tuple[int, int]] = []

    def copy(self) -> Timeline:
        """The same state, to be continued in another way."""
        other = copy.copy(self)
        # What is over by the next pass makes nothing wait; but that it was written may matter.
        copied = functools.partial(_Rows.after, cycle=self.slot) if self.trusted else _Rows.copy
        other._visible = [copied(rows) for rows in self._visible]
        other._read = [copied(rows) for rows in self._read]
        other._residual = copied(self._residual)
        other._written = self._written.copy()
        for name in ("_last_read", "_port_free", "_fold_free", "_drains", "_arriving", "_whole"):
            setattr(other, name, list(getattr(self, name)))
        return other

    def moved(self, by: int, *, swapped: bool) -> Timeline:
        """The same state, later by some cycles, and with the banks swapped on request."""
        other = self.copy()
        for name in ("_visible", "_read"):
            setattr(other, name, [rows.moved(by) for rows in getattr(other, name)])
        for name in ("_last_read", "_port_free", "_fold_free"):
            setattr(other, name, [cycle + by for cycle in getattr(self, name)])
        if swapped:
            for name in ("_visible", "_read", "_last_read", "_port_free", "_fold_free"):
                getattr(other, name).reverse()
        other._residual = other._residual.moved(by)
        other._arriving = [(a, b, end + by, way, begin + by) for a, b, end, way, begin in self._arriving]
        other._drains = [(first + by, end + by) for first, end in self._drains]
        other._window = self._window[0], self._window[1] + by
        other.slot, other.busy_until, other._output_free = self.slot + by, self.busy_until + by, self._output_free + by
        return other

    @property
    def ahead(self) -> object:
        """All of a trusted timeline that the timing of what is placed next follows from, counted from its slot.

        Timelines where this is the same differ by `moved`, once more has been placed.
        """
        slot, banks = self.slot, (self.flip, 1 - self.flip)
        return (
            *(self._visible[bank].seen_from(slot) for bank in banks),
            *(self._read[bank].seen_from(slot) for bank in banks),
            *(
                max(0, cycles[bank] - slot)
                for cycles in (self._last_read, self._port_free, self._fold_free)
                for bank in banks
            ),
            self._residual.seen_from(slot),
            max(0, self._output_free - slot),
            (self._window[0], max(0, self._window[1] - slot)),
            tuple((way.drain, begin - slot) for _, _, end, way, begin in self._arriving if end > slot),
        )

    def begin_repeat(self) -> None:
        """Start the program over: what it reads, it must write first, in every repeat."""
        self._epoch += 1
        self._written[:] = False
        self._whole.clear()

    def earliest(self, p: Pass, drains: Sequence[Drain], index: int = 0) -> int:
        """The first cycle in which pass `index` may issue; raises ProgramError where none is right."""
        return self._earliest(_Touch(p, self.config), [_Way(d, self.config) for d in drains], index)

    def place(self, p: Pass, drains: Sequence[Drain], start: int, index: int = 0) -> list[int]:
        """Issue pass `p` in cycle `start`; returns the idle cycles that its drains need."""
        return self._place(_Touch(p, self.config), [_Way(d, self.config) for d in drains], start, index)

    def _earliest(self, touch: _Touch, ways: Sequence[_Way], index: int) -> int:
        lat, config, rows = self.latencies, self.config, touch.rows
        if rows[1] > config.accumulator_rows:
            raise ProgramError(
                f"pass {index} folds into accumulator row {rows[1] - 1}; the last is {config.accumulator_rows - 1}"
            )
        start = self.slot
        if rows[1] > rows[0]:
            bank = touch.bank ^ self.flip
            first = touch.first
            if self._last_read[bank] + 1 - lat.fold_write > start:
                start = max(start, self._read[bank].latest(rows, touch.steps) + 1 - lat.fold_write)
            start = max(start, self._fold_free[bank] - lat.fold_delay - first)
            if touch.adds:
                visible = self._visible[bank]
                if not self.trusted and not visible.covers(rows, self._epoch):
                    raise ProgramError(f"pass {index} adds to accumulators that the program has not set")
                start = max(
                    start,
                    visible.latest(rows, touch.steps) - lat.fold_delay,
                    self._port_free[bank] - lat.fold_delay - first,
                )
        if touch.memory == Source.ACTIVATION:
            if not self.trusted and not self._is_written(touch):
                raise ProgramError(f"pass {index} reads activation words that the program has not written")
            if self._arriving and start < self._ready(touch.words):
                start = self._wait(*touch.read(), start)
        elif touch.words[0] < 0 or touch.words[1] > config.input_words:
            words = touch.read()[0]
            if len(words) and (int(words.min()) < 0 or int(words.max()) >= config.input_words):
                raise ProgramError(f"pass {index} reads beyond the input memory")
        if touch.lines and touch.lines != self._window[0]:
            start = max(start, self._window[1])
        if ways:
            start = max(start, self._release_bound(ways[0], touch.of.pixels, index))
        return start

    def _release_bound(self, way: _Way, pixels: int, index: int) -> int:
        """The first cycle in which a pass may issue that releases a drain."""
        # What the pass itself folds is complete by the first read: `drain_delay` sees to it.
        return max(self._output_free, self._drain_bound(way, index)) - (pixels - 1 + self.latencies.drain_delay)

    def _is_written(self, touch: _Touch) -> bool:
        """Whether the program has written the activation words that a pass reads."""
        first, behind = touch.words
        if first == behind or any(a <= first and behind <= b for a, b in self._whole):
            return True
        if first >= 0 and behind <= len(self._written) and self._written[first:behind].all():
            missing = np.flatnonzero(~self._written)
            at = int(np.searchsorted(missing, first))
            self._whole.append(
                (
                    int(missing[at - 1]) + 1 if at else 0,
                    int(missing[at]) if at < len(missing) else len(self._written),
                )
            )
            return True
        words = touch.read()[0]
        if not len(words):
            return True
        return int(words.min()) >= 0 and int(words.max()) < len(self._written) and bool(self._written[words].all())

    def _ready(self, words: tuple[int, int]) -> int:
        """The cycle from which on a run of activation words is there; earlier ones than `slot` count as none."""
        found, slot = _PAST, self.slot
        if any(end <= slot for _, _, end, _, _ in self._arriving):
            self._arriving = [arriving for arriving in self._arriving if arriving[2] > slot]
        for first, behind, end, _, _ in self._arriving:
            if first < words[1] and words[0] < behind and end > found:
                found = end
        return found

    def _wait(self, words: np.ndarray, when: np.ndarray, start: int) -> int:
        """The first cycle from `start` on in which a pass finds all the activation words that it reads."""
        if not len(words):
            return start
        least, most = int(words.min()), int(words.max())
        there = np.full(most - least + 1, _PAST)
        for first, behind, end, way, begin in self._arriving:
            if end > start and first <= most and least < behind:
                at, cycles = way.words - least, begin + _STEPS[: way.count] * way.pace
                for word in range(self.config.words_per_pixel(wide=way.drain.wide)):
                    inside = (at + word >= 0) & (at + word <= most - least)
                    there[at[inside] + word] = cycles[inside] + word
        return max(start, int((there[words - least] - when).max()))

    def _drain_bound(self, way: _Way, index: int) -> int:
        """The first cycle in which a drain may read its first row."""
        config, lat, drain, rows = self.config, self.latencies, way.drain, way.rows
        limit = config.residual_words if drain.residual else config.accumulator_rows
        if rows[1] > limit:
            memory = "residual memory" if drain.residual else "accumulators"
            raise ProgramError(f"a drain of pass {index} reads beyond the {memory}")
        if drain.residual:
            bound = self._residual.latest(rows, way.pace)
        else:
            bank = drain.bank ^ self.flip
            bound = max(self._visible[bank].latest(rows, way.pace), self._port_free[bank])
        if drain.destination == Destination.ACCUMULATORS:
            into, named = drain.into ^ self.flip, config.groups - 1 + lat.feedback
            folded = way.folded()
            bound = max(bound, self._fold_free[into] - named)
            if drain.fold != Fold.SET:
                if not drain.residual and drain.into == drain.bank:
                    raise ProgramError(
                        f"a drain of pass {index} reads the bank that it adds to: there is one read port"
                    )
                bound = max(bound, self._port_free[into] - named)
                done = 0
                for run in folded:
                    bound = max(bound, self._visible[into].latest(run, way.pace) - done * way.pace - named)
                    done += run[1] - run[0]
        return bound

    def _place(self, touch: _Touch, ways: Sequence[_Way], start: int, index: int) -> list[int]:
        lat, config, rows, pixels = self.latencies, self.config, touch.rows, touch.of.pixels
        if rows[1] > rows[0]:
            base = start + lat.fold_visible + touch.complete
            self._visible[touch.bank ^ self.flip].put(rows, base, touch.steps, self._epoch)
        self.slot = start + touch.occupies
        if touch.lines:
            # Windows of lines of another length may begin when the last column has taken its last sample.
            self._window = touch.lines, start + pixels + config.rows + config.columns
        return self._release(ways, start, pixels, index) if ways else []

    def _release(self, ways: Sequence[_Way], start: int, pixels: int, index: int) -> list[int]:
        """Read the drains behind a pass that started in cycle `start`; returns the idle cycles that they need."""
        idle = [0]
        self._drain(ways[0], start + pixels - 1 + self.latencies.drain_delay)
        for way in ways[1:]:
            first = self._output_free - 1 + self.latencies.chain
            idle.append(max(0, self._drain_bound(way, index) - first))
            self._drain(way, first + idle[-1])
        return idle

    def _drain(self, way: _Way, first: int) -> None:
        """Read the first row of a drain in cycle `first`."""
        lat, config, drain = self.latencies, self.config, way.drain
        pace, count, rows, epoch = way.pace, way.count, way.rows, self._epoch
        # Row i is read for the last time i paces behind these cycles, and all that follows from it is as far apart.
        last_read = first + config.groups - 1
        further = (count - 1) * pace
        end = first + count * pace
        if drain.residual:
            if not self.trusted and not self._residual.covers(rows, epoch):
                raise ProgramError("a drain reads residual words that the program has not written")
        else:
            bank = drain.bank ^ self.flip
            if not self.trusted and not self._visible[bank].covers(rows, epoch):
                raise ProgramError(f"a drain reads rows of bank {drain.bank} that the program has not set")
            self._read[bank].put(rows, last_read, pace, epoch)
            self._last_read[bank] = max(self._last_read[bank], last_read + further)
            self._port_free[bank] = max(self._port_free[bank], end)
        self._output_free = end
        self._drains.append((first, end))
        written = last_read + lat.result + 1
        size = config.words_per_pixel(wide=drain.wide)
        self.busy_until = max(self.busy_until, written + further + size - 1)
        if drain.destination == Destination.ACCUMULATORS:
            named, into = last_read + lat.feedback, drain.into ^ self.flip
            done = 0
            for run in way.folded():
                visible = self._visible[into]
                if drain.fold != Fold.SET and not self.trusted and not visible.covers(run, epoch):
                    raise ProgramError(f"a drain adds to rows of bank {drain.into} that the program has not set")
                visible.put(run, named + done * pace + AccumulatorBank.latency(config) + 1, pace, epoch)
                done += run[1] - run[0]
            self._fold_free[into] = named + further + 1
            if drain.fold != Fold.SET:
                self._port_free[into] = max(self._port_free[into], named + further + 1)
            return
        name, most = {
            Destination.ACTIVATION: ("activation", config.activation_words),
            Destination.OUTPUT: ("output", config.output_words),
            Destination.RESIDUAL: ("residual", config.residual_words),
        }[drain.destination]
        last_word = way.last_word + size - 1
        if last_word >= most:
            raise ProgramError(f"a drain writes {name} word {last_word}; the last is {most - 1}")
        if drain.destination == Destination.ACTIVATION:
            self._arriving.append((drain.address, last_word + 1, written + further + size - 1, way, written))
            if not self.trusted:
                for word in range(size):
                    self._written[way.words + word] = True
        elif drain.destination == Destination.RESIDUAL:
            self._keep(way, written, size)

    def _keep(self, way: _Way, written: int, size: int) -> None:
        """Put the results of a drain into the residual memory."""
        drain, pace = way.drain, way.pace
        for tile in range(drain.tiles):
            address, at = drain.address + tile * drain.tile_stride, written + tile * drain.pixels * pace
            if size == 1 and drain.stride == 1 and not drain.lane:
                self._residual.put((address, address + drain.pixels), at, pace, self._epoch)
                continue
            for row in range(drain.pixels):
                for word in range(size):
                    place = int(way.words[tile * drain.pixels + row]) + word
                    self._residual.put((place, place + 1), at + row * pace + word, 1, self._epoch)

    def follow(self, taken: Taken) -> Idles:
        """Place passes and the drains behind the last of them, all as early as they may.

        Returns the passes that need idle cycles, and the idle cycles of all drains.
        """
        if taken.turns:
            return self._follow(taken.turns, taken.ways)
        idles, last = [], len(taken.passes) - 1
        behind: list[int] = []
        for index, touch in enumerate(taken.passes):
            others, requantising, behind = _placed(self, touch, taken.ways if index == last else (), index)
            if others or requantising:
                idles.append((index, others, requantising))
        return Idles(idles, behind)

    def _follow(self, turns: Sequence[Turns], ways: Sequence[_Way]) -> Idles:
        lat, load = self.latencies, self.config.load_cycles
        last: dict[int, int] = {}
        idles: list[tuple[int, int, int]] = []
        number, pixels = 0, turns[0].pixels
        length, gap = max(pixels, load), lat.fold_visible - lat.fold_delay
        bank = turns[0].bank ^ self.flip
        visible, read = self._visible[bank], self._read[bank]
        sets = self._fold_free[bank] - lat.fold_delay
        adds = max(sets, self._port_free[bank] - lat.fold_delay)
        unread = self._last_read[bank] + 1 - lat.fold_write

        def bound(turn: Turns, index: int, ready: int) -> int:
            tile = turn.tiles[index]
            before = last.get(tile)
            if before is None:
                start = max(self.slot, sets)
                if unread > start:
                    rows = tile * pixels, (tile + 1) * pixels
                    start = max(start, read.latest(rows, 1) + 1 - lat.fold_write)
            else:
                start = max(self.slot, before + gap, adds)
            return self._wait(*turn.read(index), start) if start < ready else start

        def idle(at: int, start: int) -> None:
            if start > self.slot:
                requantising = self.draining(self.slot, start)
                idles.append((at, start - self.slot - requantising, requantising))

        for turn in turns:
            ready = self._ready(turn.words) if turn.words is not None and self._arriving else _PAST
            tiles, count = turn.tiles, len(turn.tiles) - (turn is turns[-1])
            settled, index, even = max(ready, adds), 0, turn.even
            while index < count:
                start = bound(turn, index, ready)
                idle(number + index, start)
                last[tiles[index]] = start
                self.slot = start + length
                index += 1
                # From here on a round of turns is like the one before, where that had no gaps.
                if (
                    even
                    and index % even == 0
                    and index + even <= count
                    and self.slot >= settled
                    and last[even - 1] - last[0] == (even - 1) * length
                ):
                    rounds = (count - index) // even
                    later = max(even * length, gap)
                    if later > even * length:
                        for i in range(rounds):
                            idle(number + index + i * even, last[0] + (i + 1) * later)
                            self.slot = last[even - 1] + (i + 1) * later + length
                    for tile in range(even):
                        last[tile] += rounds * later
                    self.slot = last[even - 1] + length
                    index += rounds * even
            number += count
        for tile, start in last.items():
            visible.put((tile * pixels, (tile + 1) * pixels), start + lat.fold_visible, 1, self._epoch)
        turn = turns[-1]
        ready = self._ready(turn.words) if turn.words is not None and self._arriving else _PAST
        start = max(bound(turn, len(turn.tiles) - 1, ready), self._release_bound(ways[0], pixels, 0))
        idle(number, start)
        tile = turn.tiles[-1]
        visible.put((tile * pixels, (tile + 1) * pixels), start + lat.fold_visible, 1, self._epoch)
        self.slot = start + length
        return Idles(idles, self._release(ways, start, pixels, 0))

    def draining(self, start: int, end: int) -> int:
        """Cycles from `start` up to `end` in which the output stage reads."""
        self._drains = [d for d in self._drains if d[1] > start]
        return sum(max(0, min(end, stop) - max(start, first)) for first, stop in self._drains)


def place(timeline: Timeline, p: Pass, drains: Sequence[Drain], index: int = 0) -> tuple[int, int, list[int]]:
    """Issue a pass as early as it may: its idle cycles (all others, requantising), and those of its drains."""
    config = timeline.config
    return _placed(timeline, _Touch(p, config), [_Way(d, config) for d in drains], index)


def _placed(timeline: Timeline, touch: _Touch, ways: Sequence[_Way], index: int) -> tuple[int, int, list[int]]:
    slot, start = timeline.slot, timeline._earliest(touch, ways, index)
    requantising = timeline.draining(slot, start) if start > slot else 0
    return start - slot - requantising, requantising, timeline._place(touch, ways, start, index)


def _all_taken(
    passes: Sequence[Pass], drains: Sequence[Drain], started: Sequence[Sequence[int]], config: Config
) -> list[tuple[_Touch, list[_Way]]]:
    """Each pass with the drains that it starts, as a timeline takes them."""
    ways = [_Way(d, config) for d in drains]
    return [(_Touch(p, config), [ways[i] for i in behind]) for p, behind in zip(passes, started, strict=True)]


def schedule(
    passes: Sequence[Pass], drains: Sequence[Drain], config: Config, *, once: bool = False
) -> tuple[list[Pass], list[Drain]]:
    """The same program with its idle cycles, so that it may run any number of times back to back.

    With `once` it may only run once per command: its first passes do not wait for its own last drains.
    """
    timeline = Timeline(config)
    started = drains_of(passes, drains)
    taken = _all_taken(passes, drains, started, config)
    repeats = 1 if once else 2
    idle = np.zeros((repeats, len(passes), 2), dtype=np.int64)
    drain_idle = np.zeros((repeats, len(drains)), dtype=np.int64)
    for repeat in range(repeats):
        timeline.begin_repeat()
        for index, (touch, ways) in enumerate(taken):
            others, requantising, behind = _placed(timeline, touch, ways, index)
            if others or requantising:
                idle[repeat, index] = others, requantising
            if ways:
                drain_idle[repeat, started[index]] = behind
    longer = idle.sum(axis=2).argmax(axis=0)
    kept = idle[longer, np.arange(len(passes))].tolist()
    return [
        p
        if (p.idle, p.idle_requantise) == (others, requantising)
        else dataclasses.replace(p, idle=others, idle_requantise=requantising)
        for p, (others, requantising) in zip(passes, kept, strict=True)
    ], [
        d if d.idle == waits else dataclasses.replace(d, idle=waits)
        for d, waits in zip(drains, drain_idle.max(axis=0).tolist(), strict=True)
    ]


def check(passes: Sequence[Pass], drains: Sequence[Drain], config: Config, *, repeats: int) -> None:
    """Raise ProgramError for a program that breaks a rule of the machine, or whose passes come before they may."""
    if not passes or not passes[-1].release or not drains or not drains[-1].commit:
        raise ProgramError("a program must end with a pass that releases a drain that commits its output")
    _check_fields(passes, drains, config)
    started = drains_of(passes, drains)
    _check_halves(passes, drains, started)
    timeline = Timeline(config)
    taken = _all_taken(passes, drains, started, config)
    for _ in range(min(repeats, 2)):
        timeline.begin_repeat()
        for index, (touch, ways) in enumerate(taken):
            start = timeline.slot + touch.of.idle + touch.of.idle_requantise
            if (needed := timeline._earliest(touch, ways, index)) > start:
                raise ProgramError(f"pass {index} starts {needed - start} cycles before it may")
            idles = timeline._place(touch, ways, start, index)
            for i, idle in zip(started[index], idles, strict=False):
                if drains[i].idle < idle:
                    raise ProgramError(f"drain {i} starts {idle - drains[i].idle} cycles before it may")


def _check_fields(passes: Sequence[Pass], drains: Sequence[Drain], config: Config) -> None:
    """Values that a field holds but the machine does not have."""
    for index, p in enumerate(passes):
        tile = config.load_cycles if is_stored(p.kind) else 1
        if p.pixels < 1:
            raise ProgramError(f"pass {index} must have at least 1 pixel, not {p.pixels}")
        if p.kind not in _KINDS or p.fold not in _FOLDS or p.hold not in _FOLDS:
            raise ProgramError(
                f"pass {index} has tile kind {p.kind}, fold {p.fold} and hold {p.hold}: one of them does not exist"
            )
        if p.hold != Fold.SET and p.fold not in (Fold.SET, p.hold):
            raise ProgramError(
                f"pass {index} holds a row by {p.hold.name.lower()}: it must fold by set or by that, "
                f"not by {p.fold.name.lower()}"
            )
        if p.kind != TileKind.IDENTITY and p.weights + tile > config.weight_words:
            raise ProgramError(
                f"pass {index} reads weight word {p.weights + tile - 1}; the last is {config.weight_words - 1}"
            )
        if p.kind == TileKind.DEPTHWISE:
            _check_windows(index, p, config)
    for index, d in enumerate(drains):
        if d.tiles < 1 or d.pixels < 1:
            raise ProgramError(f"drain {index} must have at least 1 tile and 1 pixel, not {d.tiles} and {d.pixels}")
        if d.destination not in _DESTINATIONS or d.fold not in _FOLDS:
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
    if p.hold != Fold.SET:
        # The adders also fold the sums between the kept ones into what they hold.
        raise ProgramError(
            f"pass {index} is depthwise and holds a row by {p.hold.name.lower()}: it must give each sum "
            "a row of its own"
        )
    if not config.shortest_line <= p.line_pixels <= config.longest_line:
        raise ProgramError(
            f"pass {index} has lines of {p.line_pixels} pixels; depthwise passes take "
            f"{config.shortest_line} to {config.longest_line}"
        )
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
    return behind_pixel - (config.pass_cycles(last.pixels) - last.pixels), reading


def run_counts(
    passes: Sequence[Pass], drains: Sequence[Drain], config: Config, *, repeats: int = 1
) -> dict[Counter, int]:
    """Every counter of a run that never waits for its links; waits add to CYCLES and to their own class alone."""
    counts = dict.fromkeys(Counter, 0)
    for p in passes:
        counts[Counter.ISSUE] += p.pixels
        counts[Counter.USEFUL] += p.sums(config) * p.useful
        counts[Counter.WEIGHT_LOAD] += config.pass_cycles(p.pixels) - p.pixels
        counts[Counter.REQUANTISE] += p.idle_requantise
        counts[Counter.FILL_DRAIN] += p.idle
    counts = {counter: count * repeats for counter, count in counts.items()}
    total, reading = tail(passes, drains, config)
    counts[Counter.REQUANTISE] += reading
    counts[Counter.FILL_DRAIN] += total - reading + Latencies.of(config).fetch - 1
    counts[Counter.CYCLES] = sum(counts[c] for c in Counter if c not in (Counter.CYCLES, Counter.USEFUL))
    return counts
