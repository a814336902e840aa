"""Pictures as inputs: the order of their pixels for every shape of input, and the sizes that are refused."""

import numpy as np
import pytest

from etchnet.host.importers.pictures import read_picture
from etchnet.host.network.model import InputPort, ModelError, Quantisation
from etchnet.host.network.order import UNCHANGED, AxisOrder

image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
Q = Quantisation(1.0, -128)
FIRST = (2, 0, 1)


@pytest.mark.parametrize(
    ("shape", "order", "channels", "moved"),
    [
        ((4, 5, 3), UNCHANGED, 3, None),
        ((3, 4, 5), AxisOrder.of((3, 4, 5), (1, 2, 0)), 3, FIRST),
        ((3, 4, 5), UNCHANGED, 3, FIRST),
        ((4, 5, 1), UNCHANGED, 1, None),
        ((1, 4, 5), UNCHANGED, 1, None),
        ((4, 5), UNCHANGED, 1, None),
        ((20,), UNCHANGED, 1, None),
        ((1, 5, 3), UNCHANGED, 3, None),
    ],
)
def test_pixels_are_in_the_order_of_the_file(tmp_path, shape, order, channels, moved):
    height = 1 if shape == (1, 5, 3) else 4
    size = (height, 5, 3) if channels == 3 else (height, 5)
    pixels = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    image.fromarray(pixels).save(tmp_path / "x.png")
    port = InputPort("x", shape, Q, order=order)
    reals = read_picture(tmp_path / "x.png", port, (0, 255))
    assert np.array_equal(reals.reshape(shape), (pixels.transpose(moved) if moved else pixels).reshape(shape))
    stored = port.prepare(reals)
    if order.sizes:
        assert np.array_equal(stored.ravel(), pixels.astype(int).ravel() - 128)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 4, 3), "x.png is 5 pixels wide and 4 high; the model needs 4 wide and 5 high"),
        ((4, 5, 4), "x.png has 20 values; the model needs 80"),
        ((2, 2, 4, 5), "x.png has 20 values; the model needs 80"),
        ((7,), "x.png has 20 values; the model needs 7"),
    ],
)
def test_a_picture_of_another_size_is_refused(tmp_path, shape, message):
    image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(ModelError, match=message):
        read_picture(tmp_path / "x.png", InputPort("x", shape, Q), (0, 1))
