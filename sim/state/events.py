"""The events of a history: which instruction each stream executes when, found by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np

from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import Drain, Pass, RunCommand, Source, Target
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.packets import stored_slice
from etchnet.sim.engines.history import History
from etchnet.sim.state.link_memory import LinkMemory, link_view
from etchnet.sim.state.program import TimedProgram
from etchnet.sim.state.registers import Layout, MemoryView, Register, delayed_view
from etchnet.sim.timing import Latencies

__all__ = ["Drains", "Events", "Head", "Passes"]

_I = TypeVar("_I", Pass, Drain)


@dataclass(frozen=True)
class Head(Generic[_I]):
    """The instruction at the head of a stream: executing, waiting, or stale (executed, but still in the register)."""

    instruction: _I
    index: int
    """its number among all instructions executed since reset; -1 if it is stale"""
    final: bool
    """whether it is the last of its run"""
    address: int = 0
    """its word in the instruction memory"""


class InstructionStream(Generic[_I]):
    """One of the two instruction streams: all instructions of all repeats of all runs, in one list.

    Attributes
    ----------
    begin, end
        First and last cycle of each instruction, int64.
    run
        Its run, from 0.
    repeat
        Its repeat, counted over all runs.
    number
        Its number in its program.
    """

    def __init__(self, events: Events, kind: type[_I]) -> None:
        self._events: Events = events
        self._kind: type[_I] = kind
        self._reset: _I = kind.decode(0, events.config)
        self.begin = self.end = self.run = self.repeat = self.number = np.zeros(0, np.int64)

    def _extend(self, parts: list[tuple[np.ndarray, np.ndarray, int, int]]) -> None:
        """Set the list from (begin, end, run, repeat) of every repeat."""
        if parts:
            self.begin = np.concatenate([p[0] for p in parts])
            self.end = np.concatenate([p[1] for p in parts])
            self.run = np.concatenate([np.full(len(p[0]), p[2]) for p in parts])
            self.repeat = np.concatenate([np.full(len(p[0]), p[3]) for p in parts])
            self.number = np.concatenate([np.arange(len(p[0])) for p in parts])

    def instruction(self, index: int) -> _I:
        """Return an executed instruction."""
        raise NotImplementedError

    def program(self, index: int) -> TimedProgram:
        """Return the program of an executed instruction."""
        return self._events.programs[int(self.run[index])]

    def head(self, cycle: int) -> Head[_I]:
        """Return the instruction at the head of the stream.

        It is the next one that has not ended. If there is none, the last one stays until another arrives.
        """
        index = int(np.searchsorted(self.end, cycle))
        runs = self._events.runs
        if index < len(self.end):
            run = runs[int(self.run[index])]
            if cycle >= run.start + self._events.latencies.fetch:
                return Head(self.instruction(index), index, self._is_final(index), self._address(index))
        if index:
            return Head(self.instruction(index - 1), -1, self._is_final(index - 1), self._address(index - 1))
        return Head(self._reset, -1, False)

    def register(self) -> Register:
        """Return the register at the head of the stream."""
        config = self._events.config
        fields = self._kind.streamed(config)
        late = self._kind.layout(config).size - fields.size
        layout = Layout(InstructionMemory.head_layout(self._kind, config, self._depth()))

        def value(cycle: int) -> int:
            head = self.head(cycle)
            place = {"place": head.address} if self._kind.LATE else {}
            return head.instruction.encode(config) >> late | layout.pack(final=head.final, **place)

        return Register(value, layout.width, layout=layout)

    def view(self, memory: LinkMemory) -> MemoryView:
        """Return the memory that the stream is fetched from."""
        config = self._events.config
        fields, whole = self._kind.streamed(config).size, self._kind.layout(config).size
        held = stored_slice(config, first=whole - fields, bits=fields)
        return link_view(memory, held.first, held.bits, self._depth())

    def _address(self, index: int) -> int:
        """Return the word of an executed instruction in its memory."""
        return self._first(self._events.runs[int(self.run[index])].command) + int(self.number[index])

    def _first(self, command: RunCommand) -> int:
        """Return the address of the first instruction of a run."""
        raise NotImplementedError

    def _depth(self) -> int:
        """Return the number of words of the instruction memory."""
        raise NotImplementedError

    def _is_final(self, index: int) -> bool:
        run = int(self.run[index])
        last = self._events.last_repeat[run] == self.repeat[index]
        return bool(last) and int(self.number[index]) == self._length(index) - 1

    def _length(self, index: int) -> int:
        """Return the number of instructions of the program of an executed instruction."""
        raise NotImplementedError


class Passes(InstructionStream[Pass]):
    """The passes: `begin` is the cycle of the decision to issue the first pixel."""

    def instruction(self, index: int) -> Pass:
        """Return an executed pass."""
        return self.program(index).passes[int(self.number[index])]

    def _length(self, index: int) -> int:
        return len(self.program(index).passes)

    def _first(self, command: RunCommand) -> int:
        return command.first_pass

    def _depth(self) -> int:
        return self._events.config.passes

    def each(self, name: str) -> np.ndarray:
        """Return an attribute of `TimedProgram` with one entry per pass, for all executed passes."""
        parts = [getattr(self._events.programs[run], name) for run, _ in self._events.repeats]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


class Drains(InstructionStream[Drain]):
    """The drains: `begin` is the cycle of the first read."""

    def instruction(self, index: int) -> Drain:
        """Return an executed drain."""
        return self.program(index).drains[int(self.number[index])]

    def _length(self, index: int) -> int:
        return len(self.program(index).drains)

    def _first(self, command: RunCommand) -> int:
        return command.first_drain

    def _depth(self) -> int:
        return self._events.config.drains

    def which(self, wanted: Callable[[Drain], bool]) -> np.ndarray:
        """Return the indices of the executed drains that a predicate selects, int64."""
        parts, base = [], 0
        for run, _ in self._events.repeats:
            drains = self._events.programs[run].drains
            parts.append(base + np.flatnonzero([wanted(d) for d in drains]))
            base += len(drains)
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)

    def last(self, cycle: int, wanted: np.ndarray, *, offset: int = 0) -> int:
        """Return the last of `wanted` drains with ``begin + offset <= cycle``, or -1."""
        position = int(np.searchsorted(self.begin[wanted] + offset, cycle, "right")) - 1
        return int(wanted[position]) if position >= 0 else -1

    def shape(self, index: int) -> tuple[int, int]:
        """Return the cycles per row of an executed drain, and its rows."""
        program, number = self.program(index), int(self.number[index])
        return int(program.pace[number]), int(program.count[number])

    def last_read(self, cycle: int, wanted: np.ndarray) -> int:
        """Return the last cycle up to `cycle` in which one of `wanted` drains reads, or a large negative number.

        A drain reads in the first `config.groups` cycles of each row.
        """
        index = self.last(cycle, wanted)
        if index < 0:
            return -(1 << 40)
        pace, count = self.shape(index)
        begin = int(self.begin[index])
        age = min(cycle - begin, count * pace - 1)
        return begin + age - max(0, age % pace - self._events.config.groups + 1)


class Events:
    """All events since reset: two instruction streams, and the memories that packets wrote.

    Parameters
    ----------
    history
        The history of an `ExactEngine`.
    config
        The machine.

    Attributes
    ----------
    latencies
        The machine's latencies.
    runs
        The runs, in order.
    programs
        The program of each run.
    memories
        The memories that packets write, by target.
    passes, drains
        The instruction streams.
    repeats
        For each repeat, its run, and its number in that run.
    last_repeat
        For each run, its last repeat, counted over all runs, whether or not it has begun.
    halves
        For each executed pass, the half of the input memory that it reads, int64.
    first_pass, first_drain
        For each repeat, the index of its first pass and of its first drain, int64.
    """

    def __init__(self, history: History, config: Config) -> None:
        self.config = config
        self.latencies = Latencies.of(config)
        self.runs = list(history.runs)
        known: dict[tuple[int, int], TimedProgram] = {}
        for run in self.runs:
            if (key := (id(run.passes), id(run.drains))) not in known:
                known[key] = TimedProgram(run, config)
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
        self.first_pass = np.searchsorted(self.passes.repeat, np.arange(len(self.repeats)))
        self.first_drain = np.searchsorted(self.drains.repeat, np.arange(len(self.repeats)))

    @cached_property
    def reads(self) -> dict[Source, tuple[np.ndarray, np.ndarray]]:
        """For each source, the indices of the passes that read it, and the decision cycles of their first reads."""
        first, sources = self.passes.each("first_read"), self.passes.each("sources")
        found = {}
        for source in Source:
            which = np.flatnonzero((sources == source) & (first >= 0))
            found[source] = which, self.passes.begin[which] + first[which]
        return found

    def registers(self) -> dict[str, Register]:
        """Return the registers by name: the heads of the instruction streams, and the command of the latest run."""
        found = {"passes.head": self.passes.register(), "drains.head": self.drains.register()}
        command = Layout(RunCommand.layout(self.config))
        found["runs.command"] = Register(self._command, command.width, layout=command)
        return found

    def _command(self, cycle: int) -> int:
        before = [run for run in self.runs if run.start < cycle]
        return before[-1].command.encode(self.config) if before else 0

    def views(self) -> dict[str, MemoryView]:
        """Return the instruction memories by name."""
        views = {
            "passes": self.passes.view(self.memories[Target.PASSES]),
            "drains": self.drains.view(self.memories[Target.DRAINS]),
        }
        latency = self.config.memory_latency
        return {f"{name}.memory.memory.memory": delayed_view(view, latency) for name, view in views.items()}

    def repeat_at(self, cycle: int) -> int:
        """Return the last repeat, counted over all runs, whose first pass has begun, or -1."""
        return int(np.searchsorted(self.passes.begin[self.first_pass], cycle, "right")) - 1

    def pixel_delay(self) -> int:
        """Return the cycles from the decision to issue a pixel to the cycle in which its vector enters the array."""
        return self.latencies.decide + Machine.read_latency(self.config)
