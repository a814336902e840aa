"""What the machine works on in any cycle: the instruction at the head of each stream, found by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Generic, TypeVar

import numpy as np

from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import OUTSIDE, Destination, Drain, Fold, Pass, RunCommand, Source, Target, TileKind, chunks
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.packets import stored_slice, word_bits
from etchnet.sim.engines.history import History, LinkWrite, RunHistory
from etchnet.sim.state.registers import Layout, Register, Rows, late_rows
from etchnet.sim.timing import Latencies, drain_pace, drain_words, drains_of

__all__ = ["Drains", "Events", "Head", "LinkMemory", "Passes", "Program", "link_rows"]

_I = TypeVar("_I", Pass, Drain)


class LinkMemory:
    """The contents of one memory that only the incoming link writes, at any cycle."""

    def __init__(self, writes: list[LinkWrite], target: Target, config: Config) -> None:
        self._target, self._config = target, config
        self._writes = [w for w in writes if w.target is target]
        self._first = np.array([w.cycles[0, 0] for w in self._writes], dtype=np.int64)
        self._chunks = chunks(word_bits(target, config), config)
        self._cached = lru_cache(1 << 14)(self._read)

    def word(self, address: int, cycle: int) -> int:
        """The memory word at the beginning of a cycle: what was written in earlier ones."""
        # A packet's last word decides which of the packets before may still matter.
        return self._cached(address, int(np.searchsorted(self._first, cycle)), cycle)

    def settled(self, start: int, end: int) -> bool:
        """Whether nothing is written in any cycle from `start` up to `end`."""
        return not any(w.cycles[0, 0] < end and w.cycles[-1, -1] >= start for w in self._writes)

    def _read(self, address: int, begun: int, cycle: int) -> int:
        size = self._config.link_bits // 8
        found: dict[int, bytes] = {}
        for write in reversed(self._writes[:begun]):
            words = self._config.input_words
            index = address - write.address - (write.half * words if self._target is Target.INPUT else 0)
            if 0 <= index < len(write.words):
                for chunk in np.flatnonzero(write.cycles[index] < cycle):
                    found.setdefault(int(chunk), write.words[index, chunk].astype("<u4").tobytes())
                if len(found) == self._chunks:
                    break
        return sum(int.from_bytes(data, "little") << 8 * size * chunk for chunk, data in found.items())


def link_rows(memory: LinkMemory, first: int, bits: int, depth: int) -> Rows:
    """A memory that holds some bits of the words that packets carry."""
    return Rows(lambda row, cycle: memory.word(row, cycle) >> first & (1 << bits) - 1, depth, bits)


class Program:
    """What the passes and drains of one program touch, with all times from the start of a pass or of a drain."""

    def __init__(self, run: RunHistory, config: Config) -> None:
        self.config = config
        self.passes, self.drains = run.passes, run.drains
        lat = Latencies.of(config)
        self.started = drains_of(self.passes, self.drains)
        self.slots = np.array([config.pass_cycles(p.pixels) for p in self.passes], dtype=np.int64)
        self.pace = np.array([drain_pace(d, config) for d in self.drains], dtype=np.int64)
        self.count = np.array([d.tiles * d.pixels for d in self.drains], dtype=np.int64)
        self.releasing = np.zeros(len(self.drains), dtype=np.int64)
        """the pass whose release starts a drain, or the drain that it is chained to"""
        self.delay = np.zeros(len(self.drains), dtype=np.int64)
        """cycles from that pass's decision to the drain's first cycle"""
        for index, started in enumerate(self.started):
            first = lat.decide + self.passes[index].pixels - 1 + lat.drain_delay
            for number in started:
                first += self.drains[number].idle if number != started[0] else 0
                self.releasing[number], self.delay[number] = index, first
                first += int(self.pace[number] * self.count[number]) - 1 + lat.chain

    def walk(self, index: int) -> np.ndarray:
        """`Pass.walk`, computed once."""
        return _walk(self.passes[index])

    def read(self, index: int) -> np.ndarray:
        """The pixels of a pass that are read, by number."""
        return _inside(self.passes[index])

    def kept(self, index: int) -> np.ndarray:
        """`Pass.kept`, computed once."""
        return _kept(self.passes[index], self.config)

    @cached_property
    def first_read(self) -> np.ndarray:
        """For each pass, the number of its first pixel that is read, or -1."""
        return np.array([r[0] if len(r := self.read(i)) else -1 for i in range(len(self.passes))], dtype=np.int64)

    @cached_property
    def sources(self) -> np.ndarray:
        """The memory that each pass reads."""
        return np.array([p.source for p in self.passes])

    @cached_property
    def depthwise(self) -> np.ndarray:
        """Whether each pass is depthwise."""
        return np.array([p.kind == TileKind.DEPTHWISE for p in self.passes])

    @cached_property
    def first_kept(self) -> np.ndarray:
        """For each pass, the number of the pixel whose sum is folded first, or -1."""
        return np.array([k[0] if len(k := self.kept(i)) else -1 for i in range(len(self.passes))], dtype=np.int64)

    @cached_property
    def banks(self) -> np.ndarray:
        """The bank that each pass folds into."""
        return np.array([p.bank for p in self.passes])

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The first accumulator row that each pass folds into, and how many."""
        return np.array([p.row for p in self.passes]), np.array(
            [1 if p.hold != Fold.SET else len(self.kept(i)) for i, p in enumerate(self.passes)]
        )

    @cached_property
    def fed(self) -> dict[int, np.ndarray]:
        """The accumulator row that each row of a drain to accumulators is folded into, by the drain's number."""
        return {
            number: drain_words(drain, self.config).ravel()
            for number, drain in enumerate(self.drains)
            if drain.destination == Destination.ACCUMULATORS
        }

    @cached_property
    def writes(self) -> dict[Destination, dict[str, np.ndarray]]:
        """What drains write to each memory, word by word, sorted by address and then by time.

        `address`; `lanes`; `drain`; `row` of the drain; `word` within the row's words; `when`, from the drain's first
        cycle to the cycle of the write, less `Latencies.result`.
        """
        tables = {}
        for destination in (Destination.ACTIVATION, Destination.OUTPUT, Destination.RESIDUAL):
            parts: list[np.ndarray] = [np.zeros((6, 0), np.int64)]
            for number, drain in enumerate(self.drains):
                if drain.destination != destination:
                    continue
                size, count, tpw = self.config.words_per_pixel(wide=drain.wide), self.count[number], 1
                first, row = drain_words(drain, self.config).ravel(), np.arange(count)
                lanes = np.full(count, (1 << self.config.tiles_per_word) - 1)
                if not drain.wide:
                    tpw = self.config.tiles_per_word
                    lanes = 1 << (drain.lane + row // drain.pixels) % tpw
                when = row * self.pace[number] + self.config.groups - 1
                for word in range(size):
                    # Only the first word of a row may be a part of it.
                    every = lanes if not word else np.full(count, (1 << self.config.tiles_per_word) - 1)
                    parts.append(
                        np.stack([first + word, every, np.full(count, number), row, np.full(count, word), when + word])
                    )
            table = np.concatenate(parts, axis=1)
            order = np.lexsort((table[5], table[2], table[0]))
            names = ("address", "lanes", "drain", "row", "word", "when")
            tables[destination] = dict(zip(names, table[:, order], strict=True))
        return tables


@lru_cache(1 << 13)
def _walk(p: Pass) -> np.ndarray:
    return p.walk()


@lru_cache(1 << 13)
def _inside(p: Pass) -> np.ndarray:
    return np.flatnonzero(_walk(p) != OUTSIDE)


@lru_cache(1 << 13)
def _kept(p: Pass, config: Config) -> np.ndarray:
    return p.kept(config)


@dataclass(frozen=True)
class Head(Generic[_I]):
    """The instruction at the head of a stream: one that is, or waits to be, executed, or a stale one."""

    instruction: _I
    index: int
    """its number among all that are executed since reset; -1 where it is stale"""
    final: bool
    """whether it is the last of its run"""
    place: int = 0
    """where in its memory it is"""


class _Stream(Generic[_I]):
    """One of the two instruction streams: what was executed when, all runs and repeats in one list.

    Attributes
    ----------
    begin, end
        First and last cycle of each instruction, int64.
    run, repeat, number
        Its run, its repeat among all repeats of all runs, and its number in its program.
    """

    def __init__(self, events: Events, kind: type[_I]) -> None:
        self._events: Events = events
        self._kind: type[_I] = kind
        self._nothing: _I = kind.decode(0, events.config)
        self.begin = self.end = self.run = self.repeat = self.number = np.zeros(0, np.int64)

    def _extend(self, parts: list[tuple[np.ndarray, np.ndarray, int, int]]) -> None:
        if parts:
            self.begin = np.concatenate([p[0] for p in parts])
            self.end = np.concatenate([p[1] for p in parts])
            self.run = np.concatenate([np.full(len(p[0]), p[2]) for p in parts])
            self.repeat = np.concatenate([np.full(len(p[0]), p[3]) for p in parts])
            self.number = np.concatenate([np.arange(len(p[0])) for p in parts])

    def instruction(self, index: int) -> _I:
        """An executed instruction."""
        raise NotImplementedError

    def program(self, index: int) -> Program:
        """The program of an executed instruction."""
        return self._events.programs[int(self.run[index])]

    def head(self, cycle: int) -> Head[_I]:
        """The instruction at the head of the stream.

        It is the next one that has not ended. Where there is none, the last one stays until another arrives.
        """
        index = int(np.searchsorted(self.end, cycle))
        runs = self._events.runs
        if index < len(self.end):
            run = runs[int(self.run[index])]
            if cycle >= run.start + self._events.latencies.fetch:
                return Head(self.instruction(index), index, self._is_final(index), self._place(index))
        if index:
            return Head(self.instruction(index - 1), -1, self._is_final(index - 1), self._place(index - 1))
        return Head(self._nothing, -1, False)

    def register(self) -> Register:
        """The register at the head of the stream."""
        config = self._events.config
        fields = self._kind.streamed(config)
        late = self._kind.layout(config).size - fields.size
        layout = Layout(InstructionMemory.head_layout(self._kind, config, self._depth()))

        def value(cycle: int) -> int:
            head = self.head(cycle)
            place = {"place": head.place} if self._kind.LATE else {}
            return head.instruction.encode(config) >> late | layout.pack(final=head.final, **place)

        return Register(value, layout.width, layout=layout)

    def rows(self, memory: LinkMemory) -> Rows:
        """The contents of the memory that the stream comes from."""
        config = self._events.config
        fields, whole = self._kind.streamed(config).size, self._kind.layout(config).size
        held = stored_slice(config, first=whole - fields, bits=fields)
        return link_rows(memory, held.first, held.bits, self._depth())

    def _place(self, index: int) -> int:
        """Where in its memory an executed instruction is."""
        return self._first(self._events.runs[int(self.run[index])].command) + int(self.number[index])

    def _first(self, command: RunCommand) -> int:
        raise NotImplementedError

    def _depth(self) -> int:
        raise NotImplementedError

    def _is_final(self, index: int) -> bool:
        run = int(self.run[index])
        last = self._events.last_repeat[run] == self.repeat[index]
        return bool(last) and int(self.number[index]) == self._length(index) - 1

    def _length(self, index: int) -> int:
        raise NotImplementedError


class Passes(_Stream[Pass]):
    """The passes: `begin` is the decision to issue the first pixel."""

    def instruction(self, index: int) -> Pass:
        """An executed pass."""
        return self.program(index).passes[int(self.number[index])]

    def _length(self, index: int) -> int:
        return len(self.program(index).passes)

    def _first(self, command: RunCommand) -> int:
        return command.first_pass

    def _depth(self) -> int:
        return self._events.config.passes

    def each(self, name: str) -> np.ndarray:
        """An array of `Program`, of one entry per pass, for all passes."""
        parts = [getattr(self._events.programs[run], name) for run, _ in self._events.repeats]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


class Drains(_Stream[Drain]):
    """The drains: `begin` is the first cycle that reads."""

    def instruction(self, index: int) -> Drain:
        """An executed drain."""
        return self.program(index).drains[int(self.number[index])]

    def _length(self, index: int) -> int:
        return len(self.program(index).drains)

    def _first(self, command: RunCommand) -> int:
        return command.first_drain

    def _depth(self) -> int:
        return self._events.config.drains

    def which(self, wanted: Callable[[Drain], bool]) -> np.ndarray:
        """The drains, by index, that are wanted."""
        parts, base = [], 0
        for run, _ in self._events.repeats:
            drains = self._events.programs[run].drains
            parts.append(base + np.flatnonzero([wanted(d) for d in drains]))
            base += len(drains)
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)

    def last(self, cycle: int, wanted: np.ndarray, *, behind: int = 0) -> int:
        """The last of `wanted` drains whose cycle `behind` its first one is before or in `cycle`, or -1."""
        position = int(np.searchsorted(self.begin[wanted] + behind, cycle, "right")) - 1
        return int(wanted[position]) if position >= 0 else -1


