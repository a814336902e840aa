"""Networks written as TensorFlow Lite files and read again are unchanged."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from support.strategies import int8

from etchnet.host.network.layers import (
    Add,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Linear,
    MaxPool,
    Pad,
    Reshape,
    Scaling,
    Slice,
)
from etchnet.host.network.network import INPUT, Network

pytest.importorskip("tflite", reason="the package tflite is not installed")
from support.model_strategies import tflite_graphs
from support.tflm import run

from etchnet.host.exporters.tflite import to_tflite
from etchnet.host.importers.tflite.importer import parse_tflite

MODELS = os.environ.get("ETCHNET_MODELS")


def again(network):
    return parse_tflite(to_tflite(network)).network


def factors(layer):
    if isinstance(layer, Add):
        return [np.ldexp(float(s.multiplier), s.left - s.right) for s in (layer.first, layer.second, layer.result)]
    return np.ldexp(layer.multiplier.astype(float), layer.shift) if isinstance(layer, Linear) else []


def same_but_for_rounding(first, second):
    """Return whether two networks have the same layers, with factors that agree to the 24 bits of a scale."""
    if (first.sources, first.shapes) != (second.sources, second.shapes):
        return False
    for a, b in zip(first.layers, second.layers, strict=True):
        assert type(a) is type(b)
        assert np.allclose(factors(a), factors(b), rtol=1e-6, atol=0)
        for f in dataclasses.fields(a):
            if f.name not in {"multiplier", "shift", "first", "second", "result"}:
                assert np.array_equal(getattr(a, f.name), getattr(b, f.name)), f.name
    return True


@settings(max_examples=80)
@given(tflite_graphs(operators=5))
def test_graphs_read_written_and_read_again_are_the_same(case):
    network = parse_tflite(case[0]).network
    try:
        data = to_tflite(network)
    except ValueError as error:
        # No single scale gives these bounds of clamps: some come from a scale that saturated them.
        if "clamps to" in str(error):
            return
        raise
    model, x = parse_tflite(data), case[1].reshape(len(case[1]), -1)
    assert same_but_for_rounding(model.network, network)
    expected = model.network.reference(x)
    assert np.array_equal(run(data, x.reshape(-1, *model.inputs[0].shape)).reshape(expected.shape), expected)


@pytest.mark.skipif(MODELS is None, reason="ETCHNET_MODELS does not name a folder of models")
@pytest.mark.parametrize("name", ["resnet8_cifar10", "dscnn_kws", "autoencoder_ad"])
def test_real_models_survive_export_and_import(name):
    network = parse_tflite((Path(MODELS) / f"{name}_int8.tflite").read_bytes()).network
    written, x = again(network), int8(np.random.default_rng(0), (4, network.input_size))
    assert same_but_for_rounding(written, network)
    difference = np.abs(written.reference(x).astype(int) - network.reference(x))
    assert difference.max() <= 1
    assert difference.mean() < 0.05


def weights(*shape):
    return np.random.default_rng(sum(shape)).integers(-127, 128, shape).astype(np.int8)


def linear(kind, *shape, scale=0.01, **options):
    return kind.from_scale(weights(*shape), 5, scale=scale, **options)


def test_every_layer_is_written():
    layers = [
        linear(Conv, 3, 2, 3, 4, padding=((2, 0), (0, 1)), input_zero_point=7, zero_point=-3, low=-3, high=40),
        linear(Depthwise, 3, 3, 4, 2, scale=0.02, padding=((1, 1), (1, 1)), input_zero_point=-3, low=-20, high=20),
        MaxPool((2, 3), (1, 2), ((1, 0), (2, 0))),
        AveragePool((2, 2), (1, 1), ((0, 1), (0, 1))),
        Pad(((0, 1), (2, 0)), 0, (0, 1)),
        Pad(((0, 0), (0, 0)), 9, (1, 0)),
        Concat(1),
        Reshape((5, 3, 10)),
        Add.from_scales((0.05, 0.05), 0.1, zero_points=(0, 0), zero_point=-11),
        linear(Dense, 150, 6, input_zero_point=-11),
        linear(Conv, 1, 1, 6, 3, scale=0.02),
    ]
    shapes = Network(layers[:4], (6, 5, 3)).shapes
    assert shapes[3] == (6, 3, 8)
    network = Network(
        [
            *layers[:6],
            layers[6],
            Reshape((7, 10, 10)),
            Add.from_scales((0.05,) * 2, 0.1, zero_points=(0, 0)),
            Slice((0, 2, 1), (7, 4, 3), (1, 2, 3)),
            linear(Dense, 84, 6),
            layers[10],
        ],
        (6, 5, 3),
        [(INPUT,), (0,), (1,), (2,), (3,), (4,), (5, 5), (6,), (7, 7), (8,), (9,), (10,)],
    )
    x = int8(np.random.default_rng(1), (9, network.input_size))
    data = to_tflite(network)
    written = parse_tflite(data)
    expected = network.reference(x)
    assert np.abs(written.network.reference(x).astype(int) - expected).max() <= 1
    shaped = x.reshape(-1, *written.inputs[0].shape)
    assert np.array_equal(run(data, shaped).reshape(expected.shape), written.network.reference(x))
    assert (
        run(to_tflite(network, batch=3), shaped, batch=3).reshape(expected.shape).tolist()
        == run(data, shaped).reshape(expected.shape).tolist()
    )


def test_additions_set_the_proportions_of_scales():
    add = Add.from_scales((0.3, 0.1), 0.2, zero_points=(4, -5), zero_point=6, low=6)
    network = Network(
        [linear(Depthwise, 1, 1, 3, 1, zero_point=4), linear(Depthwise, 1, 1, 3, 1, zero_point=-5), add],
        (4, 4, 3),
        [(INPUT,), (INPUT,), (0, 1)],
    )
    written = again(network).layers[2]
    for name in ("first", "second", "result"):
        before, after = getattr(add, name), getattr(written, name)
        assert (before.left, before.right) == (after.left, after.right)
        assert abs(before.multiplier - after.multiplier) < 1 << 9
    assert (written.zero_points, written.low) == ((4, -5), 6)


@pytest.mark.parametrize(
    ("layers", "sources", "message"),
    [
        ([Dense(weights(3, 2))], None, "layer 0 has an int32 result: TensorFlow Lite's int8 layers have int8"),
        (
            [linear(Dense, 3, 3, zero_point=1), linear(Dense, 3, 2)],
            None,
            "layer 1 reads zero point 0, but its input has 1",
        ),
        (
            [linear(Dense, 3, 3, zero_point=1), linear(Dense, 3, 3), Concat()],
            [(INPUT,), (INPUT,), (0, 1)],
            "layer 1 has a result of zero point 0, not 1",
        ),
        (
            [linear(Dense, 3, 3, low=-3, high=5)],
            None,
            r"layer 0 clamps to -3..5: TensorFlow Lite has only ReLU, ReLU6 and -1..1",
        ),
        (
            [Add.from_scales((1.0, 0.5), 1.0, zero_points=(0, 0))],
            [(INPUT, INPUT)],
            "layer 0 needs ratios of scales that contradict",
        ),
        (
            [Add((0, 0), Scaling(1 << 30, 8, 0), Scaling(1 << 30, 8, 0), Scaling(1 << 30, 0, 7))],
            [(INPUT, INPUT)],
            "layer 0 must shift its operands left by TensorFlow Lite.s 20 bits, not 8",
        ),
        (
            [AveragePool((1, 2), (1, 1), ((0, 0), (1, 1)))],
            None,
            r"layer 0 pads by \(\(0, 0\), \(1, 1\)\), which is not TensorFlow Lite's SAME",
        ),
    ],
)
def test_errors_name_what_tensorflow_lite_cannot_express(layers, sources, message):
    with pytest.raises(ValueError, match=message):
        to_tflite(Network(layers, (1, 1, 3), sources))
