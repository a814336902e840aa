"""Runtimes are timed only after their results were compared with the network's."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.needs import MODELS, needs_models
from support.networks import small_network

from etchnet.host.importers.load import load_model, plain_model
from etchnet.host.network.layers import Conv, Dense, MaxPool
from etchnet.host.network.model import InputPort, OutputPort, Quantisation
from etchnet.host.network.network import Network
from etchnet.host.network.order import UNCHANGED
from etchnet.host.network.steps import Dequantise, Quantise
from etchnet.host.reports import runtimes
from etchnet.host.reports.compare import default_inputs
from etchnet.host.reports.numpy_network import NumpyNetwork
from etchnet.sim.engines.link import Disagreement

pytest.importorskip("tflite", reason="the package tflite is not installed")


def test_a_network_exported_to_tflite_gives_its_results():
    from etchnet.host.importers.tflite.importer import parse_tflite

    network = Network(
        [
            Dense.from_scale(np.eye(5, dtype=np.int8), 3, scale=0.5, zero_point=-128, low=-128),
            Dense.from_scale(np.full((5, 4), 9, np.int8), scale=0.25, input_zero_point=-128, low=0),
        ]
    )
    x = np.random.default_rng(0).integers(-128, 128, (9, 5)).astype(np.int8)
    model = parse_tflite(runtimes.to_tflite(network))
    assert np.array_equal(model.network.reference(x), network.reference(x))
    with pytest.raises(ValueError, match="layer 1 reads zero point 0, but its input has -128"):
        runtimes.to_tflite(Network([network.layers[0], Dense.from_scale(np.eye(5, dtype=np.int8), scale=1)]))
    with pytest.raises(ValueError, match=r"layer 0 clamps to -3..5: TensorFlow Lite has only ReLU, ReLU6 and -1..1"):
        runtimes.to_tflite(Network([Dense.from_scale(np.eye(5, dtype=np.int8), scale=1, low=-3, high=5)]))


def test_convolutions_run_on_other_runtimes():
    pytest.importorskip("ai_edge_litert", reason="ai_edge_litert is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    random = np.random.default_rng(0)
    layers = [
        Conv.from_scale(
            random.integers(-128, 128, (3, 3, 2, 8)).astype(np.int8),
            9,
            scale=0.003,
            input_zero_point=-4,
            zero_point=-128,
        ),
        MaxPool((2, 2), (2, 2)),
        Dense.from_scale(random.integers(-128, 128, (32, 5)).astype(np.int8), scale=0.002, input_zero_point=-128),
    ]
    network = Network(layers, (6, 6, 2))
    x = random.integers(-128, 128, (6, network.input_size)).astype(np.int8)
    expected = network.reference(x)
    left_out = []
    found = list(runtimes.runtimes(plain_model("conv", network), x, [expected], left_out=left_out.append))
    assert {runtime.name.partition(",")[0] for runtime in found} == {"LiteRT", "ONNX Runtime"}
    assert left_out == []


@pytest.mark.parametrize("package", ["ai_edge_litert", "onnxruntime"])
def test_runtimes_are_checked_before_they_are_timed(package):
    pytest.importorskip(package, reason=f"{package} is not installed")
    network = small_network()
    x = np.random.default_rng(1).integers(-128, 128, (16, network.input_size)).astype(np.int8)
    expected = network.reference(x)
    model = plain_model("small", network)
    names = [runtime.name for runtime in runtimes.runtimes(model, x, [expected])]
    assert any({"ai_edge_litert": "LiteRT", "onnxruntime": "ONNX Runtime"}[package] in name for name in names)
    with pytest.raises(Disagreement, match="differ from the reference by"):
        list(runtimes.runtimes(model, x, [expected.astype(int) + 5]))


def test_a_model_that_no_runtime_supports_is_left_out_with_a_message():
    model = plain_model("sums", Network([Dense(np.eye(4, dtype=np.int8))]))
    x, left_out = np.ones((2, 4), np.int8), []
    assert list(runtimes.runtimes(model, x, [x.astype(np.int32)], left_out=left_out.append)) == []
    assert [line.split(" is left out: ")[0] for line in left_out] == ["LiteRT", "ONNX Runtime"]
    assert "layer 0 has an int32 result" in left_out[0]


def test_a_runtime_gets_the_models_own_file(monkeypatch):
    """The file has host steps, float inputs and outputs, and its own batch; its results must equal the model's."""
    given = []

    def fake(data, inputs, *, threads):
        given.append((data, inputs[0]))
        step = model.outputs[0].quantisation.scale
        return runtimes.Runtime("fake", lambda: [model.finish(expected) + np.float32(wrong * step)])

    monkeypatch.setattr(runtimes, "litert", fake)
    monkeypatch.setattr(runtimes, "onnx_runtime", fake)
    network = small_network()
    before, after = Quantisation(0.5, 3), Quantisation(0.25, 7)
    model = dataclasses.replace(
        plain_model("small", network),
        inputs=[InputPort("x", (3, 3), before, "float32", steps=(Quantise(before),))],
        outputs=[OutputPort("y", (6,), after, "float32", steps=(Dequantise(after),))],
        tflite_file=b"a",
        onnx_file=b"b",
    )
    x = np.arange(18, dtype=np.int8).reshape(2, 9)
    expected, wrong = network.reference(x), 0
    assert list(runtimes.runtimes(model, x, [expected]))
    assert {data for data, _ in given} == {b"a", b"b"}
    assert all(np.array_equal(values, (x.reshape(2, 3, 3) - np.float32(3)) / 2) for _, values in given)
    wrong = 1
    with pytest.raises(Disagreement, match=r"results of fake differ from the reference by 1.000 steps on average"):
        list(runtimes.runtimes(model, x, [expected]))


