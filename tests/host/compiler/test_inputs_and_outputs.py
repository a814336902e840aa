"""Networks with several inputs and outputs: results equal the reference, and time does not depend on data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import COMPILED, SIZE
from support.needs import needs_verilator
from support.strategies import int8, randoms, traces

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.compile import compile_network, dump_after
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.layers import Add, Concat, Conv, Dense, Depthwise, MaxPool, Reshape, Scaling
from etchnet.host.network.network import INPUT, Network

SECOND = INPUT - 1
MACHINES = [
    COMPILED,
    Config(rows=4, columns=2, requantisers=1, accumulator_rows=33, **SIZE),
    Config(rows=3, columns=5, accumulator_rows=16, memory_latency=3, **SIZE),
]


def layer_for(random, shape):
    """Return a random layer that reads one tensor."""
    height, width, channels = shape
    kind = random.integers(6)
    if kind == 0:
        return Conv.from_scale(int8(random, (2, 2, channels, 3)), scale=0.003, padding=((0, 1), (1, 0)))
    if kind == 1:
        return Depthwise.from_scale(int8(random, (2, 2, channels, 1)), scale=0.01, padding=((1, 0), (0, 1)))
    if kind == 2:
        return MaxPool((2, 2), padding=((0, 1), (0, 1)))
    if kind == 3:
        return Reshape((1, 1, height * width * channels) if random.integers(2) else (width, height, channels))
    if kind == 4:
        return Dense.from_scale(int8(random, (height * width * channels, 5)), scale=0.004, zero_point=-7)
    return Conv.from_scale(int8(random, (1, 1, channels, 4)), 9, scale=0.01, input_zero_point=-3)


def random_network(random, *, layers=6):
    """Return a network of two inputs and at least two outputs; any output may be read, int32, or there twice."""
    inputs = [(3, 4, 2), (3, 4, int(random.choice([2, 3, 5])))]
    made, sources, shapes = [], [], {INPUT: inputs[0], SECOND: inputs[1]}
    scaling = Scaling.of(0.4, left=20)
    for index in range(layers):
        source = int(random.integers(-2, index))
        layer, reads = layer_for(random, shapes[source]), [source]
        equal = [s for s, shape in shapes.items() if shape == shapes[source] and s != source]
        if equal and random.integers(2):
            reads = [source, int(random.choice(equal))]
            layer = Concat() if random.integers(2) else Add((1, -2), scaling, scaling, Scaling.of(2.0**-19))
        made.append(layer)
        sources.append(reads)
        shapes[index] = layer.shape(*(shapes[s] for s in reads))
    unread = [i for i in range(layers) if not any(i in reads for reads in sources)]
    for index in unread[:1]:
        values = int(np.prod(shapes[index]))
        made.append(Dense(int8(random, (values, 3)), 100))
        sources.append([index])
    outputs = [*unread[1:], *range(layers, len(made)), *random.integers(0, layers, 2).tolist()]
    return Network(made, inputs, sources, outputs=random.permutation(outputs).tolist())


def agrees(network, config, random, *, batch=1, engine=None, trace=None):
    x = int8(random, (batch + int(random.integers(2)), network.input_size))
    exact = Accelerator(config, trace=trace)
    exact.load(network, batch=batch)
    got = exact.run(x)
    assert np.array_equal(got, network.reference(x))
    assert got.dtype == (np.int32 if network.wide else np.int8)
    if engine is not None:
        other = Accelerator(config, engine=engine, trace=trace)
        other.load(network, batch=batch)
        assert np.array_equal(other.run(x), got)
        assert other.counts == exact.counts


@settings(max_examples=24)
@given(st.sampled_from(MACHINES), st.integers(1, 3), randoms())
def test_results_of_random_networks_equal_the_reference(config, batch, random):
    agrees(random_network(random), config, random, batch=batch)


@pytest.mark.campaign
@settings(max_examples=3000)
@given(st.sampled_from(MACHINES), st.integers(1, 3), randoms(), st.integers(1, 12))
def test_results_of_many_random_networks_equal_the_reference(config, batch, random, layers):
    agrees(random_network(random, layers=layers), config, random, batch=batch)


def example(random):
    """Return a network whose first output is int32 and written early, and whose second is read by other layers."""
    layers = [
        Conv.from_scale(int8(random, (1, 1, 2, 3)), scale=0.01),
        Dense(int8(random, (12, 3)), 100),
        Conv.from_scale(int8(random, (1, 1, 3, 3)), scale=0.01),
        Add((1, -2), *[Scaling.of(0.4, left=20)] * 2, Scaling.of(2.0**-19)),
    ]
    return Network(layers, [(2, 2, 2), (2, 2, 3)], [[INPUT], [SECOND], [0], [2, SECOND]], outputs=[1, 0, 3, 0])


@settings(max_examples=2)
@given(randoms())
def test_the_gateware_gives_the_same_results_and_counters_on_a_link_that_stalls(random):
    agrees(example(random), MACHINES[0], random, engine="amaranth", trace=traces(random))


@needs_verilator
def test_compiled_gateware_gives_the_same_results_and_counters():
    random = np.random.default_rng(5)
    for network in (example(random), random_network(random)):
        agrees(network, MACHINES[0], random, batch=2, engine="verilator")


def test_outputs_that_other_layers_read_need_no_pass_of_their_own():
    random = np.random.default_rng(1)
    network, config = example(random), MACHINES[0]
    program = compile_network(network, config)
    alone = compile_network(Network(network.layers, network.input_shapes, network.sources, outputs=[1, 3]), config)
    assert len(program.passes) == len(alone.passes)
    assert program.counts()[Counter.ISSUE] == alone.counts()[Counter.ISSUE]
    assert [layout.base for layout in program.output_layouts] == [0, 4, 8, 4]
    assert len(program.output_layouts) == 4
    dump = dump_after("allocate", network, config)
    assert [(t["tensor"], t["memory"]) for t in dump["tensors"]][:2] == [("input 1", "input"), ("input 0", "input")]


def test_time_does_not_depend_on_the_values_of_any_input():
    random = np.random.default_rng(3)
    accelerator = Accelerator(MACHINES[0])
    network = example(random)
    accelerator.load(network)
    counts = []
    for x in (np.zeros((2, network.input_size), np.int8), int8(random, (2, network.input_size))):
        accelerator.run(x)
        counts.append(accelerator.counts)
    assert counts[0] == counts[1]
