"""Operators left in float32 by ONNX Runtime: host steps at the ends, functions of single values in between."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
import onnx
from onnx import numpy_helper
from support.onnx_runtime import agree, ours, same_formulas, theirs
from support.onnx_strategies import Tensor, begin, near, random_bytes, random_conv, random_model, random_out

from etchnet.host.importers.onnx.importer import parse_onnx
from etchnet.host.importers.pictures import pixel_range
from etchnet.host.network.layers import Add, Conv, Depthwise

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


@pytest.mark.parametrize("sizes", [[4, 60], [4, -1], [-1, 60], [0, 60], [4, 6, 10]])
def test_layers_with_a_fixed_batch(sizes):
    """The first dimension of a shape is that of all images."""
    random = np.random.default_rng(9)
    writer, x = begin("QDQ", random, (3, 4, 5), batch=4)
    inner = (6, 10) if len(sizes) == 3 else (60,)
    y = writer.same("Reshape", x, inner, writer.constant(np.array(sizes)))
    data = writer.write(writer.mat_mul(y, random_bytes(random, (inner[-1], 7)), 0.01, (0.2, 3)))
    if len(inner) == 2:
        model = onnx.load_from_string(data)
        model.graph.output[0].type.tensor_type.ClearField("shape")
        data = model.SerializeToString()
    agree(data, random_bytes(random, (4, *x.shape)))
    assert not parse_onnx(data).outputs[0].steps


@pytest.mark.parametrize("images", [4, 5, 7])
def test_operators_on_the_host_with_a_fixed_batch(images):
    """They see whole batches: the last image is repeated."""
    random = np.random.default_rng(9)
    writer, x = begin("QDQ", random, (3, 4, 4), batch=4)
    y = random_conv(writer, random, x)
    size = int(np.prod(y.shape))
    real = writer.node("Exp", [writer.node("Tanh", [writer.read(y)])])
    last = writer.node("Softmax", [writer.node("Reshape", [real, writer.constant(np.array([4, size]))])], axis=-1)
    data, inputs = writer.write(y, outputs=[(last, (size,))]), random_bytes(random, (8, 3, 4, 4))
    expected = np.concatenate([theirs(data, inputs[:4])[1], theirs(data, inputs[4:])[1]])
    assert np.array_equal(ours(data, inputs[:images])[1], expected[:images])


@pytest.mark.parametrize("kind", ["conv", "depthwise", "rows", "gemm"])
def test_weights_with_a_zero_point(kind):
    """Differences of int8 are from -255 to 255: the layer reads its input twice."""
    random = np.random.default_rng(3)
    writer, x = begin("QLinear", random, (4, 6, 5))
    if kind in ("rows", "gemm"):
        x = writer.same("Flatten", x, (120,)) if kind == "gemm" else x
        values = random_bytes(random, (x.shape[-1], 7))
        data = writer.write(writer.mat_mul(x, values, 0.01, random_out(random, 0.01 * x.scale, len(values))))
    else:
        values = random_bytes(random, (8, 4 if kind == "conv" else 1, 3, 3))
        out = random_out(random, 0.01 * x.scale, values[0].size)
        group = 1 if kind == "conv" else 4
        data = writer.write(writer.conv(x, values, 0.01, np.arange(8), out, (8, 4, 3), group=group))
    model = onnx.load_from_string(data)
    zero = next(node for node in model.graph.node if "QLinear" in node.op_type).input[5]
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == zero)
    zeros = random_bytes(random, 7) if kind in ("rows", "gemm") else np.int8(-101)
    tensor.CopyFrom(numpy_helper.from_array(zeros, zero))
    agree(model.SerializeToString(), random_bytes(random, (3, 4, 6, 5)))


def test_operators_before_the_first_layer_keep_their_order():
    """A border, a pool and a change of layout of floats commute with the quantisation after them."""
    random = np.random.default_rng(4)
    writer, _ = begin("QDQ", random, (6, 7, 4))
    pads = writer.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1])), writer.constant(np.float32(0.5))
    pooled = writer.node("MaxPool", [writer.node("Pad", ["real", *pads])], kernel_shape=[2, 3])
    turned = writer.node(
        "Clip", [writer.node("Transpose", [pooled], perm=[0, 1, 3, 2]), writer.constant(np.float32(-1))]
    )
    y = random_conv(writer, random, writer.give(turned, (4, 8, 6), (0.02, 7)))
    data = writer.write(y, inputs=[("real", (4, 6, 7))])
    model = onnx.load_from_string(data)
    del model.graph.input[0]
    floats = random.normal(size=(3, 4, 6, 7)).astype(np.float32)
    agree(model.SerializeToString(), {"real": floats})


@pytest.mark.parametrize("perm", [[0, 1, 3, 2], [0, 2, 1, 3], [0, 3, 2, 1]])
def test_transpositions_that_move_values_are_layers(perm):
    random = np.random.default_rng(5)
    writer, x = begin("QDQ", random, (3, 5, 6))
    y = random_conv(writer, random, x, channels=4, keep=True)
    shape = [(4, 5, 6)[axis - 1] for axis in perm[1:]]
    y = writer.same("Transpose", y, shape, perm=perm)
    parts = []
    for begins in (0, 1):
        bounds = [writer.constant(np.array([n])) for n in (begins, begins + 4, 3, 2)]
        parts.append(writer.same("Slice", y, (shape[0], shape[1], 2), *bounds))
    y = writer.add(*parts, near(random, 2 * y.scale))
    agree(writer.write(random_conv(writer, random, y)), random_bytes(random, (3, 3, 5, 6)))


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
    model = parse_onnx(data)
    assert (model.inputs[0].quantisation.scale, model.inputs[0].quantisation.zero_point) == (x.scale, x.zero)
    real = model.inputs[1].quantisation  # (value / 255 - 1 / 2) * 128
    assert (real.scale, real.zero_point) == (pytest.approx(255 / 128, rel=1e-5), -64)
    values = model.prepare({"x": random_bytes(random, (7, 20)), "real": floats})
    assert np.array_equal(model.prepare(model.restore_all(values)), values)


def test_uint8_at_both_ends():
    random = np.random.default_rng(6)
    writer, _ = begin("QDQ", random, (3, 6, 6))
    pixels = [writer.constant(np.float32(0.02)), writer.constant(np.uint8(100))]
    real = writer.node("DequantizeLinear", ["pixels", *pixels])
    y = random_conv(writer, random, writer.give(real, (3, 6, 6), (0.03, -3)))
    last = writer.node("QuantizeLinear", [writer.read(y), writer.constant(y.scale), writer.constant(np.uint8(77))])
    model = onnx.load_from_string(writer.write(y, inputs=[("pixels", (3, 6, 6))], outputs=[(last, y.shape)]))
    del model.graph.input[0], model.graph.output[0]
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    data, x = model.SerializeToString(), random.integers(0, 256, (4, 3, 6, 6)).astype(np.uint8)
    agree(data, {"pixels": x})
    port = parse_onnx(data).inputs[0]
    assert (port.dtype, port.quantisation.range) == ("uint8", (np.float32(0.02) * -100, np.float32(0.02) * 155))


def test_the_same_file_is_the_same_network(tmp_path):
    """Also in another process, whose hashes differ."""
    data = random_model(np.random.default_rng(12), "QDQ")[0]
    path, code = tmp_path / "model.onnx", "import sys; from etchnet.host.importers.load import load_model; "
    path.write_bytes(data)
    code += "from pathlib import Path; load_model(sys.argv[1]).network.save(Path(sys.argv[2]))"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, path, tmp_path / f"{seed}.npz"], check=True, env=environment)
    first, second = (np.load(tmp_path / f"{seed}.npz") for seed in "12")
    assert first["network"] == second["network"]
    assert all(np.array_equal(first[name], second[name]) for name in first.files)


def test_pixels_have_the_range_that_a_model_normalises():
    """A model that subtracts a mean and divides by a deviation takes pixels from 0 to 1, or from 0 to 255."""
    random = np.random.default_rng(7)
    for most in (1, 255):
        writer, _ = begin("QDQ", random, (8, 8, 3))
        mean, deviation = (
            writer.constant(np.float32(v) * most) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        )
        real = writer.node("Div", [writer.node("Sub", ["real", mean]), deviation])
        turned = writer.node("Transpose", [real], perm=[0, 3, 1, 2])
        y = random_conv(writer, random, writer.give(turned, (3, 8, 8), (4.76 / 255, -14)))
        model = onnx.load_from_string(writer.write(y, inputs=[("real", (8, 8, 3))]))
        del model.graph.input[0]
        data, x = model.SerializeToString(), random.uniform(0, most, (2, 8, 8, 3)).astype(np.float32)
        agree(data, {"real": x})
        assert pixel_range(parse_onnx(data).inputs[0].quantisation) == (0, most)


def test_an_input_that_falls_has_no_range_for_pictures():
    random = np.random.default_rng(10)
    writer, _ = begin("QDQ", random, (3, 8, 8))
    y = random_conv(writer, random, writer.give(writer.node("Neg", ["real"]), (3, 8, 8), (0.02, 5)))
    model = onnx.load_from_string(writer.write(y, inputs=[("real", (3, 8, 8))]))
    del model.graph.input[0]
    data = model.SerializeToString()
    agree(data, {"real": random.normal(size=(3, 3, 8, 8)).astype(np.float32)})
    assert parse_onnx(data).inputs[0].quantisation.scale > 0


@pytest.mark.parametrize("readers", [1, 2])
def test_clamps_are_those_of_the_layer_before(readers):
    """As symmetric activations and QCDQ files have them; a tensor that something else reads keeps its values."""
    random = np.random.default_rng(8)
    writer, x = begin("QDQ", random, (4, 6, 6))
    y = random_conv(writer, random, x, channels=4, keep=True)
    y = Tensor(y.name, y.shape, y.scale, 5)
    z = writer.give(writer.node("Relu", [writer.read(y)]), y.shape, (y.scale, 5))
    bounds = [writer.constant(np.int8(bound)) for bound in (-127, 90)]
    z = Tensor(writer.node("Clip", [z.name, *bounds]), z.shape, z.scale, 5)
    last = writer.add(z, y if readers == 2 else z, near(random, 2 * y.scale))
    data = writer.write(last)
    kinds = [type(layer) for layer in parse_onnx(data).network.layers]
    assert kinds == ([Conv, Depthwise] if readers == 1 else [Conv, Depthwise, Add])
    agree(data, random_bytes(random, (3, 4, 6, 6)))
