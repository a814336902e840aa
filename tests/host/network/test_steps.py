"""The host's changes of type equal TensorFlow Lite Micro's QUANTIZE and DEQUANTIZE, on all values."""

import numpy as np
import pytest

from etchnet.host.network.model import Quantisation
from etchnet.host.network.steps import Dequantise, Quantise, Requantise

pytest.importorskip("tflite", reason="the package tflite is not installed")
import tflite

from etchnet.host.exporters.flatbuffer import Graph
from etchnet.host.importers.tflite.importer import parse_tflite

TYPES = {"int8": tflite.TensorType.INT8, "uint8": tflite.TensorType.UINT8, "int16": tflite.TensorType.INT16}
INT8, UINT8, INT16 = (
    Quantisation(0.03, 3),
    Quantisation(0.03, 131, dtype="uint8"),
    Quantisation(0.0001, 0, dtype="int16"),
)
PAIRS = [
    (UINT8, INT8),
    (Quantisation(0.05, 0, dtype="uint8"), Quantisation(0.02, -128)),
    (Quantisation(0.011, 200, dtype="uint8"), Quantisation(0.013, 17)),
    (INT8, UINT8),
    (Quantisation(0.05, -128), Quantisation(0.0213, 77, dtype="uint8")),
    (INT16, INT8),
    (Quantisation(0.00392, 0, dtype="int16"), Quantisation(0.5, -100)),
    (Quantisation(2.0, -5, dtype="int16"), Quantisation(0.3, 1)),
    (INT8, INT16),
    (Quantisation(0.05, 9), Quantisation(0.00123, 0, dtype="int16")),
]


def file(name, count, source, target):
    """Return a file with one operator, and its input tensor's values: all that it can hold."""
    g = Graph()

    def tensor(label, q):
        if q is None:
            return g.tensor(label, (1, count), tflite.TensorType.FLOAT32)
        return g.tensor(label, (1, count), TYPES[q.dtype], [q.scale], [q.zero_point])

    ends = [tensor(*end) for end in (("x", source), ("y", target))]
    g.operator(name, f"{name.capitalize()}Options" if name == "QUANTIZE" else "", {}, ends[:1], ends[1])
    return g.write(*ends)


def every(q):
    low, high = q.limits
    return np.arange(low, high + 1).astype(q.dtype)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_requantisations_equal_those_of_the_runtime(source, target):
    from support.tflm import run

    values = every(source)
    wanted = run(file("QUANTIZE", len(values), source, target), values[None])[0]
    step = Requantise(source, target)
    got = step(values)
    assert got.dtype == wanted.dtype == step.dtype
    assert np.array_equal(got, wanted)
    assert np.array_equal(step(step.inverse(got)), got)


@pytest.mark.parametrize("source", [INT8, UINT8, INT16, Quantisation(1 / 3, -7, dtype="int16")])
def test_dequantisations_equal_those_of_the_runtime(source):
    from support.tflm import run

    values = every(source)
    wanted = run(file("DEQUANTIZE", len(values), source, None), values[None])[0]
    got = Dequantise(source)(values)
    assert got.dtype == wanted.dtype == np.float32
    assert np.array_equal(got, wanted)


def test_a_quantisation_undoes_its_inverse():
    for q in (INT8, UINT8, INT16):
        assert np.array_equal(Quantise(q)(Quantise(q).inverse(every(q))), every(q))


def test_a_requantisation_that_leaves_int32_is_refused():
    with pytest.raises(ValueError, match=r"from scale 1000 to 0.001 shifts int16 values out of int32"):
        Requantise(Quantisation(1e3, 0, dtype="int16"), Quantisation(1e-3, 0))


@pytest.mark.parametrize(
    ("first", "last"), [(UINT8, UINT8), (INT16, INT8), (INT8, INT16), (UINT8, None), (None, UINT8)]
)
def test_models_with_other_types_at_their_ends_equal_the_runtime(first, last):
    """A convolution between QUANTIZE operators; a float end is DEQUANTIZE or a QUANTIZE of float32."""
    from support.tflm import run

    random, g = np.random.default_rng(1), Graph()
    shape = (1, 5, 4, 3)
    x = g.tensor("x", shape, TYPES[first.dtype] if first else tflite.TensorType.FLOAT32)
    if first:
        g.tensors[x].scales, g.tensors[x].zero_points = [first.scale], [first.zero_point]
    inner = g.operator("QUANTIZE", "QuantizeOptions", {}, [x], g.activation("inner", shape, 0.03, 3))
    weights = random.integers(-128, 128, (6, 2, 2, 3)).astype(np.int8)
    conv = g.conv_2d(inner, weights, [0.01] * 6, None, g.activation("conv", (1, 4, 3, 6), 0.05, -9))
    y = g.tensor("y", (1, 4, 3, 6), TYPES[last.dtype] if last else tflite.TensorType.FLOAT32)
    if last:
        g.tensors[y].scales, g.tensors[y].zero_points = [last.scale], [last.zero_point]
    g.operator(*(("QUANTIZE", "QuantizeOptions") if last else ("DEQUANTIZE", "")), {}, [conv], y)
    data = g.write(x, y)
    values = random.normal(0, 2, (3, *shape[1:])).astype(np.float32)
    if first:
        values = random.integers(*first.limits, (3, *shape[1:]), endpoint=True).astype(first.dtype)
    model = parse_tflite(data)
    got = model.finish(model.network.reference(model.prepare(values)))
    assert (model.inputs[0].dtype, model.outputs[0].dtype) == (values.dtype, got.dtype)
    assert np.array_equal(got, run(data, values))
    prepared = model.prepare(values)
    assert np.array_equal(model.prepare(model.restore(prepared)), prepared)
