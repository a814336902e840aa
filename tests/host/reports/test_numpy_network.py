"""The numpy network computes the same results as the reference, up to rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from support.model_strategies import tflite_graphs
from support.strategies import int8

from etchnet.host.network.layers import (
    Add,
    AddConstant,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Depthwise,
    MaxPool,
    Pad,
    Reshape,
    Scaling,
    Slice,
)
from etchnet.host.network.network import INPUT, Network
from etchnet.host.reports.numpy_network import NumpyNetwork
from etchnet.sim.engines.link import Disagreement

pytest.importorskip("tflite", reason="the package tflite is not installed")


def every_layer(random):
    """Make a network with every kind of layer, strides, borders, dilation, a depth multiplier and branches."""
    around = ((1, 2), (0, 1))
    layers = [
        Conv.from_scale(
            int8(random, (3, 2, 2, 6)),
            random.integers(-900, 900, 6),
            scale=0.01,
            input_zero_point=9,
            zero_point=-7,
            padding=around,
            stride=(2, 1),
        ),
        Depthwise.from_scale(
            int8(random, (2, 3, 6, 2)),
            50,
            scale=np.linspace(0.01, 0.03, 12),
            dilation=(2, 1),
            input_zero_point=-7,
            zero_point=3,
            low=3,
            padding=((1, 1), (1, 1)),
        ),
        Conv.from_scale(int8(random, (1, 1, 12, 12)), scale=0.01, input_zero_point=3, zero_point=-1),
        Add.from_scales((0.5, 0.3), 0.6, zero_points=(3, -1), zero_point=4, low=-100),
        MaxPool((2, 2), (1, 1), ((0, 1), (1, 0)), high=90),
        AveragePool((3, 2), (2, 1), ((1, 1), (0, 1))),
        Pad(((1, 0), (0, 0)), value=5, channels=(0, 4)),
        Pad(((0, 1), (0, 0)), value=-5, channels=(4, 0)),
        Concat(2),
        AddConstant(
            random.integers(-(1 << 20), 1 << 20, 32), 4, Scaling.of(0.5, left=20), Scaling.of(2.0**-19), 4, sign=-1
        ),
        Add.from_scales((0.5, 0.3), 0.6, zero_points=(4, 4), zero_point=4, signs=(1, -1)),
        Slice((1, 0, 0), (2, 6, 32), (2, 1, 1)),
        Reshape((1, 4, 96)),
        Dense.from_scale(int8(random, (384, 5)), -30, scale=0.002, input_zero_point=4),
    ]
    sources = [[INPUT], [0], [1], [1, 2], [3], [4], [5], [5], [6, 7], [8], [8, 9], [10], [11], [12]]
    return Network(layers, (8, 6, 2), sources)


def test_every_layer_is_within_one_of_the_reference():
    random = np.random.default_rng(0)
    network = every_layer(random)
    x = int8(random, (5, network.input_size))
    on_cpu = NumpyNetwork(network)
    on_cpu.check(network, x)
    difference = np.abs(on_cpu(x).astype(int) - network.reference(x))
    assert difference.mean() < 0.5
    assert difference.max() <= 4


@settings(max_examples=60, deadline=None)
@given(tflite_graphs())
def test_random_networks_are_within_one_of_the_reference(graph):
    from etchnet.host.importers.tflite.importer import parse_tflite

    data, x = graph
    model = parse_tflite(data)
    NumpyNetwork(model.network).check(model.network, model.prepare(x))


def test_int32_results_are_integers():
    w = int8(np.random.default_rng(1), (30, 4))
    x = int8(np.random.default_rng(2), (3, 30))
    got = NumpyNetwork(Network([Dense(w, 7, input_zero_point=-3)]))(x)
    assert got.dtype == np.int32
    assert np.array_equal(got, (x.astype(int) + 3) @ w.astype(int) + 7)


def test_a_layer_that_is_wrong_is_named():
    random = np.random.default_rng(3)
    first, second = (Dense.from_scale(int8(random, (8, 8)), scale=0.01) for _ in range(2))
    on_cpu = NumpyNetwork(Network([first, second]))
    wrong = Network([first, Dense.from_scale(second.weights, 999, scale=0.01)])
    with pytest.raises(Disagreement, match="in layer 1 by "):
        on_cpu.check(wrong, int8(random, (4, 8)))
