"""ONNX files that are damaged, malicious, or use unsupported features: one clear error each."""

import contextlib
import sys
import tempfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from support.strategies import randoms

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
import onnx
from onnx import TensorProto, helper, numpy_helper
from support.onnx_runtime import same_formulas
from support.onnx_strategies import (
    CONTRIBUTED,
    FORMS,
    Writer,
    damage,
    distort,
    random_bytes,
    random_model,
)

from etchnet.host.importers.onnx.importer import load_onnx, parse_onnx
from etchnet.host.network.model import ModelError

pytestmark = same_formulas


def changed(change, form="QDQ", floats=True):
    """Return a model of a convolution and a matrix, changed as protobuf."""
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
    """Replace the constant that an operator reads, directly or through a DequantizeLinear."""

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


def relu_behind(model):
    conv = node_of(model, "Conv")
    reader = next(n for n in model.graph.node if conv.output[0] in n.input)
    index = list(model.graph.node).index(reader)
    model.graph.node.insert(index, helper.make_node("Clip", [conv.output[0], "", "top"], ["clipped"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), "top"))
    reader.input[0] = "clipped"


def huge_border(model):
    """Put a border around the input that makes it larger than any memory."""
    pads = np.array([0, 0, 0, 0, 0, 0, 1 << 20, 1 << 20])
    model.graph.initializer.append(numpy_helper.from_array(pads, "pads"))
    model.graph.node.insert(0, helper.make_node("Pad", ["x", "pads"], ["padded"]))
    reader = next(node for node in model.graph.node if "x" in node.input and node.op_type != "Pad")
    reader.input[list(reader.input).index("x")] = "padded"


