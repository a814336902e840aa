"""Models from ONNX files against ONNX Runtime, byte for byte; what is refused; damaged files."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from support.command_line import error, run
from support.strategies import randoms

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
import onnx
from onnx import TensorProto, helper, numpy_helper
from support.onnx_strategies import (
    Tensor,
    Writer,
    damage,
    distort,
    near,
    onnx_models,
    ours,
    random_bytes,
    random_conv,
    random_model,
    random_out,
    random_scale,
    same_formulas,
    theirs,
)

from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.importers.load import load_input, load_model
from etchnet.host.importers.onnx.importer import load_onnx, parse_onnx
from etchnet.host.network.layers import Add, Concat, Conv, Dense, Depthwise, MaxPool
from etchnet.host.network.model import ModelError

pytestmark = same_formulas

FORMS = ("QDQ", "QLinear")
forms = pytest.mark.parametrize("form", FORMS)
seeds = pytest.mark.parametrize("seed", range(12))


def agree(data, x):
    """Ours and theirs are the same, and theirs is not all one value of the clamp."""
    expected, got = theirs(data, x), ours(data, x)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert np.array_equal(got, expected)
    return expected


def begin(form, random, shape, **options):
    writer = Writer(form, floats=False, **options)
    return writer, writer.input(shape, random_scale(random), int(random.integers(-128, 128)))


def near_ties(random, factors, channels):
    """Whole numbers whose products with the factors lie next to n + 1/2."""
    halves = random.integers(-100, 100, channels) + 0.5
    return np.rint(halves / factors).astype(np.int64) + random.integers(-1, 2, channels)


# Operators


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
    """Biases that put every channel's first pixel next to a tie; scales of few bits make the ties exact."""
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
    """Exporters of other frameworks turn (y, x, channel) around at the beginning, and back at the end."""
    random = np.random.default_rng(0)
    writer, x = begin(form, random, (4, 5, 3))
    y = writer.same("Transpose", x, (3, 4, 5), perm=[0, 3, 1, 2])
    y = random_conv(writer, random, y, channels=6, keep=True)
    y = writer.same("Transpose", y, (4, 5, 6), perm=[0, 2, 3, 1])
    data = writer.write(y)
    model = parse_onnx(data)
    assert not model.input_channels_first
    assert not model.output_channels_first
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
    """Of two maps of one image, so that all pairs of values come: 256 x 256 of them in a batch."""
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
        # The two DequantizeLinear of one tensor differ in scale: what comes before is int8 that is read anew.
        assert isinstance(parse_onnx(data).network.layers[-1], Add)
    result = agree(data, batch)
    assert len(np.unique(result)) > 100


@forms
@pytest.mark.parametrize("seed", range(4))
def test_addition_of_a_constant(form, seed):
    """The bias of a linear layer without one, as exporters write it."""
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
def test_tensors_of_several_scales_side_by_side(form, axis):
    random = np.random.default_rng(axis + 5)
    writer, x = begin(form, random, (3, 4, 5))
    parts = [random_conv(writer, random, x, channels=3, keep=True), x]
    shape = [3, 4, 5]
    shape[axis - 1 if axis > 0 else 2] *= 2
    data = writer.write(writer.concat(parts, axis, shape, near(random, x.scale)))
    assert isinstance(parse_onnx(data).network.layers[-1], Concat)
    agree(data, random_bytes(random, (20, *x.shape)))


@forms
def test_vectors_side_by_side(form):
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
    """A model with symmetric activations keeps its clamps: value by value, in float."""
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


# Whole models


@settings(max_examples=150)
@given(onnx_models())
def test_random_models(model):
    agree(*model)


