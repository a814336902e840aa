"""Operators of ONNX files against ONNX Runtime, byte for byte."""

import contextlib

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
from support.onnx_runtime import agree, same_formulas
from support.onnx_strategies import (
    FORMS,
    Tensor,
    begin,
    near,
    random_bytes,
    random_conv,
    random_out,
)

from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.importers.onnx.importer import parse_onnx
from etchnet.host.network.layers import Add, Concat, Conv
from etchnet.host.network.model import ModelError
from etchnet.host.network.order import UNCHANGED

pytestmark = same_formulas

forms = pytest.mark.parametrize("form", FORMS)
seeds = pytest.mark.parametrize("seed", range(12))


def near_ties(random, factors, channels):
    """Return integers whose products with the factors are next to n + 1/2."""
    halves = random.integers(-100, 100, channels) + 0.5
    return np.rint(halves / factors).astype(np.int64) + random.integers(-1, 2, channels)


@forms
@seeds
def test_convolution(form, seed):
    random = np.random.default_rng(seed)
    writer, x = begin(
        form, random, (int(random.integers(1, 9)), int(random.integers(1, 9)), int(random.integers(1, 9)))
    )
    data = writer.write(random_conv(writer, random, x))
    agree(data, random_bytes(random, (3, *x.shape)))


@forms
@seeds
def test_convolution_at_ties(form, seed):
    """Biases put the first pixel of every channel next to a tie; scales with few bits make the ties exact."""
    random = np.random.default_rng(seed)
    writer, x = begin(form, random, (int(random.integers(1, 6)), 4, 4))
    channels = 64
    values = random_bytes(random, (channels, x.shape[0], 3, 3))
    scale = np.exp2(-random.integers(6, 12, channels)).astype(np.float32)
    if seed % 2:
        scale *= random.uniform(1, 2, channels).astype(np.float32)
    out = random_out(random, float(x.scale * scale.mean()), values[0].size)
    if seed % 4 < 2:
        out = np.exp2(np.rint(np.log2(out[0]))), out[1]
    inputs = random_bytes(random, (2, *x.shape))
    first = (inputs[0, :, :3, :3].astype(np.int64) - x.zero) * values
    bias = near_ties(random, x.scale * scale / out[0], channels) - first.sum(axis=(1, 2, 3))
    result = agree(writer.write(writer.conv(x, values, scale, bias, out, (channels, 2, 2))), inputs)
    assert (np.abs(result[0, :, 0, 0].astype(int)) < 127).mean() > 0.4


