"""Models of several inputs and outputs on the machine: results equal those of the runtimes, byte for byte."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import int8, randoms

from etchnet.hdl.isa.config import Config
from etchnet.host.driver.driver import Accelerator

CONFIG = Config(rows=4, columns=4, residual_words=256, weight_tiles=4096, activation_words=4096, parameter_tiles=256)


def ours(model, arrays):
    """Return the results of a model on the machine."""
    accelerator = Accelerator(CONFIG if model.network.contract == CONFIG.contract else Config(contract="onnx-float"))
    accelerator.load(model.network)
    return model.finish(accelerator.run(model.prepare(arrays)))


def every_result(data, arrays, outputs):
    """Return all results of TensorFlow Lite Micro, item by item."""
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="it is not installed")
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=1 << 21)
    found = []
    for item in range(len(arrays[0])):
        for index, array in enumerate(arrays):
            interpreter.set_input(array[item : item + 1], index)
        interpreter.invoke()
        found.append([interpreter.get_output(index).copy() for index in range(outputs)])
    return [np.concatenate(results) for results in zip(*found, strict=True)]


@settings(max_examples=8)
@given(randoms(), st.sampled_from(["int8", "uint8", "int16"]), st.sampled_from(["uint8", "int16", "float32"]))
def test_tflite_graphs_of_two_inputs_and_four_outputs(random, first, last):
    """Outputs: the first input's requantisation, a convolution that others read, the sum of both ends, its softmax."""
    tflite = pytest.importorskip("tflite", reason="the package tflite is not installed")
    from etchnet.host.exporters.flatbuffer import Graph
    from etchnet.host.importers.tflite.importer import parse_tflite

    g, shape = Graph(), (1, 3, 4, 2)

    def tensor(name, kind, scale, zero, shape=shape):
        number = getattr(tflite.TensorType, kind.upper())
        return g.tensor(
            name, shape, number, [scale] if kind != "float32" else None, [zero] if kind != "float32" else None
        )

    a = tensor("a", first, 0.04, 0 if first == "int16" else 5)
    b = g.activation("b", shape, 0.05, -3)
    inner = a
    if first != "int8":
        inner = g.operator("QUANTIZE", "QuantizeOptions", {}, [a], g.activation("inner", shape, 0.03, 7))
    kernel = int8(random, (2, 1, 1, 2))
    conv = g.conv_2d(inner, kernel, [0.02] * 2, None, g.activation("conv", shape, 0.06, 4))
    total = g.add(conv, b, g.activation("sum", shape, 0.09, -1))
    flat = g.reshape(total, (1, 24))
    shares = g.activation("shares", (1, 24), 1 / 256, -128)
    g.operator("SOFTMAX", "SoftmaxOptions", {"Beta": 1.0}, [flat], shares)
    other = tensor("other", last, 0.06, 4 if last == "uint8" else 0)
    name = "DEQUANTIZE" if last == "float32" else "QUANTIZE"
    g.operator(name, "QuantizeOptions" if name == "QUANTIZE" else "", {}, [conv], other)
    data = g.write([a, b], [inner, conv, shares, other])
    limits = np.iinfo(first)
    arrays = [random.integers(limits.min, limits.max, (3, *shape[1:]), endpoint=True).astype(first)]
    arrays.append(int8(random, (3, *shape[1:])))
    model = parse_tflite(data)
    assert [port.dtype for port in model.outputs] == ["int8", "int8", "int8", last]
    for want, have in zip(every_result(data, arrays, 4), ours(model, arrays), strict=True):
        assert (have.dtype, have.shape) == (want.dtype, want.shape)
        assert np.array_equal(have, want)


@settings(max_examples=6)
@given(randoms(), st.booleans())
def test_onnx_graphs_of_two_inputs_and_two_outputs(random, twice):
    pytest.importorskip("onnx", reason="onnx is not installed")
    from support.onnx_runtime import parse_onnx, theirs
    from support.onnx_strategies import Writer

    w = Writer("QDQ")
    tensors = [w.input((2, 4, 5), 0.05, 3)]
    if not twice:
        second = w.node("QuantizeLinear", ["y", *w.pair(0.04, -9)])
        tensors.append(replace(tensors[0], name=second, scale=np.float32(0.04), zero=-9))
    made = [
        w.conv(tensor, int8(random, (3, 2, 2, 2)), [0.01, 0.02, 0.015], None, (0.1, -5), (3, 3, 4))
        for tensor in (tensors[0], tensors[-1])
    ]
    extra = [] if twice else [("y", (2, 4, 5))]
    other = w.read(made[1])
    data = w.write(made[0], inputs=extra, outputs=[(other, (3, 3, 4))])
    arrays = {name: random.normal(0, 4, (3, 2, 4, 5)).astype(np.float32) for name in ["x", *(n for n, _ in extra)]}
    model = parse_onnx(data)
    assert len(model.inputs) == len(arrays)
    for want, have in zip(theirs(data, arrays), ours(model, arrays), strict=True):
        assert (have.dtype, have.shape) == (want.dtype, want.shape)
        assert have.tobytes() == want.tobytes()