FLOAT = r"Conv \(conv\d+\): ONNX Runtime computes it in float32, not on int8\. For int8, each of its operands must"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename("Flatten", "Mystery"), r"Mystery \(flatten\d+\) is not supported: .*; supported are Abs, .*, Conv, "),
        (lambda m: setattr(node_of(m, "Conv"), "domain", "custom"), r"Conv \(conv\d+\) is of the domain 'custom'"),
        (external, "the constant 's1' is in another file; a model must be one file"),
        (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "two constants have the same name"),
        (lambda m: m.graph.ClearField("node"), "is not an ONNX file, or has no operators"),
        (lambda m: m.graph.sparse_initializer.add(), "sparse constants"),
        (lambda m: m.functions.add(), "has functions of its own, which are not supported: inline them"),
        (lambda m: node_of(m, "Conv").attribute.add(name="then", type=5), "must be a number, text, a tensor or a list"),
        (dimension(2, "height"), "the input 'x': dimension 2 must be known, not 'height': only the batch may be open"),
        (dimension(2, None), "the input 'x': dimension 2 must be known"),
        (dimension(1, -2), "the input 'x': dimension 1 must be known, not -2"),
        (dimension(0, -3), "the input 'x': the batch must be from 1 to 4096, not -3"),
        (dimension(3, 1 << 40), "the input 'x' must have at most 16777216 values per image"),
        (huge_border, r"'padded' must have at most 134217728 values, not shape \(2, 1048580, 1048580\)"),
        (attribute("Conv", group=2), r"weights of shape \(3, 2, 3, 3\) in 2 groups do not fit 2 channels"),
        (attribute("Gemm", transA=1), r"QGemm \(gemm\d+\): transA must be 0"),
        (constant("Conv", 2, np.zeros(4, np.int32)), r"the bias must have 3 values, not shape \(4,\)"),
        # What ONNX Runtime leaves in float32
        (attribute("Gemm", alpha=2.0), r"Gemm \(gemm\d+\): ONNX Runtime computes it in float32"),
        (constant("Conv", 1, np.full(3, np.nan, np.float32), producer=1), FLOAT),
        (constant("Conv", 1, np.full(3, 1e30, np.float32), producer=1), FLOAT),
        (constant("Conv", 2, np.full(3, 0.1, np.float32), producer=1), FLOAT),
        (unquantised_end, FLOAT),
        (relu_behind, r"FusedConv \(conv\d+\): ONNX Runtime computes it in float32"),
        # What ONNX Runtime refuses, in its words and in one line
        (lambda m: setattr(m.opset_import[0], "version", 9), "ONNX Runtime does not load it: .* No Op registered"),
        (lambda m: setattr(m.opset_import[0], "version", 99), "does not load it: ONNX Runtime only .* Opset 99 is"),
        (cyclic, "ONNX Runtime does not load it: .* the graph is not acyclic"),
        (lambda m: m.graph.initializer.remove(m.graph.initializer[0]), "Node input 's1' is not a graph input"),
        (twice, "ONNX Runtime does not load it: .* two nodes with same node name"),
        (
            attribute("Conv", strides=[0, 1]),
            r"Node \(conv\d+\) Op \(Conv\) .* strides must only contain",
        ),
        (attribute("Conv", strides=[1]), "strides has incorrect size"),
        (attribute("Conv", auto_pad="SAME"), "Unknown AutoPadType String"),
        (rename("Flatten", "Relu"), "Input 0 expected to have rank 2 but has rank 4"),
    ],
)
def test_unsupported_features_are_named(change, message):
    with pytest.raises(ModelError, match=message) as error:
        parse_onnx(changed(change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (constant("QLinearConv", 4, np.full(2, 0.1, np.float32)), "weights must have 1 or 3 scales, not 2"),
        (constant("QLinearConv", 4, np.float32([1, np.inf, 1])), "scales must be finite and not negative, not inf"),
        (constant("QLinearConv", 4, np.float32([1, -2, 1])), "scales must be finite and not negative, not -2.0"),
        (constant("QLinearConv", 8, np.zeros(5, np.int32)), "the bias must have 3 values, not shape"),
        (constant("QGemm", 4, np.float64(1)), "ONNX Runtime does not load it: .*double"),
        (constant("QLinearConv", 1, np.float32(0)), "scales must be positive, finite and not subnormal, not 0.0"),
        (constant("QLinearConv", 6, np.float32(1e-39)), "scales must be positive, finite and not subnormal, not 1"),
        (attribute("QGemm", alpha=-1.0), "alpha must be positive, not -1"),
    ],
)
def test_unsupported_features_of_qoperator_files_are_named(change, message):
    with pytest.raises(ModelError, match=message):
        parse_onnx(changed(change, form="QLinear", floats=False))


def single(kind, shape, result, **attributes):
    writer = Writer("QDQ", floats=False)
    inputs = attributes.pop("inputs", ())
    x = writer.input(shape, 0.1, 3)
    names = [writer.constant(value) for value in inputs]
    out = attributes.pop("out", (0.1, 3))
    last = attributes.pop("then", True)
    y = writer.give(writer.node(kind, [writer.read(x), *names], **attributes), result, out)
    ones = np.ones((result[0], 1) if len(result) == 1 else (1, result[0], *[1] * (len(result) - 1)), np.int8)
    if last:
        y = (
            writer.gemm(y, ones, 0.1, None, (0.3, 0))
            if len(result) == 1
            else writer.conv(y, ones, 0.1, None, (1, 0), ())
        )
    return writer.write(y)


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
        (single("MaxPool", (1, 4, 4), (1, 2, 2), kernel_shape=[2, 2], dilations=[2, 2]), "dilations must be 1"),
        (single("Softmax", (8,), (8,)), r"QLinearSoftmax \(softmax\d+\) is supported only as one of the last"),
        (single("ReduceMean", (2, 4, 4), (2, 1, 1), axes=[2, 3]), r"ReduceMean \(\w+\) is computed by .* in float32"),
        (single("Pad", (2, 3), (3, 3), inputs=[np.array([0, 1, 0, 0, 0, 0]), np.float32(0.05)]), "represents exactly"),
        (
            single("Gather", (4,), (2,), inputs=[np.array([3, 4])], axis=1),
            "indices must be some from -4 to 3",
        ),
        (single("Sqrt", (4,), (4,)), "no integer arithmetic of the machine reproduces what ONNX Runtime makes of each"),
        (single("Transpose", (2, 3, 4), (4, 3, 2), perm=[1, 0, 2, 3], then=False), "Transpose must keep the batch"),
    ],
)
def test_single_operators_that_are_refused(data, message):
    with pytest.raises(ModelError, match=message):
        parse_onnx(data)


