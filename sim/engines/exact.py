"""The exact engine: outputs with numpy, cycles in closed form.

Because time never depends on data, a run splits into a timing part and a functional part that do not look at each
other. The timing part follows tokens: three processes (loader, sequencer, sender) that only ever wait for one
another's tokens, and each of which knows, from the config, the program and the link's trace, the cycle of its next
token. The functional part (`etchnet.sim.functional.datapath`) multiplies whole passes at a time, for all
repeats of a run at once.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import numpy as np

from etchnet.hdl.core.control.loader import Loader
from etchnet.hdl.core.control.sender import Sender
from etchnet.hdl.isa import (
    HEADER_WORDS,
    Counter,
    Drain,
    Header,
    Pass,
    RunCommand,
    Target,
    chunks,
    unpack,
)
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.packets import word_bits
from etchnet.sim.engines.history import NEVER, History, LinkWrite, RunHistory
from etchnet.sim.engines.link import Engine, LinkError, LinkTrace
from etchnet.sim.functional.datapath import Datapath
from etchnet.sim.functional.plan import Plan
from etchnet.sim.timing import Latencies, check, drain_cycles, drains_of, run_counts, tail

__all__ = ["ExactEngine"]

_COUNTERS, _TARGETS = tuple(Counter), tuple(Target)


@dataclass
class _Progress:
    """Counts what happens: where nothing more does, everything waits."""

    events: int = 0


class _Willing:
    """The cycles in which one end of the link is willing."""

    def __init__(self, pattern: object) -> None:
        self._pattern = np.asarray(pattern, dtype=bool)
        self._cycles = np.flatnonzero(self._pattern)

    def first(self, start: int) -> int:
        """The first willing cycle from `start` on."""
        return start if start >= len(self._pattern) else int(self.take(start, 1)[0])

    def take(self, start: int, count: int) -> range | np.ndarray:
        """The first `count` willing cycles from `start` on."""
        end = len(self._pattern)
        if start >= end:
            return range(start, start + count)
        inside = self._cycles[np.searchsorted(self._cycles, start) :][:count]
        beyond = max(start, end) + np.arange(count - len(inside))
        return np.concatenate([inside, beyond])


class _Moved:
    """The cycles in which one end of the link moved words, in order."""

    def __init__(self, progress: _Progress) -> None:
        self._pieces: list[range | np.ndarray] = []
        self._progress = progress
        self.count = 0
        self.last = -1

    def extend(self, cycles: range | np.ndarray) -> None:
        """These cycles too."""
        if len(cycles):
            self._pieces.append(cycles)
            self.count += len(cycles)
            self._progress.events += 1
            self.last = int(cycles[-1])

    def cycles(self) -> np.ndarray:
        """All of them, int64."""
        return np.concatenate([np.zeros(0, np.int64), *map(np.asarray, self._pieces)])


@dataclass
class _Tokens:
    """The cycles from which the tokens of one semaphore are available, in order, and how many were taken."""

    progress: _Progress
    times: list[int] = field(default_factory=list)
    taken: int = 0

    def put(self, cycle: int) -> None:
        """One more token, available from `cycle` on."""
        self.times.append(cycle)
        self.progress.events += 1

    def take(self) -> Generator[None, None, int]:
        """Wait until the next token's cycle is known, take it, and return that cycle."""
        while self.taken >= len(self.times):
            yield
        self.taken += 1
        self.progress.events += 1
        return self.times[self.taken - 1]


@dataclass
class _Program:
    """One program, decoded and checked."""

    passes: list[Pass]
    drains: list[Drain]
    starts: list[int]
    """decision cycle of each pass, from the first slot of a repeat, without waits"""
    length: int
    """cycles of one repeat without waits"""
    barriers: list[int]
    """passes that wait, release input or weights, or whose drain commits an output"""
    commits: dict[int, int]
    """for the passes whose drain commits, cycles from their decision until the sender sees the half"""
    streams: bool
    """whether weights are waited for or released"""
    inputs: list[int]
    """for each pass, how many halves of the input were released before it in its repeat"""
    releases: int
    """halves of the input that a repeat gives back"""
    plan: Plan
    tail: int
    """cycles from the end of the last pass's slot to the last result"""
    once: dict[Counter, int]
    """counters of one repeat"""
    again: dict[Counter, int]
    """what each further one adds"""

    def counts(self, repeats: int) -> dict[Counter, int]:
        """Counters of a run that never waits."""
        return {c: self.once[c] + (repeats - 1) * self.again[c] for c in _COUNTERS}


