"""Two engines side by side: equal, or the first layer, element, pass and cycle in which they differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa import Counter
from etchnet.host.compiler import Program
from etchnet.host.driver import Accelerator, Counts
from etchnet.host.model import Model
from etchnet.host.network import Network
from etchnet.host.report import pass_rows
from etchnet.sim.link import Engine, LinkError
from etchnet.sim.timing import Latencies

__all__ = ["Difference", "compare", "default_inputs"]


@dataclass(frozen=True)
class Difference:
    """Where two engines part: in a result, or in a count."""

    layer: int
    name: str
    what: str
    """`output`, `counters` or `link`"""
    message: str
    element: tuple[int, int] | None = None
    """input and channel of the first result that differs"""
    pass_index: int | None = None
    """the pass whose drain wrote it"""
    cycle: int | None = None
    """of an output, the cycle of an unstalled run that wrote it; of the link, the first cycle that differs"""
    values: tuple[list[int], list[int]] | None = None
    """results around it, of both engines"""


def compare(
    model: Model,
    first: Callable[[], Engine],
    second: Callable[[], Engine],
    x: np.ndarray,
    *,
    report: Callable[[str], None] = lambda line: None,
) -> Difference | None:
    """Run every beginning of the network, one layer longer each time, on both engines, until they differ.

    Parameters
    ----------
    first, second
        Make the engines, of one config; each run gets a new one, so that what one run leaves behind cannot hide in
        the next.
    x
        int8 (M, inputs), all of which go through one at a time.
    """
    for length in range(1, len(model.network.layers) + 1):
        network = Network(model.network.layers[:length])
        name = model.names[length - 1]
        report(f"layer {length - 1} of {len(model.network.layers)}: {name}")
        outcomes: list[tuple[np.ndarray, Counts, Engine]] = []
        for make in (first, second):
            accelerator = Accelerator(engine=make())
            try:
                program = accelerator.load(network)
                outcomes.append((accelerator.run(x), accelerator.counts, accelerator.engine))
            except LinkError as error:
                return Difference(length - 1, name, "link", f"{accelerator.engine.name} stops: {error}")
        difference = _outputs(outcomes, program, length - 1, name) or _counters(outcomes, length - 1, name)
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
    item, channel = (int(i) for i in unequal[0])
    index, cycle = _written(program, channel)
    around = slice(max(0, channel - 2), channel + 3)
    values = a[item, around].tolist(), b[item, around].tolist()
    message = (
        f"{len(unequal)} of {a.size} results differ, the first for input {item}, channel {channel}: {one.name} "
        f"{a[item, channel]}, {other.name} {b[item, channel]}; channels {around.start} to "
        f"{around.start + len(values[0]) - 1} are {values[0]} and {values[1]}; pass {index} released its drain, which "
        f"wrote it in cycle {cycle} of a run"
    )
    return Difference(layer, name, "output", message, (item, channel), index, cycle, values)


def _written(program: Program, channel: int) -> tuple[int, int]:
    """The releasing pass and the cycle of the last layer's result for one channel of the first input."""
    config = program.config
    lat = Latencies.of(config)
    rows = pass_rows(program)
    last = len(program.network.layers) - 1
    tile = channel // config.columns
    first_parameter = len(program.parameters) - -(-program.network.outputs // config.columns) * config.groups
    drains = iter(program.drains)
    for index, p in enumerate(program.passes):
        if not p.release:
            continue
        drain = next(drains)
        start = (drain.parameters - first_parameter) // config.groups
        if program.layers[index] == last and start <= tile < start + drain.tiles:
            row = (tile - start) * drain.pixels
            pace = config.drain_cycles_per_row(wide=drain.wide)
            read = rows[index]["first_cycle"] + lat.decide + p.pixels - 1 + lat.drain_delay + row * pace
            return index, read + config.groups - 1 + lat.result
    raise AssertionError(f"no drain writes channel {channel}")


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
        parts.append(f"link word {word} {end} moves in cycle {a_cycle} and {b_cycle}, the first that differs")
    message = f"all results are equal, but not {one.name}'s and {other.name}'s " + "; ".join(parts)
    return Difference(layer, name, "counters", message, cycle=cycle)


def default_inputs(model: Model, count: int) -> np.ndarray:
    """Full-range int8 inputs for a model, the same every time."""
    return np.random.default_rng(0).integers(-128, 128, (count, model.network.inputs)).astype(np.int8)
