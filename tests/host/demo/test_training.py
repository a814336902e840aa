"""Training exports an int8 network of the architecture that computes the trained function."""

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.compile import compile_network
from etchnet.host.data import fashion
from etchnet.host.demo import training
from etchnet.host.demo.architecture import ARCHITECTURE, Stage, accuracy
from etchnet.host.demo.float_training import build
from etchnet.host.demo.quantisation import SimulatedNetwork
from etchnet.host.network.layers import Conv, Dense
from etchnet.sim.arithmetic.reference import requantise


def by_taps(network, images):
    """Compute the network from its definition, in integers and one kernel tap at a time."""
    x = images[..., None].astype(np.int64) - 128
    for layer in network.layers:
        weights = layer.weights if isinstance(layer, Conv) else layer.weights.reshape(*x.shape[1:], -1)
        padding, stride = (layer.padding, layer.stride) if isinstance(layer, Conv) else (((0, 0), (0, 0)), (1, 1))
        x = np.pad(x - layer.input_zero_point, ((0, 0), *padding, (0, 0)))
        rows, columns = ((x.shape[1 + i] - weights.shape[i]) // stride[i] + 1 for i in range(2))
        sums = np.zeros((len(x), rows, columns, weights.shape[3]), np.int64) + layer.bias
        for ky, kx in np.ndindex(weights.shape[:2]):
            taps = x[:, ky :: stride[0], kx :: stride[1]][:, :rows, :columns]
            sums += taps @ weights[ky, kx].astype(np.int64)
        left, right = np.maximum(layer.shift, 0), np.maximum(-layer.shift, 0)
        x = requantise(sums, layer.multiplier, left, right, zero_point=layer.zero_point, low=layer.low, high=layer.high)
    return x.reshape(len(x), -1)


def test_the_network_computes_the_definition_of_its_parameters():
    images = fashion.held_out().images[:50]
    got = fashion.network().reference(fashion.quantise_image(images))
    assert np.array_equal(got, by_taps(fashion.network(), images))


def test_accuracy_counts_the_first_highest_score():
    split = fashion.held_out()
    right = by_taps(fashion.network(), split.images).argmax(axis=1) == split.labels
    assert accuracy(fashion.network(), split, batch=150) == pytest.approx(right.mean())
    assert right.mean() > 0.9


def test_the_file_contains_the_architecture():
    network, stages = fashion.network(), ARCHITECTURE
    assert [type(layer) for layer in network.layers] == [{"conv": Conv, "dense": Dense}[s.kind] for s in stages]
    assert [layer.channels for layer in network.layers] == [s.channels for s in stages]
    assert network.input_shape == (28, 28, 1)
    assert network.layers[0].padding == ((0, 1), (0, 1))
    assert network.layers[2].padding == ((1, 1), (1, 1))
    assert compile_network(network, Config()).counts()[Counter.CYCLES] <= 15_000


def test_the_int8_network_equals_the_simulated_one():
    """Without training, the scores of the int8 network equal those of the simulated network, which rounds alike."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    stages = (
        Stage("conv", 5, kernel=3, stride=2),
        Stage("conv", 6, kernel=3),
        Stage("dense", 10),
    )
    net = build(stages, 0.0).eval()
    images = fashion.held_out().images[:40]
    simulated = SimulatedNetwork(stages, net)
    simulated.calibrate(images)
    network = simulated.export()
    with torch.no_grad():
        wanted = simulated(torch.from_numpy(images[:, None].astype(np.float32) / 255)).numpy()
    smallest, largest = simulated.score_range
    scale = (largest - smallest) / 255
    scores = network.reference(fashion.quantise_image(images)).astype(float)
    difference = (scores - network.layers[-1].zero_point) - wanted / scale
    assert np.abs(difference).max() < 1.5
    assert np.abs(difference).mean() < 0.4


def test_training_without_pytorch_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = CliRunner().invoke(training._main, ["--data", str(Path("/nowhere"))])
    assert result.exit_code == 1
    assert "pip install 'etchnet[train]'" in result.output
    assert result.output.count("\n") == 1
