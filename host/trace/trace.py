"""Traces: the events of a run, and the values from which the machine's state in any cycle can be computed.

A trace contains the cycles in which passes, drains and transfers begin, and all values that cannot be derived from
others: weight tiles, inputs and the results of drains. The state in any cycle follows from these in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, singledispatch

import numpy as np

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.array.element import ProcessingElement
from etchnet.hdl.core.control.loader import Loader
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import (
    Counter,
    Target,
    chunks,
)
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.program import Program
from etchnet.host.driver.counts import Counts
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.layers import (
    AddConstant,
    AveragePool,
    Conv,
    Dense,
    Depthwise,
    Layer,
    MaxPool,
    Shape,
)
from etchnet.host.network.model import Model
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.history import History, LinkWrite, RunHistory
from etchnet.sim.functional.datapath import Datapath
from etchnet.sim.state.events import Events
from etchnet.sim.state.results import DrainResults
from etchnet.sim.timing import Latencies, drain_pace, drains_of

__all__ = ["LayerInfo", "Segment", "Trace", "Transfer", "gather", "operation"]


@dataclass(frozen=True)
class Segment:
    """Consecutive cycles of a run that belong to the same class."""

    start: int
    length: int
    spent: Counter
    """counter that counts these cycles"""
    index: int
    """pass that is issued or waited for, numbered over all repeats; -1 for none"""


@dataclass(frozen=True)
class Transfer:
    """Link words that move in consecutive cycles."""

    start: int
    length: int
    what: str
    """target of the packet, or `results`"""


@dataclass(frozen=True)
class LayerInfo:
    """Description of one layer for viewers."""

    name: str
    """name in the model"""
    operation: str
    """short text with kind, kernel and channels"""
    shape: Shape
    """shape of its result"""
    stride: tuple[int, int]
    """vertical and horizontal stride; (1, 1) for layers without one"""


@dataclass(frozen=True, eq=False)
class Trace:
    """Trace of one run of a program on `repeats` x `program.batch` inputs.

    The run's first cycle is 0; what is loaded before it has negative cycles. Only `run`, `writes` and `history` count
    cycles since reset.
    """

    name: str
    program: Program
    layers: list[LayerInfo]
    run: RunHistory
    writes: list[LinkWrite]
    counts: Counts
    inputs: np.ndarray
    """int8 (repeats, input_words, rows)"""
    results: list[list[np.ndarray]]
    """for each repeat and drain, the outputs of the requantisers: int32 (accumulator rows, columns)"""
    sent: np.ndarray
    """cycles in which words of results leave the machine, int64, in order"""
    history: History
    """history of the engine that ran the program"""

    @property
    def config(self) -> Config:
        """Machine that the program is compiled for."""
        return self.program.config

    @property
    def repeats(self) -> int:
        """Number of repeats in the run."""
        return len(self.run.issues)

    @property
    def cycles(self) -> int:
        """Number of cycles of the run."""
        return self.run.finish - self.run.start

    @property
    def end(self) -> int:
        """Cycle after the run and after the last link word of the last result."""
        return max(self.cycles, int(self.sent[-1]) + 1)

    @cached_property
    def latencies(self) -> dict[str, int]:
        """Delays of the machine in cycles, by name.

        ========== =======================================================================================
        enter      from the decision to issue a pixel to its vector entering element (0, 0)
        element    from an operand in an element to the sum in the element's register
        read       from the decision to issue a pixel to its read from the memory
        fold       from the decision to issue a pixel to the first cycle that shows its sum in the accumulators
        result     from the last read of an accumulator row to the write of its first result word
        feedback   from the last read of an accumulator row to the first cycle that shows the row it is folded into
        sample     from a skewed vector to its samples in the last line of a depthwise window
        line_delay from the decision on a depthwise pass's first pixel to the first decision whose samples are read from
                   the line buffers with that pass's delay, at element (0, 0)
        ========== =======================================================================================
        """
        config, lat = self.config, Latencies.of(self.config)
        return {
            "enter": lat.decide + Machine.read_latency(config),
            "element": ProcessingElement.latency(config),
            "read": Sequencer.latency(config),
            "fold": lat.decide + lat.fold_visible,
            "result": lat.result,
            "feedback": lat.feedback + AccumulatorBank.latency(config) + 1,
            "sample": config.sample_delay,
            "line_delay": config.sample_delay + 2,
        }

    @cached_property
    def issues(self) -> np.ndarray:
        """Decision cycle of the first pixel of every pass of every repeat: int64 (repeats, passes)."""
        return np.stack(self.run.issues) - self.run.origin

    @cached_property
    def drain_starts(self) -> np.ndarray:
        """Cycle in which each drain of each repeat reads its first row: int64 (repeats, drains)."""
        config, lat = self.config, Latencies.of(self.config)
        passes, drains = self.program.passes, self.program.drains
        starts = np.zeros((self.repeats, len(drains)), np.int64)
        for index, started in enumerate(drains_of(passes, drains)):
            first = self.issues[:, index] + passes[index].pixels - 1 + lat.decide + lat.drain_delay
            for number, at in enumerate(started):
                first = first + (lat.chain - 1 + drains[at].idle if number else 0)
                starts[:, at] = first
                first = first + drains[at].tiles * drains[at].pixels * drain_pace(drains[at], config)
        return starts

    @cached_property
    def segments(self) -> list[Segment]:
        """All cycles of the run, in order and without gaps, divided by class."""
        found: list[Segment] = []
        config, lat = self.config, Latencies.of(self.config)
        arrivals = [int(w.cycles[-1, -1]) + 1 - self.run.origin for w in self.writes if w.target is Target.INPUT]
        now = 0

        def spend(cycles: int, spent: Counter, index: int) -> None:
            nonlocal now
            if cycles > 0:
                found.append(Segment(now, cycles, spent, index))
                now += cycles

        spend(lat.fetch - 1, Counter.FILL_DRAIN, -1)
        for repeat in range(self.repeats):
            for number, p in enumerate(self.program.passes):
                index, issue = repeat * len(self.program.passes) + number, int(self.issues[repeat, number])
                spend(p.idle_requantise, Counter.REQUANTISE, index)
                spend(p.idle, Counter.FILL_DRAIN, index)
                if p.wait_input:
                    wait = issue - now
                    spend(min(wait, arrivals[repeat] - now) if p.wait_output else wait, Counter.WAIT_IN, index)
                spend(issue - now, Counter.WAIT_OUT, index)
                spend(p.pixels, Counter.ISSUE, index)
                spend(config.pass_cycles(p.pixels) - p.pixels, Counter.WEIGHT_LOAD, index)
        for at in drains_of(self.program.passes, self.program.drains)[-1]:
            drain = self.program.drains[at]
            first = int(self.drain_starts[-1, at])
            spend(first - now, Counter.FILL_DRAIN, -1)
            spend(drain.tiles * drain.pixels * drain_pace(drain, config), Counter.REQUANTISE, -1)
        spend(self.cycles - now, Counter.FILL_DRAIN, -1)
        return found

    @cached_property
    def link_in(self) -> list[Transfer]:
        """Incoming transfers, packet by packet, without headers and commands."""
        before = Loader.latency(self.config) + self.run.origin
        return [
            Transfer(start, length, write.target.name.lower())
            for write in self.writes
            for start, length in _ranges(write.cycles.ravel() - before)
        ]

    @cached_property
    def link_out(self) -> list[Transfer]:
        """Outgoing transfers of results, without counters."""
        return [Transfer(start, length, "results") for start, length in _ranges(self.sent)]

    @cached_property
    def tiles(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct tiles, int8 (tiles, rows, columns), and the index of each pass's tile."""
        datapath = Datapath(self.config)
        datapath.weights[: len(self.program.weights)] = self.program.weights
        found: dict[bytes, int] = {}
        tiles: list[np.ndarray] = []
        which: list[int] = []
        for p in self.program.passes:
            tile = datapath.tile(p)
            if tile.tobytes() not in found:
                found[tile.tobytes()] = len(tiles)
                tiles.append(tile)
            which.append(found[tile.tobytes()])
        return np.stack(tiles), np.array(which)


