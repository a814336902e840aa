"""Arrangements of tensors in memory: which pixels of an image are side by side in one stored pixel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa.numbers import ceil_div

__all__ = ["Arrangement", "Axis"]


@dataclass(frozen=True)
class Axis:
    """One axis of an arrangement: stored line i holds the image lines `step` x i + offset, for each of `offsets`.

    Some of these may be outside the image; their values are then fillers. The same class describes columns.

    Attributes
    ----------
    count
        Stored lines.
    step
        Image lines from one stored line to the next.
    offsets
        The image line that each member of stored line 0 is.
    """

    count: int
    step: int = 1
    offsets: tuple[int, ...] = (0,)

    @classmethod
    def neighbours(cls, size: int, members: int, first: int = 0) -> Axis:
        """Return the axis on which each stored line holds `members` neighbouring lines of `size`, from `first` on."""
        return cls(ceil_div(size - first, members), members, tuple(range(first, first + members)))

    @classmethod
    def bands(cls, size: int, members: int) -> Axis:
        """Return the axis that cuts `size` lines into bands and lays line i of all bands side by side."""
        count = ceil_div(size, members)
        return cls(count, 1, tuple(range(0, count * members, count)))

    def lines(self) -> np.ndarray:
        """Return the image lines of each stored line: (count, members)."""
        return self.step * np.arange(self.count)[:, None] + np.array(self.offsets)

    def inside(self, member: int, size: int) -> tuple[int, int]:
        """Return the half-open range of stored lines in which a member is inside an image of `size` lines."""
        offset = self.offsets[member]
        first, stop = ceil_div(-offset, self.step), ceil_div(size - offset, self.step)
        return max(0, min(self.count, first)), max(0, min(self.count, stop))


@dataclass(frozen=True)
class Arrangement:
    """The image pixels that a stored pixel holds: those of its line members times those of its column members.

    Channel c of line member a and column member b is stored channel (a * column members + b) * channels + c.
    """

    y: Axis
    x: Axis

    @classmethod
    def plain(cls, height: int, width: int) -> Arrangement:
        """Return the arrangement in which stored pixels are those of the image."""
        return cls(Axis(height), Axis(width))

    @property
    def members(self) -> int:
        """Image pixels in a stored pixel."""
        return len(self.y.offsets) * len(self.x.offsets)

    def is_plain(self, size: Sequence[int]) -> bool:
        """Return whether stored pixels are those of an image of `size` (height, width)."""
        return self == Arrangement.plain(size[0], size[1])

    def shape(self, channels: int) -> tuple[int, int, int]:
        """Return the stored shape of a tensor of `channels`."""
        return self.y.count, self.x.count, self.members * channels

    def apply(self, images: np.ndarray, filler: int) -> np.ndarray:
        """Arrange int8 images (M, H, W, C) to int8 (M, H', W', C'), with `filler` for pixels outside the image."""
        (m, height, width, channels), ys, xs = images.shape, self.y.lines(), self.x.lines()
        found = images[:, ys.clip(0, height - 1)[:, :, None, None], xs.clip(0, width - 1)]
        outside = ((ys < 0) | (ys >= height))[:, :, None, None] | (xs < 0) | (xs >= width)
        found[:, outside] = filler
        return found.transpose(0, 1, 3, 2, 4, 5).reshape(m, *self.shape(channels))

    def image_pixel(self, pixel: int, size: Sequence[int]) -> int:
        """Return the first image pixel, inside an image of `size`, that a stored pixel holds.

        Both are counted over all images.
        """
        image, rest = divmod(pixel, self.y.count * self.x.count)
        lines, columns = self.y.lines()[rest // self.x.count], self.x.lines()[rest % self.x.count]
        y, x = _first_inside(lines, size[0]), _first_inside(columns, size[1])
        return (image * size[0] + y) * size[1] + x


def _first_inside(values: Iterable[int], size: int) -> int:
    return next((int(value) for value in values if 0 <= value < size), 0)
