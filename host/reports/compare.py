"""Comparison of two engines: the first layer, element, pass and cycle in which they differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa import Counter, Destination
from etchnet.host.compiler.program import Program
from etchnet.host.driver.counts import Counts
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.model import Model
from etchnet.host.reports.report import pass_rows
from etchnet.sim.engines.link import Engine, LinkError
from etchnet.sim.timing import Latencies, drain_pace, drains_of

__all__ = ["Difference", "compare", "default_inputs"]


@dataclass(frozen=True)
class Difference:
    """First difference between two engines."""

    layer: int
    """index of the first layer that differs"""
    name: str
    """name of that layer"""
    what: str
    """kind of difference: `output`, `counters` or `link`"""
    message: str
    """description of the difference for the user"""
    element: tuple[int, int] | None = None
    """the first result that differs: the input, and the index of the value among all its outputs"""
    pass_index: int | None = None
    """pass that released the drain that wrote this result"""
    cycle: int | None = None
    """for `output`, the cycle of an unstalled run, from 0, in which the result is written; otherwise the first cycle
    since reset in which the links differ"""
    values: tuple[list[int], list[int]] | None = None
    """results around the first that differs, from each engine"""


def compare(
    model: Model,
    first: Callable[[], Engine],
    second: Callable[[], Engine],
    x: np.ndarray,
    *,
    report: Callable[[str], None] = lambda line: None,
) -> Difference | None:
    """Run the first layer on both engines, then the first two, and so on; return the first difference, or None.

    A network with several outputs is then run as a whole.

    Parameters
    ----------
    first, second
        Functions that make the engines, for the same config. Every run uses a new engine, so that no state is left
        from an earlier run.
    x
        Inputs, int8 (M, input_size), processed one at a time.
    report
        Function that is called with the name of each layer before it runs.
    """
    networks = [(layer, name, model.network.upto(layer)) for layer, name in enumerate(model.names)]
    if len(model.network.outputs) > 1:
        networks.append((model.network.outputs[-1], "all outputs", model.network))
    for layer, name, network in networks:
        report(f"layer {layer} of {len(model.names)}: {name}")
        outcomes: list[tuple[np.ndarray, Counts, Engine]] = []
        for make in (first, second):
            accelerator = Accelerator(engine=make())
            try:
                program = accelerator.load(network)
                outcomes.append((accelerator.run(x), accelerator.counts, accelerator.engine))
            except LinkError as error:
                return Difference(layer, name, "link", f"{accelerator.engine.name} stops: {error}")
        difference = _outputs(outcomes, program, layer, name) or _counters(outcomes, layer, name)
        for _, _, engine in outcomes:
            engine.close()
        if difference is not None:
            return difference
    return None


def _outputs(
    outcomes: list[tuple[np.ndarray, Counts, Engine]], program: Program, layer: int, name: str
) -> Difference | None:
    (a, _, one), (b, _, other) = outcomes
    unequal = np.argwhere(a != b)
    if not len(unequal):
        return None
    item, value = (int(i) for i in unequal[0])
    index, cycle = _written(program, value)
    around = slice(max(0, value - 2), value + 3)
    values = a[item, around].tolist(), b[item, around].tolist()
    message = (
        f"{len(unequal)} of {a.size} results differ, the first for input {item}, value {value}: {one.name} "
        f"{a[item, value]}, {other.name} {b[item, value]}; values {around.start} to "
        f"{around.start + len(values[0]) - 1} are {values[0]} and {values[1]}; the drain that pass {index} releases "
        f"writes the result in cycle {cycle} of an unstalled run"
    )
    return Difference(layer, name, "output", message, (item, value), index, cycle, values)


def _written(program: Program, value: int) -> tuple[int, int]:
    """Return the pass whose drain writes a value of the first input's outputs, and the cycle of that write."""
    config = program.config
    lat = Latencies.of(config)
    rows = pass_rows(program)
    ends = np.cumsum([math.prod(shape) for shape in program.network.output_shapes])
    number = int(np.searchsorted(ends, value, side="right"))
    layout = program.output_layouts[number]
    pixel, channel = divmod(value - int(ends[number - 1] if number else 0), layout.shape[2])
    tile = channel // config.columns
    for index, started in enumerate(drains_of(program.passes, program.drains)):
        read = rows[index]["first_cycle"] + lat.decide + program.passes[index].pixels - 1 + lat.drain_delay
        for number, at in enumerate(started):
            drain, write = program.drains[at], program.writes[at]
            read += lat.chain - 1 + drain.idle if number else 0
            held = layout.base <= drain.address < layout.base + layout.size
            if drain.destination == Destination.OUTPUT and held and write is not None:
                inside = 0 <= pixel - write.pixel < write.pixels and 0 <= tile - write.tile < write.tiles
                if inside:
                    row = (tile - write.tile) * write.pixels + pixel - write.pixel
                    return index, read + row * drain_pace(drain, config) + config.groups - 1 + lat.result
            read += drain.tiles * drain.pixels * drain_pace(drain, config)
    raise AssertionError(f"no drain writes value {value}")


def _counters(outcomes: list[tuple[np.ndarray, Counts, Engine]], layer: int, name: str) -> Difference | None:
    (_, counts, one), (_, others, other) = outcomes
    unequal = [c for c in Counter if counts[c] != others[c]]
    traces = [[np.flatnonzero(t) for t in (e.record.offers, e.record.accepts)] for e in (one, other)]
    moves = []
    for sent, (a, b) in (("in", (traces[0][0], traces[1][0])), ("out", (traces[0][1], traces[1][1]))):
        common = min(len(a), len(b))
        different = np.flatnonzero(a[:common] != b[:common])
        if len(different):
            word = int(different[0])
            moves.append((min(int(a[word]), int(b[word])), sent, word, int(a[word]), int(b[word])))
    if not unequal and not moves:
        return None
    parts = [f"{c.name.lower()} {counts[c]} and {others[c]}" for c in unequal]
    cycle = None
    if moves:
        cycle, end, word, a_cycle, b_cycle = min(moves)
        parts.append(
            f"link word {word} {end}, the first that differs, moves {a_cycle} and {b_cycle} cycles after reset"
        )
    message = f"all results are equal, but {one.name} and {other.name} differ: " + "; ".join(parts)
    return Difference(layer, name, "counters", message, cycle=cycle)


def default_inputs(model: Model, count: int) -> np.ndarray:
    """Return `count` random full-range inputs for a model, int8 (count, input_size), the same in every call."""
    values = np.random.default_rng(0).integers(-128, 128, (count, model.network.input_size)).astype(np.int8)
    # Requantisations of the host may never give some of the values.
    return model.prepare(model.restore(values))
