"""The program memories of the exact engine, and programs decoded from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa import Counter, Drain, Pass, RunCommand, Target, chunks, unpack
from etchnet.hdl.isa.config import Config
from etchnet.sim.functional.plan import Plan
from etchnet.sim.timing import Latencies, check, drain_cycles, drains_of, run_counts, tail

__all__ = ["DecodedProgram", "ProgramMemory"]


@dataclass(frozen=True, eq=False)
class DecodedProgram:
    """One checked program, with everything that a run needs to know of its timing.

    Attributes
    ----------
    passes, drains
        The instructions.
    starts
        Decision cycle of each pass, counted from the repeat's first slot, without waits for the links.
    length
        Cycles of one repeat without waits for the links.
    barriers
        Indices of the passes that wait for a token, or release one, or whose drain commits an output.
    commits
        For each pass whose drain commits an output: cycles from its decision until the sender sees the half.
    streams
        Whether passes wait for weights or release them.
    inputs
        For each pass, the number of input halves that were released before it in its repeat.
    releases
        Input halves that a repeat releases.
    plan
        The computation, for the functional part.
    tail
        Cycles from the end of the last pass's slot to the last result.
    first_counts, repeat_counts
        Counters of one repeat, and what each further repeat adds, without waits for the links.
    """

    passes: list[Pass]
    drains: list[Drain]
    starts: list[int]
    length: int
    barriers: list[int]
    commits: dict[int, int]
    streams: bool
    inputs: list[int]
    releases: int
    plan: Plan
    tail: int
    first_counts: dict[Counter, int]
    repeat_counts: dict[Counter, int]

    @classmethod
    def of(cls, passes: list[Pass], drains: list[Drain], config: Config, *, repeats: int) -> DecodedProgram:
        """Check a program that will run `repeats` times, and derive its timing.

        Raises
        ------
        ProgramError
            The program breaks a rule of the machine.
        """
        check(passes, drains, config, repeats=repeats)
        slots = np.array([config.pass_cycles(p.pixels) for p in passes])
        idle = np.array([p.idle + p.idle_requantise for p in passes])
        ends = np.cumsum(slots + idle)
        released = np.cumsum([p.release_input for p in passes])
        commits = _commit_delays(passes, drains, config)
        inputs = [int(r) - int(p.release_input) for r, p in zip(released, passes, strict=True)]
        streams = any(p.wait_weights or p.release_weights for p in passes)
        once, twice = (run_counts(passes, drains, config, repeats=r) for r in (1, 2))
        return cls(
            passes=passes,
            drains=drains,
            starts=(ends - slots).tolist(),
            length=int(ends[-1]),
            barriers=[i for i, p in enumerate(passes) if i in commits or _exchanges_tokens(p)],
            commits=commits,
            streams=streams,
            inputs=inputs,
            releases=int(released[-1]),
            plan=Plan(passes, drains, inputs, config, versioned=streams),
            tail=tail(passes, drains, config).total,
            first_counts=once,
            repeat_counts={c: twice[c] - once[c] for c in Counter},
        )

    def counts(self, repeats: int) -> dict[Counter, int]:
        """Return the counters of a run that never waits for its links."""
        return {c: self.first_counts[c] + (repeats - 1) * self.repeat_counts[c] for c in Counter}


def _exchanges_tokens(p: Pass) -> bool:
    """Return whether a pass waits for a token or releases one."""
    return p.wait_input or p.wait_output or p.wait_weights or p.release_input or p.release_weights


def _commit_delays(passes: Sequence[Pass], drains: Sequence[Drain], config: Config) -> dict[int, int]:
    """Return `DecodedProgram.commits`."""
    lat, commits = Latencies.of(config), {}
    for index, (p, started) in enumerate(zip(passes, drains_of(passes, drains), strict=True)):
        if started and drains[started[-1]].commit:
            last_write = drain_cycles([drains[i] for i in started], config).total
            commits[index] = lat.decide + p.pixels - 1 + lat.drain_delay + last_write + 1 + lat.commit
    return commits


class ProgramMemory:
    """The memories of passes and drains, and every program that has been run from them, decoded once."""

    def __init__(self, config: Config) -> None:
        self._config, lanes = config, config.link_bits // 32
        self._passes = np.zeros((config.passes, chunks(Pass.layout(config).size, config), lanes), np.uint32)
        self._drains = np.zeros((config.drains, chunks(Drain.layout(config).size, config), lanes), np.uint32)
        self._decoded: dict[tuple[bytes, bytes, bool], DecodedProgram] = {}
        """all programs, by content and whether they repeat"""
        self._current: dict[tuple[int, int, int, int, bool], DecodedProgram] = {}
        """programs that the memories hold now, by address, so that a repeated command need not compare contents"""

    def write(self, target: Target, address: int, words: np.ndarray) -> None:
        """Store words from `address` on: link words, uint32 (words, chunks, link_bits / 32)."""
        memory = self._passes if target is Target.PASSES else self._drains
        memory[address : address + len(words)] = words
        self._current.clear()

    def program(self, command: RunCommand) -> DecodedProgram:
        """Return the program that a command runs; raises ProgramError if it breaks a rule of the machine."""
        repeated = command.repeats > 1
        current = command.first_pass, command.passes, command.first_drain, command.drains, repeated
        if current not in self._current:
            passes = self._passes[command.first_pass : command.first_pass + command.passes]
            drains = self._drains[command.first_drain : command.first_drain + command.drains]
            content = passes.tobytes(), drains.tobytes(), repeated
            if content not in self._decoded:
                config = self._config
                self._decoded[content] = DecodedProgram.of(
                    [Pass.decode(word, config) for word in unpack(passes, Pass.layout(config).size, config)],
                    [Drain.decode(word, config) for word in unpack(drains, Drain.layout(config).size, config)],
                    config,
                    repeats=command.repeats,
                )
            self._current[current] = self._decoded[content]
        return self._current[current]
