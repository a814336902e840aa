"""The demonstration's network, its images and its speed on this CPU."""

import numpy as np
import pytest

from etchnet.host.data import fashion
from etchnet.host.demo import demo
from etchnet.host.demo.terminal_picture import side_by_side, sketch
from etchnet.host.reports.numpy_network import NumpyNetwork


def test_package_data_are_small():
    from importlib import resources

    for name in ("fashion_network.npz", "fashion_held_out.npz"):
        assert len(resources.files("etchnet.host.data").joinpath(name).read_bytes()) < 300_000


def test_the_network_classifies_most_held_out_images_correctly():
    split = fashion.held_out()
    assert len(split.labels) >= 300
    scores = fashion.network().reference(fashion.quantise_image(split.images))
    assert (scores.argmax(axis=1) == split.labels).mean() > 0.88


def test_numpy_in_float32_gives_nearly_the_same_scores():
    """Scores differ from the reference by at most one."""
    x = fashion.quantise_image(fashion.held_out().images)
    network = fashion.network()
    difference = NumpyNetwork(network)(x).astype(int) - network.reference(x)
    assert np.abs(difference).max() <= 1
    assert (difference == 0).mean() > 0.95


def test_the_convolution_on_the_rtl_covers_every_border(monkeypatch):
    """Its windows extend beyond every side of the image, and it runs on both engines."""
    ran = []
    original = demo.Accelerator.load

    def load(self, network, **options):
        ran.append((self.engine.name, network))
        return original(self, network, **options)

    monkeypatch.setattr(demo.Accelerator, "load", load)
    check = demo.check_on_rtl(fashion.held_out())
    (first, network), (second, other) = ran
    assert (first, second, check.equal) == ("exact", "amaranth", True)
    assert np.array_equal(network.layers[0].weights, other.layers[0].weights)
    (layer,) = network.layers
    assert layer.padding == ((1, 1), (1, 1))
    assert (layer.kernel, network.input_shape, network.output_shape) == (check.kernel, (7, 7, 8), (7, 7, 8))
    assert 100 < check.cycles < 1000


def test_a_difference_on_the_rtl_is_detected(monkeypatch):
    original = demo.Accelerator.run

    def run(self, x):
        return original(self, x) ^ (self.engine.name == "amaranth")

    monkeypatch.setattr(demo.Accelerator, "run", run)
    assert not demo.check_on_rtl(fashion.held_out()).equal


def test_images_keep_their_values():
    images = np.array([[[0, 1], [128, 255]]], np.uint8)
    assert fashion.quantise_image(images).tolist() == [[-128, -127, 0, 127]]


@pytest.mark.parametrize("unicode", [True, False])
def test_sketches_show_light_and_dark(unicode):
    image = np.array([[0, 255], [0, 255], [255, 0], [255, 0]], np.uint8)
    first, second = sketch(image, unicode=unicode)
    assert first == second[::-1]
    assert first[0] == " "
    assert first[1] in "█#"
    assert len(sketch(image[:3], unicode=unicode)) == 2


def test_pictures_are_arranged_side_by_side():
    lines = side_by_side([["ab", "cd"], ["ef", "gh"]], ["one", "two"], gap=1)
    assert lines == ["ab  ef", "cd  gh", "one two"]