def test_additions_without_equal_arithmetic_are_refused():
    """With a sixth of a step there are thousands of ties, and float32 noise decides them."""
    writer = Writer("QLinear", floats=False)
    x = writer.input((2, 4, 4), 0.01, 3)
    data = writer.write(writer.add(x, writer.same("MaxPool", x, x.shape, kernel_shape=[1, 1]), (0.06, 5)))
    with pytest.raises(ModelError, match=r"QLinearAdd \(qlinearadd\d+\) of scale 0.00999999978, .* rounding ties"):
        parse_onnx(data)


@pytest.mark.parametrize("form", FORMS)
def test_products_of_two_results_are_refused(form):
    writer = Writer(form, floats=False)
    x = writer.input((2, 4, 4), 0.01, 3)
    a, b = (writer.conv(x, np.full((2, 2, 1, 1), n, np.int8), 0.1, None, (0.05, 3), x.shape) for n in (1, 2))
    if form == "QDQ":
        y = writer.give(writer.node("Mul", [writer.read(a), writer.read(b)]), x.shape, (0.1, 3))
    else:
        names = [*writer.full(a), *writer.full(b), *writer.pair(0.1, 3)]
        y = replace(a, name=writer.node("QLinearMul", names, CONTRIBUTED))
    data = writer.write(writer.conv(y, np.ones((2, 2, 1, 1), np.int8), 0.1, None, (0.05, 3), x.shape))
    with pytest.raises(ModelError, match=r"QLinearMul \(\w+\) has several operands that are not constant"):
        parse_onnx(data)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_one_clear_error(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ModelError, match=rf"reading .onnx files needs the package {package}: pip install 'etchnet\[onnx\]'"
    ):
        parse_onnx(changed(lambda m: None))


def test_nothing_is_left_behind_and_nothing_is_printed(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parse_onnx(changed(lambda m: None))
    with pytest.raises(ModelError):
        parse_onnx(changed(cyclic))
    with pytest.raises(ModelError, match="UTF-8"):
        parse_onnx(changed(lambda m: None).replace(b"quantizelinear3", b"quantizelinear\xff"))
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("data", [b"", b"\x08", b"GGUF" * 10, b"\xff" * 100, b"\x0a\x00"])
def test_files_that_are_no_models_are_refused(data):
    with pytest.raises(ModelError, match="is not an ONNX file"):
        parse_onnx(data)


@pytest.mark.parametrize(
    "message", [lambda m: node_of(m, "Conv"), lambda m: m.graph.input[0], lambda m: m.graph.output[0]]
)
def test_names_that_are_not_text_are_refused(message):
    data = changed(lambda model: setattr(message(model), "name", "four")).replace(b"four", b"fo\xffr")
    with pytest.raises(ModelError, match=r"the name b'fo\\xffr' is not UTF-8"):
        parse_onnx(data)


def test_missing_files(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        load_onnx(tmp_path / "none.onnx")


@settings(max_examples=120)
@given(randoms())
def test_damaged_files_are_one_clear_error_or_a_model(random):
    good, _ = random_model(random, FORMS[int(random.integers(2))])
    for change in (damage, distort, damage, distort):
        with contextlib.suppress(ModelError):
            assert parse_onnx(change(random, good)).network.input_size >= 1
