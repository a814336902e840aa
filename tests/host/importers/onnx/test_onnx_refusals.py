"""ONNX files that are damaged, malicious, or use unsupported features: one clear error each."""

import contextlib

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
        (attribute("Gemm", alpha=2.0), "alpha and beta must be 1: with other values, ONNX Runtime computes in float"),
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
def test_unsupported_features_are_named(change, message):
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
def test_unsupported_features_of_qoperator_files_are_named(change, message):
    data = changed(change, form="QLinear", floats=False)
    with pytest.raises(ModelError, match=message) if message else contextlib.nullcontext():
        assert parse_onnx(data).network.input_size == 32


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
    """With a sixth of a step there are thousands of ties, and float32 noise decides them."""
    writer = Writer("QLinear", floats=False)
    x = writer.input((2, 4, 4), 0.01, 3)
    data = writer.write(writer.add(x, x, (0.06, 5)))
    with pytest.raises(ModelError, match=r"QLinearAdd \(operator 0\) of scale 0.00999999978, .* rounding ties"):
        parse_onnx(data)


@pytest.mark.parametrize("data", [b"", b"\x08", b"GGUF" * 10, b"\xff" * 100, b"\x0a\x00"])
def test_files_that_are_no_models_are_refused(data):
    with pytest.raises(ModelError, match="is not an ONNX file"):
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
