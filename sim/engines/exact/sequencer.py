"""The sequencer process: runs programs, and computes the cycle of every pass that waits for or releases a token."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np

from etchnet.hdl.isa import Counter, Pass, RunCommand
from etchnet.sim.engines.exact.loader import LoaderProcess
from etchnet.sim.engines.exact.program import DecodedProgram
from etchnet.sim.engines.exact.results import PendingRun
from etchnet.sim.engines.exact.shared import SharedState
from etchnet.sim.engines.history import NEVER, RunHistory
from etchnet.sim.timing import Latencies

__all__ = ["SequencerProcess"]


class _RepeatHistory:
    """The issue cycles of one repeat, as they become known: `NEVER` for a waiting pass and all after it."""

    def __init__(self, history: RunHistory | None, program: DecodedProgram, half: int, origin: int) -> None:
        self._starts = np.array(program.starts) if history is not None else None
        if history is not None and self._starts is not None:
            self._issues = origin + self._starts
            history.halves.append(np.array([half ^ (released & 1) for released in program.inputs]))
            history.issues.append(self._issues)

    def wait(self, index: int) -> None:
        """Record that pass `index` waits."""
        if self._starts is not None:
            self._issues[index:] = NEVER

    def resume(self, index: int, origin: int) -> None:
        """Record the cycles of pass `index` and all after it, for a repeat that begins at `origin` and never waits."""
        if self._starts is not None:
            self._issues[index:] = origin + self._starts[index:]


class SequencerProcess:
    """The sequencer: it follows runs from barrier to barrier. Between barriers the program determines all cycles.

    Parameters
    ----------
    shared
        Semaphores and memories.
    loader
        The process whose commands it runs.

    Attributes
    ----------
    finished
        For each run that is over, the cycle in which its last result was written.
    counts
        The machine's counters: those of the runs that finished since they were last read.
    half_words
        For each output half committed so far, its number of memory words.
    """

    def __init__(self, shared: SharedState, loader: LoaderProcess) -> None:
        self._config, self._history = shared.config, shared.history
        self._programs, self._data, self._tokens = shared.programs, shared.data, shared.tokens
        self._loader = loader
        self._latencies = Latencies.of(shared.config)
        self.finished: list[int] = []
        self.half_words: list[int] = []
        self.counts = dict.fromkeys(Counter, 0)
        self._waited = {Counter.WAIT_IN: 0, Counter.WAIT_OUT: 0}

    def run(self) -> Iterator[None]:
        """Run every command, forever; yields while it waits."""
        while True:
            pending = yield from self._tokens.run.take()
            start = max(pending, self.finished[-1] + 1 if self.finished else 0)
            command = self._loader.commands[len(self.finished)]
            program = self._programs.program(command)
            run = self._data.begin(program, command.output_words)
            self._tokens.run_taken.put(start + 1)
            history = None
            if self._history is not None:
                history = RunHistory(program.passes, program.drains, start, command)
                self._history.runs.append(history)
            self._waited = dict.fromkeys(self._waited, 0)
            origin = start + self._latencies.fetch
            for _ in range(command.repeats):
                origin = (yield from self._repeat(run, command, history, origin)) + program.length
            finish = origin - 1 + program.tail
            self._count(program, command.repeats)
            run.finished = True
            if history is not None:
                history.finish = finish
            self.finished.append(finish)

    def _repeat(
        self, run: PendingRun, command: RunCommand, history: RunHistory | None, origin: int
    ) -> Generator[None, None, int]:
        """Run one repeat that begins at `origin`; return `origin` plus the cycles that the repeat waited."""
        program, data, latencies = run.program, self._data, self._latencies
        issues = _RepeatHistory(history, program, data.read_half, origin)
        # Passes of a streamed program use the weights as they were at the start of the repeat, or at the last wait.
        tiles = [data.tile(p) for p in program.passes] if program.streams else None
        for index in program.barriers:
            p = program.passes[index]
            issues.wait(index)
            origin += yield from self._wait(p, origin + program.starts[index])
            issues.resume(index, origin)
            now = origin + program.starts[index]
            if p.wait_weights:
                self._tokens.weights_full.use(now)
            if p.wait_weights and tiles is not None:
                tiles[index:] = [data.tile(later) for later in program.passes[index:]]
            if p.release_input:
                data.read_input(run)
                data.read_half ^= 1
                yield from self._tokens.input_full.take()
                self._tokens.input_free.put(now + p.pixels)
            if p.release_weights:
                end = now + self._config.pass_cycles(p.pixels) - 1
                self._tokens.weights_free.put(end + latencies.decide + latencies.fold_delay + 1, event=end)
            if index in program.commits:
                self.half_words.append(command.output_words)
                self._tokens.output_full.put(now + program.commits[index])
        run.tiles.append(tiles)
        if not program.releases:
            data.read_input(run)
        run.ready += 1
        return origin

    def _wait(self, p: Pass, now: int) -> Generator[None, None, int]:
        """Wait for the tokens of a pass that could issue in cycle `now`; return the cycles waited."""
        ready = now
        if p.wait_input:
            # The half stays full until it is released, so its token is not taken yet.
            ready = max(ready, (yield from self._tokens.input_full.peek()))
        if p.wait_weights:
            ready = max(ready, (yield from self._tokens.weights_full.take()))
        self._waited[Counter.WAIT_IN] += ready - now
        if p.wait_output:
            free = max(ready, (yield from self._tokens.output_free.take()))
            self._waited[Counter.WAIT_OUT] += free - ready
            ready = free
        return ready - now

    def _count(self, program: DecodedProgram, repeats: int) -> None:
        """Add the counters of a finished run."""
        for counter, count in program.counts(repeats).items():
            self.counts[counter] += count
        for counter, wait in self._waited.items():
            self.counts[counter] += wait
            self.counts[Counter.CYCLES] += wait