class Events:
    """All events since reset, in two streams, and the memories that the link has written.

    Attributes
    ----------
    repeats
        Run, and repeat in that run, of every repeat.
    last_repeat
        For each run, its last repeat among all repeats, whether it has begun or not.
    """

    def __init__(self, history: History, config: Config) -> None:
        self.config = config
        self.latencies = Latencies.of(config)
        self.runs = list(history.runs)
        known: dict[tuple[int, int], Program] = {}
        for run in self.runs:
            if (key := (id(run.passes), id(run.drains))) not in known:
                known[key] = Program(run, config)
        self.programs = [known[id(run.passes), id(run.drains)] for run in self.runs]
        self.memories = {
            target: LinkMemory(history.writes, target, config)
            for target in (Target.PASSES, Target.DRAINS, Target.PARAMETERS, Target.WEIGHTS, Target.INPUT)
        }
        self.passes = Passes(self, Pass)
        self.drains = Drains(self, Drain)
        self.repeats: list[tuple[int, int]] = []
        self.last_repeat: list[int] = []
        passes, drains, halves = [], [], [np.zeros(0, np.int64)]
        for number, (run, program) in enumerate(zip(self.runs, self.programs, strict=True)):
            self.last_repeat.append(len(self.repeats) + run.command.repeats - 1)
            for repeat, issues in enumerate(run.issues):
                which = len(self.repeats)
                self.repeats.append((number, repeat))
                passes.append((issues.copy(), issues + program.slots - 1, number, which))
                first = issues[program.releasing] + program.delay
                drains.append((first, first + program.pace * program.count - 1, number, which))
                halves.append(run.halves[repeat])
        self.passes._extend(passes)
        self.drains._extend(drains)
        self.halves = np.concatenate(halves)
        """the half of the input memory that each pass reads"""
        self.first_pass = np.searchsorted(self.passes.repeat, np.arange(len(self.repeats)))
        self.first_drain = np.searchsorted(self.drains.repeat, np.arange(len(self.repeats)))

    @cached_property
    def last_reads(self) -> dict[Source, tuple[np.ndarray, np.ndarray]]:
        """For each source, the passes that read it, by index, and the decisions of the first pixels that they read."""
        first, sources = self.passes.each("first_read"), self.passes.each("sources")
        found = {}
        for source in Source:
            which = np.flatnonzero((sources == source) & (first >= 0))
            found[source] = which, self.passes.begin[which] + first[which]
        return found

    def registers(self) -> dict[str, Register]:
        """By name: the instructions at the heads, and the command of the last run."""
        found = {"passes.head": self.passes.register(), "drains.head": self.drains.register()}
        command = Layout(RunCommand.layout(self.config))
        found["run"] = Register(self._command, command.width, layout=command)
        return found

    def _command(self, cycle: int) -> int:
        before = [run for run in self.runs if run.start < cycle]
        return before[-1].command.encode(self.config) if before else 0

    def memories_by_name(self) -> dict[str, Rows]:
        """By name: the programs."""
        rows = {
            "passes": self.passes.rows(self.memories[Target.PASSES]),
            "drains": self.drains.rows(self.memories[Target.DRAINS]),
        }
        return {f"{name}.memory.memory.memory": late_rows(rows[name], self.config.memory_latency) for name in rows}

    def repeat_at(self, cycle: int) -> int:
        """The last repeat, among all, whose first pass has begun, or -1."""
        return int(np.searchsorted(self.passes.begin[self.first_pass], cycle, "right")) - 1

    def pixel_delay(self) -> int:
        """Cycles from the decision to issue a pixel to its vector on `entering`."""
        return Sequencer.latency(self.config) + Machine.read_latency(self.config)