@forms
@pytest.mark.parametrize("group", [1, 4, 2])
def test_line_convolution(form, group):
    random = np.random.default_rng(group)
    writer, x = begin(form, random, (4, 9))
    values = random_bytes(random, (8, 4 // group, 3))
    y = writer.conv(
        x,
        values,
        np.float32(0.01),
        None,
        random_out(random, 0.01 * x.scale, 12),
        (8, 5),
        group=group,
        strides=[2],
        pads=[1, 1],
    )
    y = writer.same("MaxPool", y, (8, 4), kernel_shape=[2])
    agree(writer.write(y), random_bytes(random, (2, 4, 9)))


@forms
@seeds
def test_matrix_products_at_ties(form, seed):
    random = np.random.default_rng(seed)
    writer, x = begin(form, random, (int(random.integers(1, 300)),))
    terms, channels = x.shape[0], 48
    values = random_bytes(random, (terms, channels))
    scale = np.exp(random.uniform(-7, -4, channels if seed % 2 else ())).astype(np.float32)
    out = random_out(random, float(x.scale * scale.mean()), terms)
    if seed % 3 == 0:
        scale, out = np.exp2(np.rint(np.log2(scale))), (np.exp2(np.rint(np.log2(out[0]))), out[1])
    inputs = random_bytes(random, (5, terms))
    if seed % 4 == 3:
        y = writer.mat_mul(x, values, scale, out)
    else:
        bias = near_ties(random, x.scale * scale / out[0], channels) - (inputs[0].astype(np.int64) - x.zero) @ values
        y = writer.gemm(x, values, scale, bias, out, transposed=bool(seed % 4))
    agree(writer.write(y), inputs)


@pytest.mark.parametrize("alpha", [0.5, 0.3, 3.0])
def test_quantised_gemm_with_alpha(alpha):
    random = np.random.default_rng(3)
    writer, x = begin("QLinear", random, (40,))
    values = random_bytes(random, (40, 16))
    out = random_out(random, alpha * 0.01 * x.scale, 40)
    data = writer.write(writer.gemm(x, values, np.float32(0.01), random.integers(-99, 99, 16), out, alpha=alpha))
    agree(data, random_bytes(random, (9, 40)))


@forms
@seeds
def test_a_flattened_image_reaches_a_matrix_in_its_order(form, seed):
    random = np.random.default_rng(seed)
    writer, x = begin(form, random, (3, 4, 5))
    x = writer.same("MaxPool", x, (3, 3, 5), kernel_shape=[2, 1])
    if seed % 2:
        flat = writer.same("Flatten", x, (45,))
    else:
        flat = writer.same("Reshape", x, (45,), writer.constant(np.array([0, -1], np.int64)))
    values = random_bytes(random, (45, 7))
    data = writer.write(writer.gemm(flat, values, np.float32(0.01), None, random_out(random, 0.01 * x.scale, 45)))
    agree(data, random_bytes(random, (4, 3, 4, 5)))


@forms
def test_channels_that_come_last_in_the_file(form):
    """Exporters of other frameworks transpose (y, x, channel) at the beginning, and transpose back at the end."""
    random = np.random.default_rng(0)
    writer, x = begin(form, random, (4, 5, 3))
    y = writer.same("Transpose", x, (3, 4, 5), perm=[0, 3, 1, 2])
    y = random_conv(writer, random, y, channels=6, keep=True)
    y = writer.same("Transpose", y, (4, 5, 6), perm=[0, 2, 3, 1])
    data = writer.write(y)
    model = parse_onnx(data)
    assert model.inputs[0].order == UNCHANGED
    assert model.outputs[0].order == UNCHANGED
    assert model.network.input_shape == (4, 5, 3)
    inputs = random_bytes(random, (2, 4, 5, 3))
    agree(data, inputs)
    writer, x = begin(form, random, (4, 5, 3))
    y = writer.same("Transpose", x, (3, 4, 5), perm=[0, 3, 1, 2])
    y = random_conv(writer, random, y, channels=6, keep=True)
    flat = writer.same("Flatten", writer.same("Transpose", y, (4, 5, 6), perm=[0, 2, 3, 1]), (120,))
    data = writer.write(
        writer.mat_mul(flat, random_bytes(random, (120, 4)), 0.01, random_out(random, 0.01 * y.scale, 120))
    )
    agree(data, inputs)


@forms
@seeds
def test_maximum_pool(form, seed):
    random = np.random.default_rng(seed)
    size = [int(n) for n in random.integers(3, 9, 2)]
    writer, x = begin(form, random, (5, *size))
    kernel, stride = [int(n) for n in random.integers(1, 4, 2)], [int(n) for n in random.integers(1, 4, 2)]
    pads = [int(random.integers(0, k)) for k in (*kernel, *kernel)]
    ceiling = seed % 2
    sizes = []
    for axis, n in enumerate(size):
        whole = n + pads[axis] + pads[axis + 2] - kernel[axis]
        count = (ceil_div(whole, stride[axis]) if ceiling else whole // stride[axis]) + 1
        if ceiling and (count - 1) * stride[axis] >= n + pads[axis]:
            count -= 1
        sizes.append(count)
    y = writer.same("MaxPool", x, (5, *sizes), kernel_shape=kernel, strides=stride, pads=pads, ceil_mode=ceiling)
    with contextlib.suppress(ModelError) if ceiling else contextlib.nullcontext():
        agree(writer.write(y), random_bytes(random, (2, *x.shape)))


def test_a_dead_channel_has_a_scale_of_zero():
    random = np.random.default_rng(5)
    writer, x = begin("QLinear", random, (4, 5, 6))
    weights, scales = random_bytes(random, (3, 4, 2, 2)), np.float32([0.01, 0, 1e-39])
    agree(
        writer.write(writer.conv(x, weights, scales, [5, 6, 7], (0.3, 4), (3, 4, 5))),
        random_bytes(random, (2, *x.shape)),
    )


@forms
@pytest.mark.parametrize("back", [True, False])
def test_maximum_pool_of_channels_that_come_last(form, back):
    """In QOperator files ONNX Runtime moves the transposition past the pool."""
    random = np.random.default_rng(2)
    writer, x = begin(form, random, (7, 6, 4))
    y = writer.same("Transpose", x, (4, 7, 6), perm=[0, 3, 1, 2])
    y = writer.same("MaxPool", y, (4, 4, 3), kernel_shape=[2, 3], strides=[2, 2], pads=[1, 0, 0, 1])
    y = writer.same("Transpose", y, (4, 3, 4), perm=[0, 2, 3, 1]) if back else random_conv(writer, random, y)
    agree(writer.write(y), random_bytes(random, (2, *x.shape)))


@forms
@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        ([2, 1], {}),
        ([3, 3], {}),
        ([3, 3], {"strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
        ([2, 2], {"strides": [2, 2], "ceil_mode": 1}),
        ([6, 6], {}),
    ],
)
def test_average_pool(form, kernel, attributes):
    taken = 0
    for seed in range(4):
        random = np.random.default_rng(seed)
        writer, x = begin(form, random, (5, 6, 6))
        strides = attributes.get("strides", [1, 1])
        sizes = [(6 + 2 * bool(attributes.get("pads")) - k) // s + 1 for k, s in zip(kernel, strides, strict=True)]
        data = writer.write(
            writer.simple("AveragePool", x, (5, *sizes), near(random, x.scale), kernel_shape=kernel, **attributes)
        )
        with contextlib.suppress(ModelError):
            agree(data, random_bytes(random, (40, *x.shape)))
            taken += 1
    assert taken > 1


@forms
@seeds
def test_global_average_pool(form, seed):
    random = np.random.default_rng(seed)
    writer, x = begin(form, random, (7, *(int(n) for n in random.integers(1, 9, 2))))
    out = near(random, x.scale) if seed % 2 else (x.scale, x.zero)
    y = writer.simple("GlobalAveragePool", x, (7, 1, 1), out)
    y = writer.same("Squeeze", y, (7,), writer.constant(np.array([2, 3], np.int64)))
    agree(writer.write(y), random_bytes(random, (40, *x.shape)))


@forms
@pytest.mark.parametrize("seed", range(6))
def test_addition(form, seed):
    """Two maps of one image give all 256 x 256 pairs of values in a batch."""
    random = np.random.default_rng(seed)
    writer, x = begin(form, random, (2, 16, 16))
    a, b = (
        writer.conv(x, np.eye(2, dtype=np.int8)[[channel]][:, :, None, None], 1.0, None, (x.scale, x.zero), (1, 16, 16))
        for channel in (0, 1)
    )
    scales = np.exp(random.uniform(-4, 0, 2)) if seed % 2 else np.exp2(-random.integers(2, 6, 2))
    zeros = random.integers(-128, 128, 2)
    a, b = (Tensor(t.name, t.shape, np.float32(s), int(z)) for t, s, z in zip((a, b), scales, zeros, strict=True))
    out = near(random, float(scales.max())) if seed % 2 else (2 * scales.max(), int(zeros[0]) | 1)
    data = writer.write(writer.add(a, b, out))
    values = np.arange(-128, 128).astype(np.int8).reshape(16, 16)
    batch = np.stack([np.stack([values, np.full((16, 16), v, np.int8)]) for v in np.arange(-128, 128).astype(np.int8)])
    if form == "QDQ":
        # The two DequantizeLinear of one tensor have different scales, so the int8 tensor is read with both.
        assert isinstance(parse_onnx(data).network.layers[-1], Add)
    result = agree(data, batch)
    assert len(np.unique(result)) > 100


@forms
@pytest.mark.parametrize("seed", range(4))
def test_addition_of_a_constant(form, seed):
    """Exporters write the bias of a linear layer as such an addition."""
    random = np.random.default_rng(seed)
    image = seed % 2
    writer, x = begin(form, random, (6, 16, 16) if image else (256,))
    constant = random_bytes(random, (6, 1, 1) if image else (256,)), near(random, x.scale)[0], 0
    if seed > 1:
        constant = *constant[:2], int(random.integers(-128, 128))
    data = writer.write(writer.add(x, constant, near(random, x.scale)))
    inputs = np.arange(-128, 128).astype(np.int8)
    if image:
        inputs = np.broadcast_to(inputs.reshape(1, 1, 16, 16), (2, 6, 16, 16)).copy()
    else:
        inputs = np.broadcast_to(inputs[:, None], (256, 256)).copy()
    agree(data, inputs)


@forms
@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_concatenation_of_tensors_with_different_scales(form, axis):
    random = np.random.default_rng(axis + 5)
    writer, x = begin(form, random, (3, 4, 5))
    parts = [random_conv(writer, random, x, channels=3, keep=True), x]
    shape = [3, 4, 5]
    shape[axis - 1 if axis > 0 else 2] *= 2
    data = writer.write(writer.concat(parts, axis, shape, near(random, x.scale)))
    assert isinstance(parse_onnx(data).network.layers[-1], Concat)
    agree(data, random_bytes(random, (20, *x.shape)))


@forms
def test_concatenation_of_vectors(form):
    random = np.random.default_rng(5)
    writer, x = begin(form, random, (30,))
    parts = [
        writer.mat_mul(x, random_bytes(random, (30, n)), 0.01, random_out(random, 0.01 * x.scale, 30)) for n in (4, 7)
    ]
    agree(writer.write(writer.concat(parts, 1, (11,), near(random, parts[0].scale))), random_bytes(random, (20, 30)))


@forms
@pytest.mark.parametrize("seed", range(6))
def test_softmax_on_the_host(form, seed):
    random = np.random.default_rng(seed)
    writer, x = begin(form, random, (20,))
    terms = int(random.integers(2, 50))
    x = writer.mat_mul(x, random_bytes(random, (20, terms)), 0.01, random_out(random, 0.01 * x.scale, 20))
    x = Tensor(x.name, x.shape, np.float32(np.exp(random.uniform(-5, 0))), x.zero)
    out = (1 / 256, -128) if seed % 2 else (np.exp(random.uniform(-5.5, -4)), int(random.integers(-128, 0)))
    extra = {"opset": 13} if form == "QLinear" else {}
    agree(writer.write(writer.simple("Softmax", x, x.shape, out, axis=-1, **extra)), random_bytes(random, (40, 20)))


@pytest.mark.parametrize("then", [("Relu",), ("Clip", 0.0, 6.0), ("Clip", -1.0, 1.0)])
@pytest.mark.parametrize("same", [False, True])
def test_clamps_between_quantisations(then, same):
    """A model with symmetric activations keeps its clamps, which work value by value in float."""
    random = np.random.default_rng(len(then))
    writer, x = begin("QDQ", random, (4, 8, 8))
    x = Tensor(x.name, x.shape, np.float32(0.0731), 0)
    bounds = [writer.constant(np.float32(bound)) for bound in then[1:]]
    out = (x.scale, 0) if same else (np.float32(0.0457), -3)
    y = writer.give(writer.node(then[0], [writer.read(x), *bounds]), x.shape, out)
    inputs = np.broadcast_to(np.arange(-128, 128).astype(np.int8).reshape(1, 4, 8, 8), (2, 4, 8, 8)).copy()
    agree(writer.write(y), inputs)


@pytest.mark.parametrize(("then", "scale"), [(("Relu",), 0.3), (("Clip", 0.0, 6.0), 6 / 255)])
def test_clamps_that_the_range_implies(then, scale):
    random = np.random.default_rng(1)
    writer, x = begin("QDQ", random, (4, 6, 6))
    bounds = [writer.constant(np.float32(bound)) for bound in then[1:]]
    weights = random_bytes(random, (5, 4, 3, 3))
    y = writer.conv(
        x, weights, scale / x.scale / 400, None, (np.float32(scale), -128), (5, 4, 4), then=[then[0], *bounds]
    )
    data = writer.write(y)
    assert [type(layer) for layer in parse_onnx(data).network.layers] == [Conv]
    agree(data, random_bytes(random, (3, 4, 6, 6)))


def test_padding_and_a_mirror_of_the_input():
    random = np.random.default_rng(2)
    for form in FORMS:
        writer, x = begin(form, random, (2, 3, 4))
        pads = writer.constant(np.array([0, 1, 0, 2, 0, 0, 1, 3], np.int64))
        fill = writer.constant(np.float32(5 * x.scale) if form == "QDQ" else np.int8(7))
        y = writer.same("Pad", x, (3, 4, 9), pads, fill)
        agree(writer.write(random_conv(writer, random, y)), random_bytes(random, (3, 2, 3, 4)))
