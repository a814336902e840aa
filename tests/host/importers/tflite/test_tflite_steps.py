"""Last operators that the host computes, dead channels, and the axis of the batch, against TensorFlow Lite Micro."""

import numpy as np
import pytest
from support.strategies import int8

from etchnet.host.network.model import ModelError

pytest.importorskip("tflite", reason="the package tflite is not installed")
import tflite
from support.tflm import run

from etchnet.host.exporters.flatbuffer import Graph
from etchnet.host.importers.tflite.importer import parse_tflite

FLOAT32 = tflite.TensorType.FLOAT32


def ours(data, x):
    model = parse_tflite(data)
    return model.finish(model.network.reference(model.prepare(x)))


def scores(g, random, channels=10, scale=0.2):
    """Add an input of 12 values, and a fully connected layer that reads it; returns both tensors."""
    first = g.activation("input", (1, 12), 0.1, 3)
    result = g.activation("scores", (1, channels), scale, -5)
    g.fully_connected(first, int8(random, (channels, 12)), [0.01], None, result)
    return first, result


CURVES = [("LOGISTIC", "", 1 / 256, -128), ("TANH", "", 1 / 128, 0), ("LOG_SOFTMAX", "LogSoftmaxOptions", 1 / 16, 127)]


@pytest.mark.parametrize("dequantised", [False, True])
@pytest.mark.parametrize(("kind", "options", "scale", "zero"), CURVES)
def test_curves_as_the_last_operators(kind, options, scale, zero, dequantised):
    random, g = np.random.default_rng(0), Graph()
    first, at = scores(g, random)
    at = g.operator(kind, options, {}, [at], g.activation("curve", (1, 10), scale, zero))
    if dequantised:
        at = g.operator("DEQUANTIZE", "", {}, [at], g.tensor("real", (1, 10), FLOAT32))
    data, x = g.write(first, at), int8(random, (40, 12))
    got, expected = ours(data, x), run(data, x)
    assert got.dtype == expected.dtype
    assert np.array_equal(got, expected)


def test_a_log_softmax_of_dequantised_scores():
    random, g = np.random.default_rng(0), Graph()
    first, at = scores(g, random)
    real = g.operator("DEQUANTIZE", "", {}, [at], g.tensor("real", (1, 10), FLOAT32))
    result = g.tensor("result", (1, 10), FLOAT32)
    data = g.write(first, g.operator("LOG_SOFTMAX", "LogSoftmaxOptions", {}, [real], result))
    x = int8(random, (40, 12))
    assert ours(data, x).tobytes() == run(data, x).tobytes()


def test_several_branches_may_end_on_the_host():
    random, g = np.random.default_rng(0), Graph()
    first, at = scores(g, random)
    curves = [g.operator(k, o, {}, [at], g.activation(k, (1, 10), s, z)) for k, o, s, z in CURVES]
    curves.append(g.operator("DEQUANTIZE", "", {}, [at], g.tensor("real", (1, 10), FLOAT32)))
    x = int8(random, (40, 12))
    got = ours(g.write(first, curves), x)
    assert [g.tensors[curve].name for curve in curves] == [p.name for p in parse_tflite(g.write(first, curves)).outputs]
    for curve, values in zip(curves, got, strict=True):
        assert values.tobytes() == run(g.write(first, curve), x).tobytes()


@pytest.mark.parametrize(
    ("kind", "options", "scale", "result", "message"),
    [
        ("LOGISTIC", "", 0.2, (1 / 256, 0), r"LOGISTIC \(operator 1\): the result must have zero point -128, not 0"),
        ("LOGISTIC", "", 1e-12, (1 / 256, -128), r"the scale must be above 3.7\S*e-09 and below 1.07\S*e\+09, not"),
        ("TANH", "", 1e12, (1 / 128, 0), r"TANH \(operator 1\): the scale must be above"),
        ("LOG_SOFTMAX", "LogSoftmaxOptions", 0.2, (1 / 16, 0), "must have scale 1/16 and zero point 127, not"),
    ],
)
def test_curves_that_the_runtime_does_not_have(kind, options, scale, result, message):
    g = Graph()
    first, at = scores(g, np.random.default_rng(0), scale=scale)
    data = g.write(first, g.operator(kind, options, {}, [at], g.activation("curve", (1, 10), *result)))
    with pytest.raises(ModelError, match=message):
        parse_tflite(data)


