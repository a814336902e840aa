"""Layouts of tensors in memory, against numpy arrays of memory words."""

import numpy as np
import pytest

from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.layout import TensorLayout, channel_positions, words_per_pixel


@pytest.mark.parametrize(
    ("rows", "columns", "channels", "words"),
    [
        (8, 8, 8, 1),
        (8, 8, 9, 2),
        (8, 4, 8, 1),
        (8, 4, 9, 2),
        (8, 3, 3, 1),
        (8, 3, 4, 2),
        (8, 12, 12, 2),
        (8, 12, 13, 4),
    ],
)
def test_results_take_whole_column_tiles(rows, columns, channels, words):
    """A tile of 12 columns needs two words of 8; words of 8 hold two tiles of 4 columns, but only one of 3."""
    config = Config(rows=rows, columns=columns, depthwise=0, residual_words=0)
    assert words_per_pixel(channels, config) == words
    positions = channel_positions(channels, config)
    assert len(set(positions.tolist())) == channels
    assert positions.max() < words * rows
    assert (np.diff(positions) > 0).all()


def test_int32_results_take_four_times_the_lanes():
    config = Config(rows=8, columns=8)
    assert words_per_pixel(8, config, wide=True) == 4
    assert words_per_pixel(9, config, wide=True) == 8


def test_addresses_follow_images_lines_and_pixels():
    layout = TensorLayout.packed((3, 4, 20), 2, Config(rows=8, columns=8))
    assert (layout.words, layout.pixels, layout.size) == (3, 12, 72)
    words = np.arange(72).reshape(2, 3, 4, 3)
    for image, y, x, word in np.ndindex(words.shape):
        assert layout.address(image, y, x, word) == words[image, y, x, word]


def test_addresses_outside_the_image_continue_its_lines():
    layout = TensorLayout.packed((3, 4, 8), 1, Config(rows=8, columns=8))
    assert layout.address(0, -1, 0) == -4
    assert layout.address(0, 0, -1) == -1
    assert layout.address(0, 1, 4) == layout.address(0, 2, 0)