def _ranges(cycles: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield first cycle and length of each series of consecutive cycles."""
    breaks = np.flatnonzero(np.diff(cycles) != 1) + 1
    for part in np.split(cycles, breaks):
        if len(part):
            yield int(part[0]), len(part)


def gather(model: Model, program: Program, x: np.ndarray, *, report: Callable[..., None] = lambda *_: None) -> Trace:
    """Run a model on the exact engine and return the trace of the run.

    Parameters
    ----------
    model, program
        The model, and its network compiled for a machine.
    x
        Inputs, int8 (M, input_size); zeros complete the last repeat.
    report
        Function that is called with a progress text.
    """
    config, batch = program.config, program.batch
    engine = ExactEngine(config, history=True)
    accelerator = Accelerator(engine=engine)
    accelerator.load_program(program)
    report("running")
    accelerator.run(x)
    history = engine.kept_history
    run = history.runs[0]
    repeats = len(run.issues)
    inputs = np.stack([program.pack_inputs(x[i * batch : (i + 1) * batch]) for i in range(repeats)])
    words = np.flatnonzero(engine.record.accepts) - run.origin
    sent = words[: repeats * program.output_words * chunks(8 * config.rows, config)]
    report("results of every drain")
    drained = DrainResults(Events(history, config))
    results = [drained.repeat(repeat) for repeat in range(repeats)]
    return Trace(
        name=model.name,
        program=program,
        layers=[_described(program, index, name) for index, name in enumerate(model.names)],
        run=run,
        writes=history.writes,
        counts=accelerator.counts,
        inputs=inputs,
        results=results,
        sent=sent,
        history=history,
    )


def _described(program: Program, index: int, name: str) -> LayerInfo:
    layer, network = program.network.layers[index], program.network
    shape = network.shapes[index]
    stride = getattr(layer, "stride", (1, 1))
    return LayerInfo(name, operation(layer, shape), shape, stride)


@singledispatch
def operation(layer: Layer, shape: Shape) -> str:
    """Describe a layer with results of `shape` in a short text: its class in lower case, unless one is registered.

    >>> operation(Dense(np.ones((3, 2), np.int8)), (1, 1, 2))
    'dense 2'
    """
    return type(layer).__name__.lower()


@operation.register(Conv)
@operation.register(Depthwise)
def _convolution(layer: Conv | Depthwise, shape: Shape) -> str:
    by = "" if tuple(layer.stride) == (1, 1) else f" /{max(layer.stride)}"
    return f"{type(layer).__name__.lower()} {layer.kernel[0]}\u00d7{layer.kernel[1]}{by} → {shape[2]}"


@operation.register(AddConstant)
def _add_constant(layer: AddConstant, shape: Shape) -> str:
    return "add constant"


@operation.register(Dense)
def _dense(layer: Dense, shape: Shape) -> str:
    return f"dense {shape[2]}"


@operation.register(AveragePool)
@operation.register(MaxPool)
def _pool(layer: AveragePool | MaxPool, shape: Shape) -> str:
    kind = "average" if isinstance(layer, AveragePool) else "max"
    return f"{kind} pool {layer.window[0]}\u00d7{layer.window[1]}"
