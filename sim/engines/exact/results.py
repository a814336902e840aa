"""The functional part of the exact engine: the data memories, and results computed when they are needed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from etchnet.hdl.isa import Pass, Target
from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.exact.program import DecodedProgram
from etchnet.sim.functional.datapath import Datapath

__all__ = ["DataMemories", "PendingRun"]


@dataclass(eq=False)
class PendingRun:
    """A run whose results are not all computed yet.

    Attributes
    ----------
    program
        The program that it runs.
    output_words
        Memory words of one output.
    halves
        Copies of the input halves of the repeats that are not computed yet.
    tiles
        For each repeat that has begun, the weights of each pass if weights are streamed, else None.
    ready
        Repeats whose operands are complete.
    computed
        Repeats whose results are computed.
    finished
        Whether `ready` is final.
    """

    program: DecodedProgram
    output_words: int
    halves: list[np.ndarray] = field(default_factory=list)
    tiles: list[list[np.ndarray] | None] = field(default_factory=list)
    ready: int = 0
    computed: int = 0
    finished: bool = False


class DataMemories:
    """The input, weight and parameter memories, and the results of the runs that use them.

    Results are computed late, for many repeats at once, but always before a write changes the data that they depend on.

    Attributes
    ----------
    write_half, read_half
        The half of the input memory that the link fills, and the one that passes read.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._datapath = Datapath(config)
        self._input = np.zeros((2, config.input_words, config.rows), np.int8)
        self.write_half = self.read_half = 0
        self._runs: list[PendingRun] = []
        self._results: list[np.ndarray] = [np.zeros((0, config.link_bits // 32), np.uint32)]

    def write(self, target: Target, address: int, words: np.ndarray) -> None:
        """Store words from `address` on: link words, uint32 (words, chunks, link_bits / 32)."""
        where = slice(address, address + len(words))
        raw = np.ascontiguousarray(words).view(np.int8).reshape(len(words), -1)
        if target is Target.INPUT:
            self._input[self.write_half, where] = raw[:, : self._config.rows]
            return
        # Earlier runs used the old contents: compute their results first.
        while any(run.computed < run.ready for run in self._runs):
            self._compute()
        self._datapath.changed()
        if target is Target.WEIGHTS:
            shape = self._datapath.weights.shape[1:]
            self._datapath.weights[where] = raw[:, : shape[0] * shape[1]].reshape(-1, *shape)
        else:
            self._datapath.parameters[where] = words

    def begin(self, program: DecodedProgram, output_words: int) -> PendingRun:
        """Add a run; its operands are added as they become known."""
        run = PendingRun(program, output_words)
        self._runs.append(run)
        return run

    def tile(self, p: Pass) -> np.ndarray:
        """Return the weights that a pass would use now: int8 (rows, columns)."""
        return self._datapath.tile(p)

    def read_input(self, run: PendingRun) -> None:
        """Add a copy of the half that passes read now to the operands of a run."""
        run.halves.append(self._input[self.read_half, : run.program.plan.input_words].copy())

    def take(self, count: int) -> np.ndarray:
        """Return the next `count` link words of results, uint32 (count, link_bits / 32); compute them if needed."""
        while sum(map(len, self._results)) < count:
            self._compute()
        ready = self._results[0] if len(self._results) == 1 else np.concatenate(self._results)
        self._results = [ready[count:]]
        return ready[:count]

    def _compute(self) -> None:
        """Compute the outputs of the next repeats whose operands are known."""
        self._runs = [run for run in self._runs if not run.finished or run.computed < run.ready]
        run = next(run for run in self._runs if run.computed < run.ready)
        program = run.program
        tiles = run.tiles[run.computed]
        count = run.ready - run.computed if tiles is None else 1
        per_repeat = max(1, program.releases)
        halves = np.stack(run.halves[: count * per_repeat])
        halves = halves.reshape(count, per_repeat, *halves.shape[1:])
        del run.halves[: count * per_repeat]
        run.computed += count
        kernels = self._datapath.kernels(program.plan, program.passes, tiles)
        outputs = self._datapath.outputs(kernels, halves, run.output_words)
        self._results = (
            [outputs] if not len(self._results[0]) and len(self._results) == 1 else [*self._results, outputs]
        )
