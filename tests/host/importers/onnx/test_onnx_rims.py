"""What ONNX Runtime leaves in float32: at the ends it runs on the host, in between it must be a function of values."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
from support.onnx_runtime import agree, same_formulas
from support.onnx_strategies import Tensor, begin, near, random_bytes, random_conv, random_out

from etchnet.host.importers.onnx.importer import parse_onnx
from etchnet.host.network.layers import Conv, Depthwise

pytestmark = same_formulas


def test_functions_of_single_values_that_stay_in_float32():
    """A function per channel, of the same tensor twice: ONNX Runtime fills the tables, and a layer equals them."""
    random = np.random.default_rng(0)
    writer, x = begin("QDQ", random, (4, 8, 8))
    x = Tensor(x.name, x.shape, np.float32(0.0731), 5)
    channel = writer.constant(np.float32([0.5, 1, 2, -1.5]).reshape(4, 1, 1))
    real = writer.node("Mul", [writer.read(x), channel])
    moved = writer.node("Sub", [real, writer.constant(np.float32(0.25))])
    y = writer.give(writer.node("Add", [moved, writer.node("Mul", [real, channel])]), x.shape, (0.31, 3))
    data = writer.write(random_conv(writer, random, y))
    assert [type(layer) for layer in parse_onnx(data).network.layers] == [Depthwise, Conv]
    values = np.arange(-128, 128).astype(np.int8).reshape(4, 8, 8)
    agree(data, np.stack([np.roll(values, n, axis=0) for n in range(4)]))


@pytest.mark.parametrize("kind", ["Sigmoid", "LeakyRelu", "Tanh", "HardSwish"])
def test_functions_that_are_no_straight_lines_come_last(kind):
    random = np.random.default_rng(2)
    writer, x = begin("QDQ", random, (4, 6, 6))
    y = random_conv(writer, random, x)
    y = writer.give(writer.node(kind, [writer.read(y)]), y.shape, (1 / 200, -50))
    agree(writer.write(y, floats=True), random_bytes(random, (3, 4, 6, 6)))


def test_several_inputs_and_outputs_and_float_ends():
    """Every end has another form: scaled floats, int8, sums as float32, a softmax of them, a tensor that goes on."""
    random = np.random.default_rng(1)
    writer, x = begin("QDQ", random, (20,), opset=17)
    scaled = writer.node("Div", ["real", writer.constant(np.float32(255))])
    real = writer.node("Sub", [scaled, writer.constant(np.full((1, 20), 0.5, np.float32))])
    both = writer.add(x, writer.give(real, (20,), (1 / 128, 0)), near(random, x.scale))
    values, scale = random_bytes(random, (20, 6)), np.float32(0.01)
    parts = [*writer.weights(values, scale, 1), *writer.bias(np.arange(6), both.scale * scale)]
    logits = writer.node("Gemm", [writer.read(both), *parts])
    softmax = writer.node("Softmax", [logits], axis=-1)
    last = writer.mat_mul(both, values, scale, random_out(random, scale * both.scale, 20))
    data = writer.write(last, inputs=[("real", (20,))], outputs=[(logits, (6,)), (softmax, (6,))])
    floats = random.uniform(0, 255, (7, 20)).astype(np.float32)
    agree(data, {"x": random_bytes(random, (7, 20)), "real": floats})
