"""Slices, which layers after them read through, and additions of constants, on machines of several shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import int8, randoms

from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.compile import compile_network
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.layers import (
    Add,
    AddConstant,
    Concat,
    Conv,
    Dense,
    Depthwise,
    MaxPool,
    NetworkError,
    Reshape,
    Scaling,
    Slice,
)
from etchnet.host.network.model import ModelError
from etchnet.host.network.network import INPUT, Network

pytest.importorskip("tflite", reason="the package tflite is not installed")
from support.tflite_operators import all_operators

from etchnet.host.importers.tflite.importer import parse_tflite

MACHINES = [
    Config(rows=r, columns=c, **o) for r, c, o in [(4, 4, {}), (8, 4, {}), (4, 8, {}), (8, 8, {"depthwise": 2})]
]
SCALING, HALF = Scaling.of(0.3, left=20), Scaling.of(2.0**-19)
POOL = MaxPool((1, 1))


def random_slice(random, shape):
    stride = [int(random.integers(1, 3)) for _ in shape]
    begin = [int(random.integers(n)) for n in shape]
    if random.integers(2):
        begin[2] = 0
    most = [(n - 1 - b) // s + 1 for n, b, s in zip(shape, begin, stride, strict=True)]
    return Slice(begin, [int(random.integers(1, n + 1)) for n in most], stride)


def random_layer(random, shape):
    kernel = min(2, shape[0]), min(3, shape[1])
    match random.integers(7):
        case 0:
            padding = (int(random.integers(2)), 0), (0, 0)
            return Conv.from_scale(int8(random, (*kernel, shape[2], 9)), scale=0.001, padding=padding)
        case 1:
            return Depthwise.from_scale(int8(random, (*kernel, shape[2], 1)), scale=0.01, input_zero_point=4)
        case 2:
            return MaxPool(kernel)
        case 3:
            return Dense.from_scale(int8(random, (int(np.prod(shape)), 5)), scale=0.001)
        case 4:
            constant = random.integers(-(1 << 24), 1 << 24, shape[2])
            return AddConstant(constant, -7, SCALING, HALF, 3, sign=int(random.choice([1, -1])))
        case _:
            return random_slice(random, shape)


def random_network(random):
    shape = int(random.integers(2, 9)), int(random.integers(2, 9)), int(random.integers(1, 20))
    layers, sources, shapes = [POOL], [[INPUT]], [shape]
    for _ in range(int(random.integers(1, 7))):
        source = int(random.integers(len(layers)))
        layers.append(random_layer(random, shapes[source]))
        sources.append([source])
        shapes.append(layers[-1].shape(shapes[source]))
        if random.integers(4) == 0:
            layers.append(Add((1, -2), SCALING, SCALING, HALF, signs=tuple(map(int, random.choice([1, -1], 2)))))
            sources.append([len(layers) - 2, len(layers) - 2])
            shapes.append(shapes[-1])
    read = {source for which in sources for source in which}
    return Network(layers, shape, sources, outputs=[i for i in range(len(layers)) if i not in read])


@settings(max_examples=20)
@given(randoms(), st.sampled_from(MACHINES))
def test_random_networks_with_slices(random, config):
    network = random_network(random)
    machine = Accelerator(config)
    machine.load(network)
    x = int8(random, (3, network.input_size))
    assert np.array_equal(machine.run(x), network.reference(x))


@settings(max_examples=12)
@given(all_operators(), st.sampled_from(MACHINES))
def test_random_files_of_all_operators_on_the_machine(case, config):
    """The network of a file against the numpy reference, which other tests compare with TensorFlow Lite Micro."""
    data, x = case
    try:
        model = parse_tflite(data)
    except ModelError:
        return
    machine = Accelerator(config)
    machine.load(model.network)
    inputs = model.prepare(x)
    assert np.array_equal(machine.run(inputs), model.network.reference(inputs))


def test_slices_and_additions_on_the_gateware():
    random = np.random.default_rng(0)
    layers = [
        Slice((1, 0, 4), (3, 2, 7), (1, 2, 1)),
        AddConstant(random.integers(-(1 << 24), 1 << 24, 7), -7, SCALING, HALF, 3, sign=-1),
        Add((1, -2), SCALING, SCALING, HALF, signs=(1, -1)),
        MaxPool((2, 1)),
    ]
    network = Network(layers, (4, 4, 11), [[INPUT], [0], [0, 1], [2]])
    x, machines = (
        int8(random, (2, network.input_size)),
        [Accelerator(MACHINES[0], engine=e) for e in ("exact", "amaranth")],
    )
    for machine in machines:
        machine.load(network)
        assert np.array_equal(machine.run(x), network.reference(x))
    assert machines[0].counts == machines[1].counts
    assert machines[0].engine.cycle == machines[1].engine.cycle


CONV = Conv.from_scale(np.ones((2, 2, 8, 4), np.int8), scale=0.1)


@pytest.mark.parametrize(
    ("cut", "reader", "free"),
    [
        (Slice((1, 2, 0), (4, 3, 16), (1, 1, 1)), MaxPool((2, 3)), True),
        (Slice((1, 0, 0), (3, 3, 16), (2, 2, 1)), MaxPool((2, 3)), True),
        (Slice((0, 0, 8), (6, 6, 8)), CONV, True),  # whole words
        (Slice((0, 0, 3), (6, 6, 8)), CONV, False),  # in two words, where the slice itself has one
        (Slice((0, 0, 0), (5, 6, 8)), Conv(CONV.weights, padding=((0, 1), (0, 0))), False),  # reads its border
        (Slice((0, 1, 0), (6, 2, 16)), Dense(np.ones((192, 3), np.int8)), True),
        (Slice((0, 1, 0), (6, 2, 16)), Concat(0), True),
        (Slice((0, 1, 0), (6, 2, 16)), Reshape((2, 6, 16)), False),
        (Slice((0, 1, 0), (6, 2, 16)), Slice((1, 0, 8), (2, 2, 8)), True),
    ],
)
def test_slices_are_free_where_their_readers_can_read_through_them(cut, reader, free):
    network = Network([POOL, cut, reader, *[POOL] * (not reader.wide)], (6, 6, 16))
    program = compile_network(network, Config(rows=8, columns=8))
    assert (1 not in program.layers) == free


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Slice((0, 0), (1, 1, 1)), r"begin must be three integers, not \(0, 0\)"),
        (lambda: Slice((0, -1, 0), (1, 1, 1)), r"begin must be at least 0 along every axis, not \(0, -1, 0\)"),
        (lambda: Slice((0, 0, 0), (1, 1, 1), (1, 0, 1)), "stride must be at least 1 along every axis"),
        (lambda: Network([Slice((0, 0, 1), (1, 1, 2), (1, 1, 2))], (1, 1, 3)), r"must be inside its input, of shape"),
        (lambda: Add((0, 0), SCALING, SCALING, HALF, signs=(1, 0)), r"signs must be two of 1 and -1, not \(1, 0\)"),
        (lambda: AddConstant([1], 0, SCALING, HALF, sign=0), "sign must be 1 or -1, not 0"),
        (lambda: AddConstant([1 << 31], 0, SCALING, HALF), "constant must be from -2147483648 to 2147483647"),
        (lambda: Network([AddConstant([1, 2], 0, SCALING, HALF)], (1, 1, 3)), "constant must have 3 channels"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(NetworkError, match=message):
        make()
