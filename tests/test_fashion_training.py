"""The file of the demonstration's network, and its arithmetic in whole numbers."""

import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from etchnet.host import fashion, fashion_training
from etchnet.sim.reference import requantise


@pytest.fixture(scope="module")
def layers():
    with resources.as_file(resources.files("etchnet.host.data").joinpath("fashion_network.npz")) as path:
        return fashion_training.load_layers(path)


def by_taps(layer, x):
    """A layer as its definition reads: one kernel tap at a time, in int64."""
    if layer.kind == "dense":
        weights, x = layer.weights[None, None], x.reshape(len(x), 1, 1, -1)
    else:
        weights = layer.weights
    x = np.pad(x.astype(np.int64) - layer.input_zero_point, ((0, 0), *layer.padding, (0, 0)))
    rows, columns = ((x.shape[1 + i] - weights.shape[i]) // layer.stride + 1 for i in range(2))
    sums = np.zeros((len(x), rows, columns, weights.shape[3]), np.int64) + layer.bias
    for ky, kx in np.ndindex(weights.shape[:2]):
        taps = x[:, ky :: layer.stride, kx :: layer.stride][:, :rows, :columns]
        sums += taps @ weights[ky, kx].astype(np.int64)
    shift = layer.shift.astype(int)
    return requantise(
        sums, layer.multiplier.astype(np.int64), np.maximum(shift, 0), np.maximum(-shift, 0),
        zero_point=layer.zero_point, low=layer.low, high=layer.high,
    ).astype(np.int8)  # fmt: skip


def test_the_network_is_right_about_most_held_out_images(layers):
    assert fashion_training.accuracy(layers, fashion.held_out()) > 0.9


def test_inference_is_what_the_layers_define(layers):
    images = fashion.held_out().images[:50]
    x = (images[..., None].astype(int) - 128).astype(np.int8)
    for layer in layers:
        x = by_taps(layer, x)
    assert np.array_equal(x[:, 0, 0], fashion_training.infer(layers, images, batch=20))


def test_the_file_holds_the_architecture(layers):
    assert [layer.kind for layer in layers] == [stage.kind for stage in fashion_training.ARCHITECTURE]
    assert [layer.weights.shape[-1] for layer in layers] == [s.channels for s in fashion_training.ARCHITECTURE]
    assert layers[0].padding == ((0, 1), (0, 1))
    assert layers[2].padding == ((1, 1), (1, 1))
    assert sum(fashion_training.stage_cycles(fashion_training.ARCHITECTURE)) <= 15_000


def test_files_are_read_as_they_were_written(layers, tmp_path):
    fashion_training.save_layers(tmp_path / "x.npz", layers)
    for old, new in zip(layers, fashion_training.load_layers(tmp_path / "x.npz"), strict=True):
        for field, value in vars(old).items():
            assert np.array_equal(value, getattr(new, field)), field


def test_training_without_pytorch_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = CliRunner().invoke(fashion_training._main, ["--data", str(Path("/nowhere"))])
    assert result.exit_code == 1
    assert "pip install 'etchnet[train]'" in result.output
    assert result.output.count("\n") == 1