@pytest.mark.campaign
@settings(max_examples=3000)
@given(onnx_models())
def test_random_models_at_length(model):
    agree(*model)


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """A small float network, quantised by ONNX Runtime itself in all its ways: {name: path}."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    folder = tmp_path_factory.mktemp("quantised")
    random = np.random.default_rng(0)

    def constants(**shapes):
        return [numpy_helper.from_array((random.normal(size=s) * 0.3).astype(np.float32), n) for n, s in shapes.items()]

    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], name="first", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["c1"], ["r1"], name="relu1"),
        node("Conv", ["r1", "wd", "bd"], ["c2"], name="depthwise", pads=[1, 1, 1, 1], group=8),
        node("Relu", ["c2"], ["r2"], name="relu2"),
        node("Conv", ["r2", "w2", "b2"], ["c3"], name="pointwise"),
        node("Add", ["c3", "r1"], ["a"], name="residual"),
        node("Relu", ["a"], ["r3"], name="relu3"),
        node("MaxPool", ["r3"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["fl"], name="flatten"),
        node("Gemm", ["fl", "fc", "fb"], ["g"], name="gemm", transB=1),
        node("Relu", ["g"], ["gr"], name="relu4"),
        node("MatMul", ["gr", "mm"], ["m"], name="matmul"),
        node("Add", ["m", "mb"], ["ma"], name="bias"),
        node("Softmax", ["ma"], ["y"], name="softmax", axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "float",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 6])],
        constants(
            w1=(8, 3, 3, 3), b1=8, wd=(8, 1, 3, 3), bd=8, w2=(8, 8, 1, 1), b2=8, fc=(10, 128), fb=10, mm=(10, 6), mb=6
        ),
    )
    source = folder / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.inputs = iter([{"x": random.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(8)])

        def get_next(self):
            return next(self.inputs, None)

    paths = {}
    for form in (quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator):
        for per_channel in (False, True):
            for symmetric in (False, True):
                paths[form.name, per_channel, symmetric] = path = folder / f"{form.name}{per_channel}{symmetric}.onnx"
                quantization.quantize_static(
                    source,
                    path,
                    Reader(),
                    quant_format=form,
                    per_channel=per_channel,
                    activation_type=quantization.QuantType.QInt8,
                    weight_type=quantization.QuantType.QInt8,
                    extra_options={"ActivationSymmetric": symmetric},
                )
    return paths


@pytest.mark.filterwarnings("ignore")
def test_models_that_the_runtime_quantised(quantised):
    random = np.random.default_rng(1)
    x = random.normal(size=(100, 3, 16, 16)).astype(np.float32)
    for (_, _, symmetric), path in quantised.items():
        result = agree(path.read_bytes(), x)
        assert len(np.unique(result)) > 20
        model = load_model(str(path))
        assert model.names[0].startswith("first")
        if not symmetric:
            assert [type(layer) for layer in model.network.layers] == [
                Conv,
                Depthwise,
                Conv,
                Add,
                MaxPool,
                Dense,
                Dense,
                Depthwise,
            ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_a_quantised_model_on_the_machine(quantised, form, tmp_path, capsys):
    path = quantised[form, True, False]
    x = np.random.default_rng(2).normal(size=(2, 3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    status, out, err = run(
        capsys, "run", str(path), "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")
    )
    assert (status, err) == (0, "")
    assert "outputs float32 (2, 6)" in out
    assert np.array_equal(np.load(tmp_path / "y.npy"), theirs(path.read_bytes(), x))
    double = tmp_path / "double.toml"
    double.write_text('contract = "tflite-double"')
    message = error(capsys, "report", str(path), "--config", str(double))
    assert message == "the network must round by the machine's tflite-double, not by onnx-float"


def test_files_of_inputs_are_in_the_models_own_shape(tmp_path):
    random = np.random.default_rng(0)
    writer, x = begin("QLinear", random, (3, 4, 5))
    path = tmp_path / "model.onnx"
    path.write_bytes(writer.write(random_conv(writer, random, x)))
    model = load_model(str(path))
    inputs = random_bytes(random, (2, 3, 4, 5))
    np.save(tmp_path / "x.npy", inputs)
    assert np.array_equal(load_input(tmp_path / "x.npy", model), inputs.transpose(0, 2, 3, 1).reshape(2, -1))
    assert np.array_equal(model.prepare(inputs[0].reshape(-1)[None]), model.prepare(inputs[0]))
    pillow = pytest.importorskip("PIL.Image")
    pillow.fromarray(random.integers(0, 256, (4, 5, 3)).astype(np.uint8)).save(tmp_path / "x.png")
    pixels = np.asarray(pillow.open(tmp_path / "x.png"), np.float32) / 255
    expected = model.input.quantise(pixels).reshape(1, -1)
    assert np.array_equal(load_input(tmp_path / "x.png", model), expected)


# What is refused


def changed(change, form="QDQ", floats=True):
    """A model of a convolution and a matrix, changed as protobuf."""
    random = np.random.default_rng(0)
    writer = Writer(form, floats=floats)
    x = writer.input((2, 4, 4), 0.1, 3)
    y = writer.conv(
        x, random_bytes(random, (3, 2, 3, 3)), np.full(3, 0.01, np.float32), [1, 2, 3], (0.5, -128), (3, 2, 2)
    )
    flat = writer.same("Flatten", y, (12,))
    z = writer.gemm(flat, random_bytes(random, (12, 4)), 0.02, [1, 2, 3, 4], (0.7, 1))
    model = onnx.load_from_string(writer.write(z))
    change(model)
    return model.SerializeToString()


def node_of(model, kind):
    return next(node for node in model.graph.node if node.op_type == kind)


def constant_of(model, name):
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def attribute(kind, **values):
    def change(model):
        node = node_of(model, kind)
        for name in values:
            for old in [a for a in node.attribute if a.name == name]:
                node.attribute.remove(old)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())

    return change


def constant(kind, index, value, producer=0):
    """Replace the constant that an operator, or what dequantises its input, reads."""

    def change(model):
        node = node_of(model, kind)
        name = node.input[index]
        makers = [n for n in model.graph.node if name in n.output]
        tensor = constant_of(model, makers[0].input[producer] if makers else name)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(value), tensor.name))

    return change


def external(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def rename(kind, new):
    def change(model):
        node_of(model, kind).op_type = new

    return change


def cyclic(model):
    node = node_of(model, "Conv")
    node.input[0] = model.graph.node[-1].output[0]


def twice(model):
    model.graph.node.append(model.graph.node[0])


def dimension(index, value):
    def change(model):
        size = model.graph.input[0].type.tensor_type.shape.dim[index]
        size.Clear()
        if isinstance(value, str):
            size.dim_param = value
        elif value is not None:
            size.dim_value = value

    return change


def unquantised_end(model):
    conv = node_of(model, "Conv")
    model.graph.output[0].name = conv.output[0]


def float_bias(model):
    conv = node_of(model, "Conv")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "floats"))
    conv.input[2] = "floats"


def relu_behind(model):
    conv = node_of(model, "Conv")
    reader = next(n for n in model.graph.node if conv.output[0] in n.input)
    index = list(model.graph.node).index(reader)
    model.graph.node.insert(index, helper.make_node("Clip", [conv.output[0], "", "top"], ["clipped"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), "top"))
    reader.input[0] = "clipped"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename("Flatten", "Mystery"), r"Mystery \(operator \d+\) is not supported: .*; supported are Add, .*, Conv, "),
        (rename("Conv", "ConvTranspose"), r"ConvTranspose \(operator \d+\) is not supported"),
        (lambda m: setattr(node_of(m, "Conv"), "domain", "custom"), r"Conv \(operator \d+\) is of the domain 'custom'"),
        (
            lambda m: setattr(m.opset_import[0], "version", 9),
            "version 9 of the standard operators; 10 to 25 are supported",
        ),
        (lambda m: setattr(m.opset_import[0], "version", 99), "version 99 of the standard operators"),
        (external, "is in another file; a model must be one file"),
        (
            cyclic,
            r"Conv \(operator \d+\) reads 'dequantizelinear\d+', which must be the result of an operator before it",
        ),
        (
            lambda m: m.graph.initializer.remove(m.graph.initializer[0]),
            "reads 's1', which must be the result of an operator before it",
        ),
        (
            twice,
            r"QuantizeLinear .* writes 't3', which is already|writes 'quantizelinear\d+', which is already",
        ),
        (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "two constants have the same name"),
        (lambda m: m.graph.output.append(m.graph.output[0]), "1 inputs and 2 outputs; one of each is supported"),
        (lambda m: m.graph.ClearField("node"), "is not an ONNX file, or has no operators"),
        (lambda m: m.graph.sparse_initializer.add(), "sparse constants"),
        (dimension(2, "height"), "the input's dimension 2 must be known, not 'height': only the batch may"),
        (dimension(2, None), "the input's dimension 2 must be known"),
        (dimension(1, -2), "the input's dimension 1 must be known, not -2"),
        (dimension(0, -3), "the input's batch must be at least 1, not -3"),
        (dimension(3, 1 << 40), "must have at most 16777216 values per image"),
        (dimension(3, 2), "must fit its padded input: 3 pixels do not fit 2"),
        (attribute("Conv", strides=[0, 1]), r"Conv \(operator \d+\): windows, strides and dilations must be from 1 to"),
        (attribute("Conv", strides=[1]), "strides must have 2 entries"),
        (attribute("Conv", strides=1.5), "strides must be a list of integers, not 1.5"),
        (attribute("Conv", dilations=[1, -1]), "windows, strides and dilations must be from 1 to 32768"),
        (attribute("Conv", pads=[-1, 0, 0, 0]), "pads must be from 0 to 32768"),
        (attribute("Conv", pads=[1, 1, 1, 1], auto_pad="SAME_UPPER"), "and 0 with auto_pad"),
        (attribute("Conv", auto_pad="SAME"), "auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, not SAME"),
        (attribute("Conv", auto_pad="SAME_LOWER", dilations=[2, 2]), "dilations must be 1 with auto_pad SAME_LOWER"),
        (attribute("Conv", group=2), r"weights of shape \(3, 2, 3, 3\) in 2 groups do not fit 2 channels"),
        (attribute("Conv", kernel_shape=[5, 5]), r"kernel_shape must be that of the weights, \[3, 3\]"),
        (attribute("Gemm", alpha=2.0), "alpha and beta must be 1; ONNX Runtime computes others in float"),
        (attribute("Gemm", transA=1), "transA must be 0"),
        (attribute("Flatten", axis=2), "axis must be 1, not 2"),
        (constant("Conv", 1, np.zeros((3, 2, 3), np.int8)), "weights must have 4 dimensions"),
        (constant("Conv", 1, np.zeros((3, 2, 3, 3), np.uint8)), "constants must be int8 or int32, not uint8"),
        (constant("Conv", 1, np.ones(3, np.int8), producer=2), "constants must have zero point 0"),
        (constant("Conv", 1, np.full(3, np.nan, np.float32), producer=1), "scales must be positive, finite"),
        (constant("Conv", 1, np.full(2, 0.1, np.float32), producer=1), "there must be one scale, or one per index"),
        (
            constant("Conv", 1, np.full(3, 1e30, np.float32), producer=1),
            "the scale of the bias must be that of the input times",
        ),
        (
            constant("Conv", 2, np.full(3, 0.1, np.float32), producer=1),
            "the scale of the bias must be that of the input times",
        ),
        (constant("Conv", 2, np.zeros(4, np.int32)), "there must be one scale, or one per index along an axis"),
        (constant("QuantizeLinear", 1, np.float32(-1)), "scales must be positive, finite and not subnormal, not -1.0"),
        (
            constant("QuantizeLinear", 2, np.uint8(3)),
            r"the result is uint8. uint8 is not supported: the machine multiplies",
        ),
        (constant("QuantizeLinear", 1, np.full(2, 0.1, np.float32)), "must have one scale and one zero point, not 2"),
        (lambda m: node_of(m, "QuantizeLinear").input.pop(), "has no zero point, and is uint8 by default. uint8 is"),
        (unquantised_end, r"Conv \(operator \d+\) computes the output '.*', which must come from a QuantizeLinear"),
        (float_bias, "the bias must be an int32 constant, dequantised, not a constant of float32"),
        (relu_behind, r"Conv \(operator \d+\): its result is clamped to \[-inf, 1\] and quantised to a wider range"),
        (rename("Flatten", "Relu"), r"weights need an input \(N, 12\), not shape \(N, 3, 2, 2\)"),
    ],
)
def test_what_is_not_supported_is_named(change, message):
    with pytest.raises(ModelError, match=message):
        parse_onnx(changed(change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (attribute("QLinearConv", pads=[0, 0, 0]), "pads must have 4 entries"),
        (constant("QLinearConv", 2, np.uint8(3)), r"QLinearConv \(operator \d+\): the input is uint8"),
        (constant("QLinearConv", 5, np.ones(3, np.int8)), "weights must have zero point 0"),
        (constant("QLinearConv", 4, np.full(2, 0.1, np.float32)), "weights must have 1 or 3 scales, not 2"),
        (constant("QLinearConv", 4, np.full(3, 1e-30, np.float32)), None),
        (constant("QLinearConv", 4, np.full(3, 1e30, np.float32)), "a scale of the contract onnx-float must be finite"),
        (constant("QLinearConv", 8, np.zeros(3, np.float32)), "the bias must be int32, not float32"),
        (constant("QLinearConv", 8, np.zeros(5, np.int32)), "the bias must have 3 values, not shape"),
        (constant("QGemm", 4, np.float64(1)), "is float64; supported are float32"),
        (lambda m: node_of(m, "QGemm").input.pop(), "the result must be int8, with a scale and a zero point"),
        (dimension(0, 4), None),
    ],
)
def test_what_is_not_supported_in_the_form_of_operators(change, message):
    data = changed(change, form="QLinear", floats=False)
    with pytest.raises(ModelError, match=message) if message else contextlib.nullcontext():
        assert parse_onnx(data).network.inputs == 32


def single(kind, shape, result, **attributes):
    writer = Writer("QDQ", floats=False)
    inputs = attributes.pop("inputs", ())
    x = writer.input(shape, 0.1, 3)
    names = [writer.constant(value) for value in inputs]
    out = attributes.pop("out", (0.1, 3))
    return writer.write(writer.give(writer.node(kind, [writer.read(x), *names], **attributes), result, out))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (single("AveragePool", (1, 4, 4), (1, 3, 3), kernel_shape=[2, 2]), "float32 sums over 4 values meet rounding"),
        (
            single("AveragePool", (1, 4, 4), (1, 4, 4), kernel_shape=[3, 3], pads=[1] * 4),
            r"count_include_pad = 0 with padding is not supported",
        ),
        (
            single("AveragePool", (1, 20, 20), (1, 9, 9), kernel_shape=[12, 12]),
            "windows must have at most 64 pixels, not",
        ),
        (single("AveragePool", (1, 4, 4), (1, 4, 4)), "kernel_shape must be a list of integers, not None"),
        (single("MaxPool", (1, 4, 4), (1, 3, 3), kernel_shape=[2, 2], dilations=[2, 2]), "dilations must be 1"),
        (single("MaxPool", (1, 4, 4), (1, 4, 4), kernel_shape=[2, 2], pads=[2] * 4), "padding must be smaller than"),
        (single("Softmax", (2, 4, 4), (2, 4, 4)), r"must be over the last axis of \(N, K\)"),
        (single("Softmax", (8,), (8,)), "must come after a layer"),
        (single("Transpose", (2, 3, 4), (2, 4, 3), perm=[0, 1, 3, 2]), r"perm \[0, 1, 3, 2\] of shape \(N, 2, 3, 4\)"),
        (single("Transpose", (2, 3, 4), (2, 4, 3), perm=[1, 0, 3, 2]), "must order 4 axes with the batch first"),
        (single("Reshape", (2, 3), (5,), inputs=[np.array([0, 5])]), "must keep the batch and the number of values"),
        (single("Reshape", (2, 3), (6,), inputs=[np.array([7, -1])]), "must keep the batch as the first dimension"),
        (single("Reshape", (2, 3), (6,), inputs=[np.array([0, -1, -1])]), "one of which may be -1"),
        (
            single("Pad", (2, 3), (2, 3), inputs=[np.array([0, 0, -1, 0, 0, 0])]),
            "integers of at least 0, and 0 for the batch",
        ),
        (single("Pad", (2, 3), (3, 3), inputs=[np.array([0, 1, 0, 0, 0, 0]), np.float32(0.05)]), "represents exactly"),
        (single("Pad", (2, 3), (2, 4), inputs=[np.array([0, 0, 1, 0, 0, 0])], mode="edge"), "mode must be constant"),
        (
            single("Clip", (4,), (4,), inputs=[np.float32(3), np.float32(2)]),
            "the lower bound must not be above the upper bound 2.0, not 3.0",
        ),
        (single("Relu", (4,), (4,), out=(0.2, 3)), "from scale 0.100000001, zero point 3 to scale 0.2000"),
        (single("Concat", (4,), (4,)), r"Concat \(operator 1\) must have an axis"),
        (single("Identity", (4,), (4,)), "must have a layer between its input and its output"),
    ],
)
def test_single_operators_that_are_refused(data, message):
    with pytest.raises(ModelError, match=message):
        parse_onnx(data)


@pytest.mark.parametrize("kind", ["Conv", "Add"])
def test_float_results_must_be_quantised_before_they_are_read(kind):
    writer = Writer("QDQ", floats=False)
    x = writer.input((2, 4, 4), 0.1, 3)
    real = writer.node("Add", [writer.read(x), writer.read(x)])
    again = [real, writer.read(x)] if kind == "Add" else [real, *writer.weights(np.ones((1, 2, 1, 1), np.int8), 0.1, 0)]
    data = writer.write(writer.give(writer.node(kind, again), (2, 4, 4), (0.3, 0)))
    with pytest.raises(ModelError, match=r"reads the float result of Add \(operator 2\): a QuantizeLinear and a Deq"):
        parse_onnx(data)


def test_additions_without_equal_arithmetic_are_refused():
    """A sixth of a step, thousands of times: which way its ties go hangs on float32 noise."""
    writer = Writer("QLinear", floats=False)
    x = writer.input((2, 4, 4), 0.01, 3)
    data = writer.write(writer.add(x, x, (0.06, 5)))
    with pytest.raises(ModelError, match=r"QLinearAdd \(operator 0\) of scale 0.00999999978, .* rounding ties"):
        parse_onnx(data)


@pytest.mark.parametrize("data", [b"", b"\x08", b"GGUF" * 10, b"\xff" * 100, b"\x0a\x00"])
def test_what_is_not_a_model_is_refused(data):
    with pytest.raises(ModelError, match="is not an ONNX file"):
        parse_onnx(data)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        load_onnx(tmp_path / "none.onnx")


@settings(max_examples=120)
@given(randoms())
def test_damaged_files_are_one_clear_error_or_a_model(random):
    good, _ = random_model(random, FORMS[int(random.integers(2))])
    for change in (damage, distort, damage, distort):
        with contextlib.suppress(ModelError):
            assert parse_onnx(change(random, good)).network.inputs >= 1