@pytest.mark.parametrize(
    ("got", "options", "right"),
    [
        ([1, 2, 3, 4], {}, True),
        ([1, 2, 3, 6], {}, True),
        ([1, 2, 3, 7], {}, False),
        ([11, 12, 13, 18], {}, False),
        ([5, 2, 3, 4], {"step": 10.0}, True),
        ([0, 2, 3, 4], {"indices": True}, False),
        ([1, 2, 3, 4], {"indices": True}, True),
        ([9, 9, 9, 10], {}, True),
        ([1, 2, 3], {}, False),
    ],
)
def test_results_close_to_an_accepted_array_are_correct(got, options, right):
    accepted = [np.array([[1, 2], [3, 4]]), np.array([[9, 9], [9, 9]])]
    if right:
        runtimes.check("it", np.array(got), accepted, **options)
    else:
        with pytest.raises(Disagreement, match="results of it "):
            runtimes.check("it", np.array(got), accepted, **options)


@needs_models
@pytest.mark.parametrize("name", ["autoencoder_ad", "dscnn_kws", "resnet8_cifar10"])
def test_public_model_files_run_on_litert(name):
    pytest.importorskip("ai_edge_litert", reason="ai_edge_litert is not installed")
    model = load_model(str(Path(MODELS) / f"{name}_int8.tflite"))
    assert model.tflite_file is not None
    for batch in (1, 3):
        x = default_inputs(model, batch)
        accepted = [model.network.reference(x), NumpyNetwork(model.network)(x)]
        names = [runtime.name for runtime in runtimes.runtimes(model, x, accepted)]
        assert "LiteRT, 1 thread" in names


def test_an_onnx_file_runs_on_onnx_runtime():
    """Inputs are float with channels first, as in the file."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from support.onnx_strategies import Writer, parse_onnx, random_conv

    random, writer = np.random.default_rng(5), Writer("QDQ", floats=True)
    x = writer.input((3, 6, 5), np.float32(0.1), -3)
    model = parse_onnx(writer.write(random_conv(writer, random, x)))
    assert model.inputs[0].order != UNCHANGED
    values = default_inputs(model, 4)
    assert np.array_equal(model.prepare(model.restore(values)), values)
    left_out = []
    accepted = [model.network.reference(values)]
    names = [r.name for r in runtimes.runtimes(model, values, accepted, left_out=left_out.append)]
    assert "ONNX Runtime, 1 thread" in names
    assert not any(line.startswith("ONNX") for line in left_out)
