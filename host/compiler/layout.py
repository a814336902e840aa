"""The layout of a tensor in a memory of the machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.network.layers import Shape

__all__ = ["TensorLayout", "channel_positions", "words_per_pixel"]


def words_per_pixel(channels: int, config: Config, *, wide: bool = False) -> int:
    """Return the number of memory words in which the output stage stores `channels` results of one pixel."""
    tiles = ceil_div(channels, config.columns)
    if wide:
        return tiles * config.words_per_pixel(wide=True)
    return ceil_div(tiles, config.tiles_per_word) * config.words_per_pixel()


def channel_positions(channels: int, config: Config) -> np.ndarray:
    """Return the position of each int8 channel of a pixel as the output stage stores it: word * rows + lane."""
    channel = np.arange(channels)
    if config.tiles_per_word > 1:
        return channel
    tile, column = channel // config.columns, channel % config.columns
    return tile * config.words_per_pixel() * config.rows + column


@dataclass(frozen=True, eq=False)
class TensorLayout:
    """A tensor in a memory: image after image, pixel after pixel, `words` memory words for each pixel.

    Attributes
    ----------
    shape
        (height, width, channels).
    images
        Number of images.
    words
        Memory words per pixel.
    channels
        The position of each channel in a pixel: word * rows + lane.
    base
        Address of the first word.
    wide
        Whether values are int32; `channels` is then empty.
    """

    shape: Shape
    images: int
    words: int
    channels: np.ndarray
    base: int = 0
    wide: bool = False

    @classmethod
    def packed(cls, shape: Shape, images: int, config: Config) -> TensorLayout:
        """Return the layout in which the host packs inputs: `rows` channels per word."""
        return cls(shape, images, ceil_div(shape[2], config.rows), np.arange(shape[2]))

    @classmethod
    def written(cls, shape: Shape, images: int, config: Config, *, wide: bool = False) -> TensorLayout:
        """Return the layout in which the output stage stores results; `wide` is whether they are int32."""
        positions = np.zeros(0, np.int64) if wide else channel_positions(shape[2], config)
        return cls(shape, images, words_per_pixel(shape[2], config, wide=wide), positions, wide=wide)

    @property
    def pixels(self) -> int:
        """Pixels of one image."""
        return self.shape[0] * self.shape[1]

    @property
    def size(self) -> int:
        """Words of all images."""
        return self.images * self.pixels * self.words

    def address(self, image: int, y: int, x: int, word: int = 0) -> int:
        """Return the address of a word of pixel (y, x), which may be outside the image.

        Lines and images are contiguous: an x beyond the end of a line gives an address in the next line.
        """
        return self.base + ((image * self.shape[0] + y) * self.shape[1] + x) * self.words + word
