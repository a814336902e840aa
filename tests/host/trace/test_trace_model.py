"""The model in the page's scripts, run by Node.js, equals the state of the machine in random cycles.

The tests compare it with `MachineState`, whose own tests compare that with the RTL.
"""

import collections
import dataclasses
import json
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from support.strategies import int8
from support.traced import CONFIG, network

from etchnet.hdl.isa import Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.compile import compile_network
from etchnet.host.importers.load import plain_model
from etchnet.host.network.layers import Add, AveragePool, Conv, Dense, Depthwise, MaxPool
from etchnet.host.network.network import INPUT, Network
from etchnet.host.trace.page import MODEL, page
from etchnet.host.trace.trace import gather
from etchnet.sim.state.machine import MachineState

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(not NODE, reason="no node on the PATH")
RUNNER = Path(__file__).with_name("model_runner.js")
SCRIPTS = resources.files("etchnet.host.trace")

SMALL = Config(
    rows=4,
    columns=4,
    accumulator_rows=16,
    weight_tiles=64,
    activation_words=128,
    input_words=64,
    output_words=64,
    passes=256,
    drains=128,
    parameter_tiles=16,
)


def convolutions(random):
    """Make a network with a strided convolution, borders, pools, a residual addition and a dense layer."""
    border = ((1, 1), (1, 1))
    return Network(
        [
            Conv.from_scale(int8(random, (3, 3, 3, 4)), scale=0.01, stride=(2, 2), padding=border, input_zero_point=2),
            Conv.from_scale(int8(random, (3, 3, 4, 4)), scale=0.01, padding=border),
            Add.from_scales((1.0, 1.0), 2.0, zero_points=(0, 0)),
            MaxPool((2, 2), stride=(1, 1), padding=((0, 1), (0, 1))),
            AveragePool((4, 3)),
            Dense.from_scale(int8(random, (4, 3)), scale=0.02),
        ],
        (7, 6, 3),
        [[INPUT], [0], [0, 1], [2], [3], [4]],
    )


def dense(random):
    shapes = ((20, 10), (10, 7), (7, 5))
    return Network([Dense.from_scale(int8(random, shape), scale=0.01, low=0) for shape in shapes])


def several(random):
    """Make a network of two inputs, of which the second is unfolded by the host, and two outputs."""
    layers = [
        Conv.from_scale(int8(random, (1, 1, 9, 4)), scale=0.01),
        Conv.from_scale(int8(random, (2, 3, 2, 4)), scale=0.01, padding=((0, 1), (1, 1))),
        Add.from_scales((1.0, 1.0), 2.0, zero_points=(0, 0)),
        Dense.from_scale(int8(random, (48, 3)), scale=0.01),
    ]
    return Network(layers, [(3, 4, 9), (3, 4, 2)], [[INPUT], [INPUT - 1], [0, 1], [2]], outputs=[3, 0])


def narrow(random):
    """Make a network whose first tensors have few channels, so that several pixels are side by side in a word."""
    border, scaled = ((1, 1), (1, 1)), {"scale": 0.01, "zero_point": 5, "low": 5}
    return Network(
        [
            Conv.from_scale(int8(random, (4, 3, 1, 2)), stride=(2, 2), padding=border, input_zero_point=-3, **scaled),
            Depthwise.from_scale(int8(random, (2, 2, 2, 1)), padding=border, input_zero_point=5, **scaled),
            Dense.from_scale(int8(random, (6 * 6 * 2, 3)), scale=0.01, input_zero_point=5),
        ],
        (11, 9, 1),
    )


MACHINES = {
    "several inputs": (SMALL, several),
    "several pixels in a word": (dataclasses.replace(SMALL, depthwise=2, line_words=32), narrow),
    "depthwise": (CONFIG, network),
    "depthwise, slow memories": (
        dataclasses.replace(CONFIG, memory_latency=2, multiplier_latency=2, weight_rows=3),
        network,
    ),
    "images": (SMALL, convolutions),
    "several tiles in a word": (
        dataclasses.replace(SMALL, rows=8, residual_words=0, depthwise=0, weight_rows=4),
        dense,
    ),
    "several words for a pixel": (
        dataclasses.replace(SMALL, columns=8, residual_words=0, depthwise=0, requantisers=2),
        dense,
    ),
}


@pytest.fixture(scope="module", params=MACHINES)
def drawn(request):
    """Return a machine, a model and inputs."""
    random = np.random.default_rng(7)
    config, make = MACHINES[request.param]
    model = plain_model("small", make(random))
    return config, model, int8(random, (2, model.network.input_size))


@pytest.fixture(scope="module")
def traced(drawn):
    config, model, x = drawn
    trace = gather(model, compile_network(model.network, config), x)
    return trace, MachineState(trace.history, config)