@dataclass
class _Run:
    """A run whose results are not all computed yet."""

    program: _Program
    output_words: int
    halves: list[np.ndarray] = field(default_factory=list)
    tiles: list[list[np.ndarray] | None] = field(default_factory=list)
    done: int = 0
    """repeats whose operands are complete"""
    computed: int = 0
    finished: bool = False


class ExactEngine(Engine):
    """Runs programs with numpy, and knows the cycle of every event; equal to the gateware in outputs and counters.

    Parameters
    ----------
    history
        Whether to keep what happened when, for `etchnet.sim.engines.history`.
    """

    name = "exact"

    def __init__(self, config: Config, *, trace: LinkTrace | None = None, history: bool = False) -> None:
        super().__init__(config, trace=trace)
        self.history = History() if history else None
        """what happened when, with `history`: of every run, and of every packet that wrote a memory"""
        self._offers, self._accepts = _Willing(self.trace.offers), _Willing(self.trace.accepts)
        self._latencies = Latencies.of(config)
        self._lanes = config.link_bits // 32
        self._passes = np.zeros((config.passes, chunks(Pass.layout(config).size, config), self._lanes), np.uint32)
        self._drains = np.zeros((config.drains, chunks(Drain.layout(config).size, config), self._lanes), np.uint32)
        self._datapath = Datapath(config)
        self._input = np.zeros((2, config.input_words, config.rows), np.int8)
        self._input_write, self._input_read = 0, 0
        self._programs: dict[tuple[bytes, bytes, bool], _Program] = {}
        self._current: dict[tuple[int, int, int, int, bool], _Program] = {}
        """those of what the program memories hold now, by where they are"""

        self._progress = _Progress()
        begun = {"input_free": [0, 0], "output_free": [0, 0], "run_taken": [0]}
        names = (
            "input_free",
            "input_full",
            "output_free",
            "output_full",
            "weights_free",
            "weights_full",
            "run",
            "run_taken",
        )
        self._tokens = {name: _Tokens(self._progress, begun.get(name, [])) for name in names}
        self._commands: list[RunCommand] = []
        self._half_words: list[int] = []
        self._sent_halves = 0
        self._last_sent = 0
        self._finished: list[int] = []
        self._counts = dict.fromkeys(_COUNTERS, 0)

        self._cycle = 0
        self._loader_free = 0
        self._sender_free = 0
        self._budget = 0
        self._sent, self._received = _Moved(self._progress), _Moved(self._progress)
        self._counter_words: list[int] = []
        self._counter_reads: list[int] = []
        self._depths = {
            Target.PASSES: config.passes,
            Target.DRAINS: config.drains,
            Target.PARAMETERS: config.parameter_words,
            Target.WEIGHTS: config.weight_words,
            Target.INPUT: config.input_words,
            Target.RUN: len(RunCommand.layout(config).members),
        }
        self._chunks = {target: chunks(word_bits(target, config), config) for target in self._depths}
        self._runs: list[_Run] = []
        self._results: list[np.ndarray] = []
        self._none = np.zeros((0, self._lanes), np.uint32)
        self._queue: list[tuple[str, int]] = []
        self._processes = [self._sequence(), self._send(), self._read_counters()]

    @property
    def cycle(self) -> int:
        """Cycles since reset."""
        return self._cycle

    @property
    def record(self) -> LinkTrace:
        """The cycles in which words moved."""
        return LinkTrace.recorded(self._sent.cycles(), self._received.cycles())

    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        """Follow the tokens until the packets are taken and `count` words have left; compute what they hold."""
        self._loader_free = max(self._loader_free, self._cycle)
        self._sender_free = max(self._sender_free, self._cycle)
        self._budget += count
        target = self._received.count + count
        loading = self._load(words)
        processes = [loading, *self._processes]
        finished = False
        while not (finished and self._received.count >= target):
            before = self._progress.events
            for process in processes:
                if process is loading and finished:
                    continue
                try:
                    next(process)
                except StopIteration:
                    finished = True
            if self._progress.events == before and not (finished and self._received.count >= target):
                missing = target - self._received.count
                raise LinkError(
                    f"the machine waits and nothing moves: {missing} of {count} words have not come back"
                    + ("" if finished else ", and packets are still to be taken")
                )
        moved = [self._sent.last] if len(words) else []
        moved += [self._received.last] if count else []
        self._cycle = max([self._cycle, *(t + 1 for t in moved)])
        return self._collect(count)

    # The loader

    def _load(self, words: np.ndarray) -> Iterator[None]:
        position = 0
        while position < len(words):
            while self._counter_reads:
                yield
            if len(words) - position < HEADER_WORDS:
                raise LinkError("a packet ends within its header: whole packets are sent")
            word, count = words[position : position + HEADER_WORDS, 0].tolist()
            header = Header.decode(word, self.config)
            if header.target >= len(_TARGETS):
                raise LinkError(f"a packet names target {header.target}; there are {len(_TARGETS)}")
            target, address = _TARGETS[header.target], header.address
            position += HEADER_WORDS
            header_words = self._offers.take(self._loader_free, HEADER_WORDS)
            self._sent.extend(header_words)
            free = int(header_words[-1]) + 1
            if target is Target.COUNTERS:
                self._counter_reads.append(free)
                continue
            self._loader_free = free
            if not count:
                continue
            size = self._chunks[target]
            beats = words[position : position + count * size]
            position += count * size
            if len(beats) < count * size:
                raise LinkError(
                    f"a packet of {count * size} link words ends after {len(beats)}: whole packets are sent"
                )
            depth = self._depths[target]
            if address + count > depth:
                raise LinkError(f"a {target.name} packet writes word {address + count - 1}; the last is {depth - 1}")
            offered = self._offers.first(free)
            if header.acquire and target in (Target.INPUT, Target.WEIGHTS):
                token = "input_free" if target is Target.INPUT else "weights_free"
                offered = max(offered, (yield from self._tokens[token].take()))
            elif target is Target.RUN:
                offered = max(offered, (yield from self._tokens["run_taken"].take()))
            rest = self._offers.take(offered + 1, len(beats) - 1)
            if isinstance(rest, range):
                self._sent.extend(range(offered, rest.stop))
            else:
                self._sent.extend(np.append(offered, rest))
            last = self._sent.last
            self._loader_free = last + 1
            if self.history is not None and target is not Target.RUN:
                cycles = np.array([offered, *rest]) + Loader.latency(self.config)
                half = self._input_write if target is Target.INPUT else 0
                self.history.writes.append(
                    LinkWrite(target, address, half, cycles.reshape(count, size), beats.reshape(count, size, -1).copy())
                )
            self._store(target, address, beats.reshape(count, size, self._lanes))
            visible = last + Loader.latency(self.config) + 1
            if target is Target.INPUT and header.commit:
                self._input_write ^= 1
                self._tokens["input_full"].put(visible)
            elif target is Target.WEIGHTS and header.commit:
                self._tokens["weights_full"].put(visible)
            elif target is Target.RUN:
                fields = [int(b[0, 0]) for b in beats.reshape(count, size, self._lanes)]
                if len(fields) != self._depths[target] or not all(fields[i] for i in (1, 3, 4, 5)):
                    raise LinkError(f"a RUN packet carries {fields}: six numbers, all but the first and third positive")
                self._commands.append(
                    RunCommand(**dict(zip(RunCommand.layout(self.config).members, fields, strict=True)))
                )
                self._tokens["run"].put(last + 1)

    def _store(self, target: Target, address: int, beats: np.ndarray) -> None:
        where = slice(address, address + len(beats))
        if target in (Target.PARAMETERS, Target.WEIGHTS):
            self._compute_all()  # what has run so far used what is stored so far
            self._datapath.changed()
        if target in (Target.PASSES, Target.DRAINS):
            self._current.clear()
        if target in (Target.PASSES, Target.DRAINS, Target.PARAMETERS):
            memory = {
                Target.PASSES: self._passes,
                Target.DRAINS: self._drains,
                Target.PARAMETERS: self._datapath.parameters,
            }
            memory[target][where] = beats
        elif target in (Target.WEIGHTS, Target.INPUT):
            raw = np.ascontiguousarray(beats).view(np.int8).reshape(len(beats), -1)
            if target is Target.WEIGHTS:
                shape = self._datapath.weights.shape[1:]
                self._datapath.weights[where] = raw[:, : shape[0] * shape[1]].reshape(-1, *shape)
            else:
                self._input[self._input_write, where] = raw[:, : self.config.rows]

    def _read_counters(self) -> Iterator[None]:
        while True:
            while not self._counter_reads:
                yield
            yield from self._read_all(self._counter_reads[0])
            self._counter_reads.pop(0)
            self._progress.events += 1

    def _read_all(self, free: int) -> Iterator[None]:
        while len(self._finished) < len(self._commands) or self._sent_halves < len(self._half_words):
            yield
        idle = [free, self._sender_free, self._last_sent + 2]
        idle += [self._finished[-1] + 2] if self._finished else []
        valid = max(idle)
        totals = [self._counts[counter] for counter in _COUNTERS]
        self._counter_words += [total >> 32 * part & 0xFFFFFFFF for total in totals for part in range(2)]
        left = 2 * len(totals)
        while left:
            while not self._budget:
                yield
            count = min(left, self._budget)
            taken = self._accepts.take(max(valid, self._sender_free), count)
            self._received.extend(taken)
            self._queue.append(("counter", count))
            self._budget -= count
            left -= count
            valid = int(taken[-1]) + 1
        self._sender_free = self._loader_free = valid
        self._counts = dict.fromkeys(_COUNTERS, 0)

    # The sequencer

    def _sequence(self) -> Iterator[None]:
        while True:
            pending = yield from self._tokens["run"].take()
            start = max(pending, self._finished[-1] + 1 if self._finished else 0)
            command = self._commands[len(self._finished)]
            program = self._program(command)
            run = _Run(program, command.output_words)
            self._runs.append(run)
            self._tokens["run_taken"].put(start + 1)
            counts = program.counts(command.repeats)
            origin = start + self._latencies.fetch
            waited = {Counter.WAIT_IN: 0, Counter.WAIT_OUT: 0}
            history = None
            if self.history is not None:
                starts = np.array(program.starts)
                history = RunHistory(program.passes, program.drains, start, command)
                self.history.runs.append(history)
            for repeat in range(command.repeats):
                # Weights that come and go while a repeat runs are those of its start, or of the last wait.
                tiles = [self._datapath.tile(p) for p in program.passes] if program.streams else None
                half = self._input_read
                issues = None
                if history is not None:
                    issues = origin + starts
                    history.halves.append(np.array([half ^ (released & 1) for released in program.inputs]))
                    history.issues.append(issues)
                for index in program.barriers:
                    if issues is not None:
                        issues[index:] = NEVER
                    p = program.passes[index]
                    now = origin + program.starts[index]
                    blocked = now
                    if p.wait_input:
                        # The half stays full until it is released: only its arrival is waited for.
                        full = self._tokens["input_full"]
                        while full.taken >= len(full.times):
                            yield
                        blocked = max(blocked, full.times[full.taken])
                    if p.wait_weights:
                        blocked = max(blocked, (yield from self._tokens["weights_full"].take()))
                    waited[Counter.WAIT_IN] += blocked - now
                    origin += blocked - now
                    now = blocked
                    if p.wait_output:
                        blocked = max(now, (yield from self._tokens["output_free"].take()))
                        waited[Counter.WAIT_OUT] += blocked - now
                        origin += blocked - now
                        now = blocked
                    if issues is not None:
                        issues[index:] = origin + starts[index:]
                    if p.wait_weights and tiles is not None:
                        tiles[index:] = [self._datapath.tile(later) for later in program.passes[index:]]
                    if p.release_input:
                        run.halves.append(self._input[self._input_read, : program.plan.input_words].copy())
                        self._input_read ^= 1
                        yield from self._tokens["input_full"].take()
                        self._tokens["input_free"].put(now + p.pixels)
                    if p.release_weights:
                        end = now + self.config.pass_cycles(p.pixels) - 1
                        visible = end + self._latencies.decide + self._latencies.fold_delay + 1
                        self._tokens["weights_free"].put(visible)
                    if index in program.commits:
                        self._half_words.append(command.output_words)
                        self._tokens["output_full"].put(now + program.commits[index])
                run.tiles.append(tiles)
                if not program.releases:
                    run.halves.append(self._input[self._input_read, : program.plan.input_words].copy())
                run.done = repeat + 1
                origin += program.length
            finish = origin - 1 + program.tail
            for counter, wait in waited.items():
                counts[counter] += wait
                counts[Counter.CYCLES] += wait
            for counter, count in counts.items():
                self._counts[counter] += count
            run.finished = True
            if history is not None:
                history.finish = finish
            self._finished.append(finish)
            self._progress.events += 1

    def _commits(self, passes: list[Pass], drains: list[Drain]) -> dict[int, int]:
        config, lat = self.config, self._latencies
        commits = {}
        for index, (p, started) in enumerate(zip(passes, drains_of(passes, drains), strict=True)):
            if started and drains[started[-1]].commit:
                behind = drain_cycles([drains[i] for i in started], config).total
                commits[index] = lat.decide + p.pixels - 1 + lat.drain_delay + behind + 1 + lat.commit
        return commits

    def _program(self, command: RunCommand) -> _Program:
        passes = self._passes[command.first_pass : command.first_pass + command.passes]
        drains = self._drains[command.first_drain : command.first_drain + command.drains]
        short = command.first_pass, command.passes, command.first_drain, command.drains, command.repeats > 1
        if short in self._current:
            return self._current[short]
        key = passes.tobytes(), drains.tobytes(), command.repeats > 1
        if key not in self._programs:
            config = self.config
            decoded_passes = [Pass.decode(w, config) for w in unpack(passes, Pass.layout(config).size, config)]
            decoded_drains = [Drain.decode(w, config) for w in unpack(drains, Drain.layout(config).size, config)]
            check(decoded_passes, decoded_drains, config, repeats=command.repeats)
            slots = np.array([config.pass_cycles(p.pixels) for p in decoded_passes])
            idle = np.array([p.idle + p.idle_requantise for p in decoded_passes])
            ends = np.cumsum(slots + idle)
            released = np.cumsum([p.release_input for p in decoded_passes])
            commits = self._commits(decoded_passes, decoded_drains)
            inputs = [int(r) - int(p.release_input) for r, p in zip(released, decoded_passes, strict=True)]
            streams = any(p.wait_weights or p.release_weights for p in decoded_passes)
            once, twice = (run_counts(decoded_passes, decoded_drains, config, repeats=r) for r in (1, 2))
            self._programs[key] = _Program(
                passes=decoded_passes,
                drains=decoded_drains,
                starts=(ends - slots).tolist(),
                length=int(ends[-1]),
                barriers=[
                    i
                    for i, p in enumerate(decoded_passes)
                    if i in commits
                    or p.wait_input
                    or p.wait_output
                    or p.wait_weights
                    or p.release_input
                    or p.release_weights
                ],
                commits=commits,
                streams=streams,
                inputs=inputs,
                releases=int(released[-1]),
                tail=tail(decoded_passes, decoded_drains, config).total,
                once=once,
                again={c: twice[c] - once[c] for c in _COUNTERS},
                plan=Plan(decoded_passes, decoded_drains, inputs, config, versioned=streams),
            )
        self._current[short] = self._programs[key]
        return self._programs[key]

    # The sender

    def _send(self) -> Iterator[None]:
        size = chunks(8 * self.config.rows, self.config)
        half = 0
        while True:
            valid = (yield from self._tokens["output_full"].take()) + Sender.latency(self.config)
            left = self._half_words[half] * size
            while left:
                while not self._budget:
                    yield
                count = min(left, self._budget)
                taken = self._accepts.take(max(valid, self._sender_free), count)
                self._received.extend(taken)
                self._queue.append(("result", count))
                self._budget -= count
                left -= count
                self._sender_free = int(taken[-1]) + 1
            half += 1
            self._last_sent = self._sender_free - 1
            self._sent_halves = half
            self._tokens["output_free"].put(self._sender_free)

    # What the words hold

    def _collect(self, count: int) -> np.ndarray:
        # An exchange takes its words to the last: what is queued is what it asked for.
        queue, self._queue = self._queue, []
        results = sum(size for kind, size in queue if kind == "result")
        while sum(map(len, self._results)) < results:
            self._compute()
        ready = self._results[0] if len(self._results) == 1 else np.concatenate([*self._results, self._none])
        self._results = [ready[results:]] if len(ready) > results else []
        if results == count:
            return ready[:count]
        counted, self._counter_words = self._counter_words[: count - results], self._counter_words[count - results :]
        words, position, result, counter = np.zeros((count, self._lanes), np.uint32), 0, 0, 0
        for kind, size in queue:
            if kind == "result":
                words[position : position + size] = ready[result : result + size]
                result += size
            else:
                words[position : position + size, 0] = counted[counter : counter + size]
                counter += size
            position += size
        return words

    def _compute_all(self) -> None:
        while any(run.computed < run.done for run in self._runs):
            self._compute()

    def _compute(self) -> None:
        """The outputs of the next repeats whose operands are known, appended to the results."""
        self._runs = [run for run in self._runs if not run.finished or run.computed < run.done]
        run = next(run for run in self._runs if run.computed < run.done)
        program = run.program
        tiles = run.tiles[run.computed]
        count = run.done - run.computed if tiles is None else 1
        per_repeat = max(1, program.releases)
        halves = np.stack(run.halves[: count * per_repeat])
        halves = halves.reshape(count, per_repeat, *halves.shape[1:])
        del run.halves[: count * per_repeat]
        run.computed += count
        kernels = self._datapath.kernels(program.plan, program.passes, tiles)
        self._results.append(self._datapath.outputs(kernels, halves, run.output_words))
