"""Networks written as ONNX files give their results in ONNX Runtime, up to rounding."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
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

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("tflite", reason="the package tflite is not installed")
from support.model_strategies import tflite_graphs

from etchnet.host.exporters.onnx import to_onnx
from etchnet.host.importers.tflite.importer import parse_tflite


def run(network, x):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(to_onnx(network), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def weights(*shape):
    return np.random.default_rng(sum(shape)).integers(-127, 128, shape).astype(np.int8)


def linear(kind, *shape, scale=0.01, **options):
    return kind.from_scale(weights(*shape), 5, scale=scale, **options)


LAYERS = {
    "conv": linear(Conv, 3, 2, 4, 5, padding=((2, 0), (0, 1)), stride=(2, 1), input_zero_point=7, low=-3, high=40),
    "dilated": linear(Conv, 3, 2, 4, 5, dilation=(2, 1), zero_point=9),
    "depthwise": linear(Depthwise, 3, 3, 4, 2, scale=0.02, padding=((1, 1), (1, 1)), input_zero_point=-3),
    "max": MaxPool((2, 3), (1, 2), ((1, 0), (2, 0))),
    "average": AveragePool((2, 2), (1, 1), ((0, 1), (0, 1))),
    "pad": Pad(((0, 1), (2, 0)), -5, (0, 1)),
    "slice": Slice((1, 0, 1), (2, 3, 2), (2, 2, 1)),
    "reshape": Reshape((5, 2, 12)),
    "dense": linear(Dense, 120, 6, input_zero_point=-11, low=0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_is_written(name):
    """A convolution after the layer shows that it leaves its result in the right order."""
    layer = LAYERS[name]
    first = Network([layer], (6, 5, 4))
    channels = first.output_shape[2]
    after = linear(Conv, 1, 1, channels, 3, scale=0.05, input_zero_point=getattr(layer, "zero_point", 0))
    x = int8(np.random.default_rng(4), (7, first.input_size))
    for network in (first, Network([layer, after], (6, 5, 4))):
        expected = network.reference(x).astype(int)
        found = run(network, x)
        assert found.dtype == np.int8
        assert np.abs(found - expected).max() <= (1 if network is first else 8)


def test_branches_are_joined():
    network = Network(
        [
            linear(Conv, 1, 1, 4, 4, zero_point=3),
            linear(Conv, 3, 3, 4, 4, padding=((1, 1), (1, 1)), zero_point=3),
            Add.from_scales((0.05, 0.05), 0.1, zero_points=(3, 3), zero_point=-11, low=-11),
            Concat(2),
        ],
        (5, 6, 4),
        [[INPUT], [INPUT], [0, 1], [2, 2]],
    )
    x = int8(np.random.default_rng(5), (3, network.input_size))
    assert np.abs(run(network, x) - network.reference(x).astype(int)).max() <= 2


@settings(max_examples=25)
@given(tflite_graphs(operators=5))
def test_graphs_give_nearly_the_same_results(case):
    network = parse_tflite(case[0]).network
    x = case[1].reshape(len(case[1]), -1)
    off = np.abs(run(network, x) - network.reference(x).astype(int))
    # A difference of one grows in the layers after it.
    assert off.mean() <= 1.5


SUBTRACTION = dataclasses.replace(Add.from_scales((0.1, 0.1), 0.1, zero_points=(0, 0)), signs=(1, -1))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Network([Dense(np.eye(4, dtype=np.int8))]), "layer 0 has an int32 result; only int8 results are written"),
        (
            Network([AddConstant(np.zeros(4, int), 0, Scaling(1 << 30, 0, 0), Scaling(1 << 30, 0, 0))], (1, 1, 4)),
            "layer 0, AddConstant, has no int8 operator in ONNX Runtime",
        ),
        (
            Network([SUBTRACTION], (1, 1, 4), [[INPUT, INPUT]]),
            "layer 0 subtracts, which is not written; only additions are",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(network, message):
    with pytest.raises(ValueError, match=message):
        to_onnx(network)