def ask(trace, queries):
    """Return the answers of a page's model to queries, from the data in the page."""
    html = page(trace)
    description, values = (
        re.search(rf'<script type="[^"]*" id="{name}">(.*?)</script>', html, re.DOTALL)[1]
        for name in ("description", "values")
    )
    given = json.dumps({"description": json.loads(description), "values": values, "queries": queries})
    with resources.as_file(SCRIPTS) as folder:
        scripts = [folder / name for name in MODEL]
        done = subprocess.run([NODE, RUNNER, *scripts], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def cycles(trace, count):
    """Return random cycles of the run, and some before and after it."""
    inside = np.random.default_rng(0).integers(0, trace.cycles, count).tolist()
    return [-2, 0, *inside, trace.cycles - 1, trace.cycles]


def test_every_element_equals_the_machine(traced):
    trace, state = traced
    config, at = trace.config, cycles(trace, 25)
    shape = config.rows, config.columns
    for cycle, frame in zip(at, ask(trace, [("array", cycle) for cycle in at]), strict=True):
        expected = state.array(trace.run.origin + cycle)
        assert np.array_equal(np.reshape(frame["weight"], shape), expected["weight"]), cycle
        assert np.array_equal(np.reshape(frame["total"], shape), expected["total"]), cycle
        operands = [
            [state.explain(r, c, trace.run.origin + cycle).operand for c in range(shape[1])] for r in range(shape[0])
        ]
        assert np.array_equal(np.reshape(frame["operand"], shape), operands), cycle


def test_the_explanation_of_an_element_equals_the_machine(traced):
    trace, state = traced
    at = cycles(trace, 40)
    elements = np.random.default_rng(1).integers((trace.config.rows, trace.config.columns), size=(len(at), 2)).tolist()
    places = [(row, column, cycle) for (row, column), cycle in zip(elements, at, strict=True)]
    for place, found in zip(places, ask(trace, [("element", *place) for place in places]), strict=True):
        row, column, cycle = place
        expected = state.explain(row, column, trace.run.origin + cycle)
        figures = found["operand"], found["weight"], found["lane"]
        assert figures == (expected.operand, expected.weight, expected.byte), place
        number = expected.number + expected.repeat * len(trace.program.passes) if expected.number >= 0 else -1
        assert found["index"] == number, place


def test_the_origin_of_an_operand_is_the_pixel_with_its_value(drawn, traced):
    """The layer, line, column and channel that the page names, in the results of the reference."""
    (config, model, x), (trace, _) = drawn, traced
    network = model.network
    # Layer -1 - k is input k.
    tensors = [*network.tensors(x), *reversed(network.split_inputs(x))]
    readers = [layer for layer, sources in zip(network.layers, network.sources, strict=True) if sources[0] < 0]
    fillers = [getattr(layer, "zero_point", 0) for layer in network.layers]
    fillers += [layer.input_zero_points[0] for layer in reversed(readers)]
    at, random = cycles(trace, 200), np.random.default_rng(3)
    elements = random.integers((config.rows, config.columns), size=(len(at), 2)).tolist()
    queries = [("origin", row, column, cycle) for (row, column), cycle in zip(elements, at, strict=True)]
    kinds = collections.Counter()
    for query, found in zip(queries, ask(trace, queries), strict=True):
        kinds[found["kind"]] += 1
        if found["kind"] == "pixel":
            where = found["image"], found["line"], found["column"], found["channel"]
            assert found["operand"] == tensors[found["layer"]][where], query
        elif found["kind"] == "filler":
            assert found["operand"] == fillers[found["layer"]], query
    assert kinds["pixel"] > 10
    if config.depthwise == 2:
        assert trace.program.arrangements
        assert kinds["filler"]


def test_accumulators_equal_the_machine(traced):
    trace, state = traced
    queries = [("accumulators", bank, cycle) for cycle in cycles(trace, 6) for bank in range(2)]
    for query, found in zip(queries, ask(trace, queries), strict=True):
        assert np.array_equal(found, state.accumulators(query[1], trace.run.origin + query[2])), query


def test_the_activation_memory_equals_the_machine(traced):
    trace, state = traced
    if not trace.program.activation_words:
        pytest.skip("this program has no layer between others")
    at = cycles(trace, 6)
    for cycle, found in zip(at, ask(trace, [("activation", cycle) for cycle in at]), strict=True):
        # The model returns the words that a decision in that cycle reads.
        read = trace.run.origin + cycle + trace.latencies["read"]
        words = state.memory("activation.memory", read)[: trace.program.activation_words]
        expected = [list(word.to_bytes(trace.config.rows, "little")) for word in words]
        assert np.array_equal(np.array(found).astype(np.uint8), np.array(expected, np.uint8)), cycle


def test_passes_access_the_words_of_their_instructions(traced):
    """The test computes the walk independently from its definition in the instruction set, pixel by pixel."""
    trace, _ = traced
    program, config = trace.program, trace.config
    for p, found in zip(program.passes, ask(trace, [("pass", i) for i in range(len(program.passes))]), strict=True):
        assert found["slot"] == max(p.pixels, config.rows // config.weight_rows)
        columns, words = p.columns or p.pixels, []
        for pixel in range(p.pixels):
            line, column = divmod(pixel, columns)
            inside = p.first_line <= line < (p.end_line or p.pixels)
            inside &= p.first_column <= column < (p.end_column or p.pixels)
            words.append(p.address + line * p.line + column * p.step if inside else None)
        assert found["words"] == words
        if p.kind != TileKind.DEPTHWISE:
            assert found["kept"] == list(range(p.pixels))
    assert any(p.source == Source.ACTIVATION for p in program.passes)
