"""Whole ONNX models against ONNX Runtime, byte for byte."""

import numpy as np
import pytest
from hypothesis import given, settings
from support.command_line import error, run

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
import onnx
from onnx import TensorProto, helper, numpy_helper
from support.onnx_runtime import agree, same_formulas, theirs
from support.onnx_strategies import (
    begin,
    onnx_models,
    random_bytes,
    random_conv,
)

from etchnet.host.importers.load import load_input, load_model
from etchnet.host.network.layers import Add, Conv, Dense, Depthwise, MaxPool

pytestmark = same_formulas


@settings(max_examples=150)
@given(onnx_models())
def test_random_models(model):
    agree(*model)


@pytest.mark.campaign
@settings(max_examples=3000)
@given(onnx_models())
def test_campaign_of_random_models(model):
    agree(*model)


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """Return a small float network, quantised by ONNX Runtime in every form and with every option: {name: path}."""
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
    assert "output float32 (2, 6)" in out
    assert np.array_equal(np.load(tmp_path / "y.npy"), theirs(path.read_bytes(), x))
    double = tmp_path / "double.toml"
    double.write_text('contract = "tflite-double"')
    message = error(capsys, "report", str(path), "--config", str(double))
    assert message == "the machine must have the network's contract, onnx-float, not tflite-double"


def test_files_of_inputs_have_the_shape_of_the_model_file(tmp_path):
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
    expected = model.inputs[0].quantisation.quantise(pixels).reshape(1, -1)
    assert np.array_equal(load_input(tmp_path / "x.png", model, limits=(0, 1)), expected)
