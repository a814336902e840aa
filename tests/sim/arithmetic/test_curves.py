"""Logistic, tanh and log-softmax against TensorFlow Lite Micro, byte for byte."""

import numpy as np
import pytest
from support.strategies import int8

from etchnet.sim.arithmetic.curves import (
    CURVE_SCALES,
    LOG_SOFTMAX_SCALES,
    float_log_softmax,
    int8_logistic,
    int8_tanh,
    log_softmax,
)

pytest.importorskip("tflite", reason="the package tflite is not installed")
import tflite
from support.tflm import run

from etchnet.host.exporters.flatbuffer import Graph

EVERY = np.arange(-128, 128).astype(np.int8)[None]


def file(kind, shape, before, after, options=""):
    """Return a file with one operator; `before` and `after` are scale and zero point, or None for float32."""
    g = Graph()
    ends = [
        g.tensor(name, (1, *shape), tflite.TensorType.FLOAT32) if q is None else g.activation(name, (1, *shape), *q)
        for name, q in (("input", before), ("result", after))
    ]
    return g.write(ends[0], g.operator(kind, options, {}, ends[:1], ends[1]))


def scales(limits, count):
    """Return random scales over the whole range, and its ends."""
    random = np.random.default_rng(0)
    ends = [float(np.nextafter(np.float32(a), np.float32(b))) for a, b in (limits, limits[::-1])]
    return [*ends, 1.0, *np.exp(random.uniform(*np.log(limits), count)).astype(np.float32).astype(float)]


@pytest.mark.parametrize(
    ("kind", "function", "after"), [("LOGISTIC", int8_logistic, (1 / 256, -128)), ("TANH", int8_tanh, (1 / 128, 0))]
)
def test_every_value_of_a_curve_equals_the_runtime(kind, function, after):
    random = np.random.default_rng(1)
    for scale in [*scales(CURVE_SCALES, 60), *random.uniform(0.001, 0.3, 60).astype(np.float32).astype(float)]:
        zero = int(random.integers(-128, 128))
        expected = run(file(kind, (256,), (scale, zero), after), EVERY)
        assert np.array_equal(function(EVERY, scale=scale, zero_point=zero), expected), (scale, zero)


def test_log_softmax_equals_the_runtime():
    random = np.random.default_rng(2)
    for scale in [*scales(LOG_SOFTMAX_SCALES, 60), *random.uniform(0.001, 0.3, 60).astype(np.float32).astype(float)]:
        shape = (int(random.integers(1, 4)), int(random.choice([1, 2, 10, 200])))
        x = int8(random, (6, *shape))
        x[3:] = x[3:] // 40 + 100  # neighbours
        expected = run(file("LOG_SOFTMAX", shape, (scale, 3), (1 / 16, 127), "LogSoftmaxOptions"), x)
        assert np.array_equal(log_softmax(x, scale=scale), expected), scale


def test_a_log_softmax_of_floats_equals_the_runtime_to_the_bit():
    random = np.random.default_rng(3)
    for spread in (0.01, 1, 30, 1e4):
        x = (random.normal(size=(20, 2, 50)) * spread).astype(np.float32)
        expected = run(file("LOG_SOFTMAX", (2, 50), None, None, "LogSoftmaxOptions"), x)
        assert float_log_softmax(x).tobytes() == expected.tobytes()


@pytest.mark.parametrize("function", [int8_logistic, int8_tanh, log_softmax])
@pytest.mark.parametrize("scale", [0.0, 1e-10, 2.0**30, float("inf"), float("nan")])
def test_scales_out_of_range_are_refused(function, scale):
    options = {} if function is log_softmax else {"zero_point": 0}
    with pytest.raises(ValueError, match=r"the scale must be above .*, not"):
        function(EVERY, scale=scale, **options)
