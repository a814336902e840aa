"""Other runtimes give the network's results before they are timed; a wrong one is refused."""

import numpy as np
import pytest
from test_model_commands import small_network

from etchnet.host import runtimes
from etchnet.host.layers import Conv, MaxPool
from etchnet.host.network import Dense, Network
from etchnet.sim.link import Disagreement

pytest.importorskip("tflite", reason="the package tflite is not installed")


def test_the_network_written_as_tflite_is_the_network():
    from etchnet.host.tflite import parse_tflite

    network = Network(
        [
            Dense.from_scale(np.eye(5, dtype=np.int8), 3, scale=0.5, zero_point=-128, low=-128),
            Dense.from_scale(np.full((5, 4), 9, np.int8), scale=0.25, input_zero_point=-128, low=0),
        ]
    )
    x = np.random.default_rng(0).integers(-128, 128, (9, 5)).astype(np.int8)
    model = parse_tflite(runtimes.to_tflite(network))
    assert np.array_equal(model.network.reference(x), network.reference(x))
    with pytest.raises(ValueError, match="layer 1 takes zero point 0, but -128 comes in"):
        runtimes.to_tflite(Network([network.layers[0], Dense.from_scale(np.eye(5, dtype=np.int8), scale=1)]))
    with pytest.raises(ValueError, match=r"layer 0 clamps to -3..5: only ReLU, ReLU6 and -1..1 can be written"):
        runtimes.to_tflite(Network([Dense.from_scale(np.eye(5, dtype=np.int8), scale=1, low=-3, high=5)]))


def test_convolutions_run_elsewhere():
    pytest.importorskip("ai_edge_litert", reason="ai_edge_litert is not installed")
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
    x = random.integers(-128, 128, (6, network.inputs)).astype(np.int8)
    expected = network.reference(x)
    found = list(runtimes.runtimes(network, lambda: runtimes.to_tflite(network, batch=6), x, expected))
    assert all("LiteRT" in runtime.name for runtime in found)
    assert found


@pytest.mark.parametrize("package", ["ai_edge_litert", "onnxruntime"])
def test_runtimes_are_right_before_they_are_timed(package):
    pytest.importorskip(package, reason=f"{package} is not installed")
    network = small_network()
    x = np.random.default_rng(1).integers(-128, 128, (16, network.inputs)).astype(np.int8)
    expected = network.reference(x)

    def data():
        return runtimes.to_tflite(network, batch=len(x))

    names = [runtime.name for runtime in runtimes.runtimes(network, data, x, expected)]
    assert any({"ai_edge_litert": "LiteRT", "onnxruntime": "ONNX Runtime"}[package] in name for name in names)
    with pytest.raises(Disagreement, match="gives other results"):
        list(runtimes.runtimes(network, data, x, expected.astype(int) + 5))
