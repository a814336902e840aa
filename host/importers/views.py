"""Views: which image (y, x, channel) the machine may read a tensor as, so that some axes of the file stay separate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from etchnet.host.network.layers import Shape
from etchnet.host.network.order import AxisOrder

__all__ = ["Grouping", "best_grouping", "common_axes"]


class Grouping(NamedTuple):
    """Axes of a file's tensors in the order in which they are stored, as three groups that form an image."""

    groups: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    def image(self, shape: Sequence[int]) -> Shape:
        """Return (height, width, channels) of a tensor of `shape`."""
        height, width, channels = (math.prod(shape[axis] for axis in group) for group in self.groups)
        return height, width, channels


def common_axes(
    orders: Sequence[AxisOrder], shapes: Sequence[Sequence[int]], preferred: Sequence[int]
) -> tuple[int, ...] | None:
    """Return one order of axes, slowest first, in which tensors of all `shapes` are stored, or None.

    `preferred` is returned if it is such an order; axes of size 1 would otherwise come first.
    """
    found = [order.of_axes(shape) for order, shape in zip(orders, shapes, strict=True)]
    for axes in (tuple(preferred), *found):
        if axes is not None and all(AxisOrder.of(s, axes) == o for o, s in zip(orders, shapes, strict=True)):
            return axes
    return None


def best_grouping(
    axes: Sequence[int],
    shapes: Sequence[Sequence[int]],
    images: Sequence[Shape],
    separate: Collection[int],
    *,
    joined: bool,
    mixed: bool,
) -> Grouping | None:
    """Return the grouping of `axes` that fewest tensors have to be reshaped for, or None if there is none.

    Parameters
    ----------
    shapes, images
        For each tensor its shape in the file, and the image as which it is stored now.
    separate
        Axes that share no group with others, except with others of size 1 in all tensors.
    joined
        Whether axes of `separate` may share a group with each other.
    mixed
        Whether the channels may be any axes, if there is no other grouping.
    """
    long = {axis for axis in axes if any(shape[axis] != 1 for shape in shapes)}

    def unfit(group: Sequence[int]) -> bool:
        """Return whether a group has axes of `separate` and others that may not be with them."""
        wanted = [axis for axis in group if axis in separate and (axis in long or not mixed)]
        others = [axis for axis in group if axis in long and axis not in separate]
        return bool(wanted) and (bool(others) or (len(wanted) > 1 and not joined))

    best: tuple[tuple[bool, int], Grouping] | None = None
    for first, second in itertools.combinations_with_replacement(range(len(axes) + 1), 2):
        found = Grouping((tuple(axes[:first]), tuple(axes[first:second]), tuple(axes[second:])))
        lines, columns, channels = map(unfit, found.groups)
        if lines or columns or (channels and not mixed):
            continue
        moved = sum(found.image(shape) != image for shape, image in zip(shapes, images, strict=True))
        if best is None or (channels, moved) < best[0]:
            best = (channels, moved), found
    return None if best is None else best[1]