def test_a_curve_in_the_middle_is_refused():
    g = Graph()
    first, at = scores(g, np.random.default_rng(0))
    at = g.operator("LOGISTIC", "", {}, [at], g.activation("curve", (1, 10), 1 / 256, -128))
    data = g.write(first, g.operator("RELU", "", {}, [at], g.like(at)))
    with pytest.raises(ModelError, match=r"RELU .* comes after an operator that runs on the host"):
        parse_tflite(data)


@pytest.mark.parametrize("dead", [0.0, 1e-39, 1e-30])
def test_channels_with_a_scale_of_nearly_zero(dead):
    random, g = np.random.default_rng(0), Graph()
    first = g.activation("input", (1, 5, 4, 3), 0.1, 3)
    scales = np.array([0.01, dead, 0.02], np.float32)
    bias = random.integers(-500, 500, 3).astype(np.int32)
    result = g.activation("result", (1, 5, 4, 3), 0.3, -5)
    data = g.write(first, g.conv_2d(first, int8(random, (3, 3, 3, 3)), scales, bias, result, same=True))
    x = int8(random, (4, 5, 4, 3))
    assert np.array_equal(ours(data, x), run(data, x))


@pytest.mark.parametrize("shape", [(6,), (3, 2), (1, 6), (1, 1, 1, 1, 6), (1, 3, 1, 2, 1)])
def test_inputs_of_any_rank(shape):
    """A first axis that is no batch, as the RESHAPE shows, is one of the item's axes."""
    random, g = np.random.default_rng(0), Graph()
    first = g.activation("input", shape, 0.1, 3)
    moved = g.operator("QUANTIZE", "", {}, [first], g.activation("moved", shape, 0.2, -7))
    flat = g.reshape(moved, (1, 6))
    result = g.activation("result", (1, 4), 0.7, 2)
    data = g.write(first, g.fully_connected(flat, int8(random, (4, 6)), [0.1], None, result))
    x = int8(random, (4, 6))
    model = parse_tflite(data)
    expected = np.concatenate([run(data, item.reshape(shape), batch=shape[0]) for item in x])
    assert np.array_equal(model.finish(model.network.reference(model.prepare(x))), expected)


def unpacked(g, x):
    return g.operator("UNPACK", "UnpackOptions", {"Num": 1, "Axis": 0}, [x], g.like(x, (5, 6)))


def shrunk(g, x):
    ends = [g.constant(np.array(v, np.int32)) for v in ([0, 1, 0], [1, 4, 6], [1, 1, 2])]
    return g.operator("STRIDED_SLICE", "StridedSliceOptions", {"ShrinkAxisMask": 1}, [x, *ends], g.like(x, (3, 3)))


def packed(g, x):
    return g.operator("PACK", "PackOptions", {"ValuesCount": 2, "Axis": 0}, [x, x], g.like(x, (2, 1, 5, 6)))


def transposed(g, x):
    axes = g.constant(np.array([1, 0, 2], np.int32))
    return g.operator("TRANSPOSE", "TransposeOptions", {}, [x, axes], g.like(x, (5, 1, 6)))


def dense(g, x):
    weights = int8(np.random.default_rng(1), (4, 6))
    return g.fully_connected(g.reshape(x, (5, 6)), weights, [0.02], None, g.activation("dense", (5, 4), 1.0, 2))


@pytest.mark.parametrize(
    "build",
    [
        unpacked,
        shrunk,
        packed,
        transposed,
        dense,
        lambda g, x: g.concatenation([x, x], 0, g.like(x, (2, 5, 6))),
        lambda g, x: g.pad(x, [(0, 1), (1, 0), (0, 0)], g.like(x, (2, 6, 6))),
        lambda g, x: g.mean(x, [0], g.like(x, (5, 6))),
        lambda g, x: g.mean(x, [0, 1, 2], g.like(x, ())),
    ],
)
def test_a_batch_of_one_is_an_axis_like_others(build):
    random, g = np.random.default_rng(0), Graph()
    first = g.activation("input", (1, 5, 6), 0.1, 3)
    moved = g.operator("QUANTIZE", "", {}, [first], g.activation("moved", (1, 5, 6), 0.2, -4))
    result = build(g, moved)
    shape = g.tensors[result].shape
    data = g.write(first, g.operator("QUANTIZE", "", {}, [result], g.activation("last", shape, 0.15, 9)))
    x = int8(random, (3, 5, 6))
    assert np.array_equal(ours(data, x).ravel(), run(data, x).ravel())
