"""im2col on the host: lays neighbouring pixels, or the taps of a first layer, side by side, so that they fill words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from etchnet.host.compiler.arrangement import Arrangement, Axis
from etchnet.host.network.layers import Conv, Depthwise, Shape
from etchnet.host.network.network import INPUT

__all__ = ["PACKINGS", "Im2col", "im2col_variants"]

PACKINGS = {
    "none": "as it is",
    "row": "with the taps of each kernel row side by side",
    "whole": "with all taps side by side",
    "block": "with neighbouring pixels side by side",
}
"""names of the ways of unfolding, and how the input is then sent; of equally fast ones, the first is taken"""


@dataclass(frozen=True)
class Im2col:
    """How the host unfolds an input.

    Attributes
    ----------
    name
        One of `PACKINGS`.
    source
        The input, by its number in `Network.sources`.
    shape
        The shape (height, width, channels) in which the input is read; reshapes may precede its reader.
    arrangement
        The pixels that are sent side by side; None for `none`.
    filler
        The value of pixels outside the image.
    """

    name: str = "none"
    source: int = INPUT
    shape: Shape = (0, 0, 0)
    arrangement: Arrangement | None = None
    filler: int = 0

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Unfold the input `source`, int8 (M, ...), to int8 (M, H', W', C')."""
        if self.arrangement is None:
            return x
        return self.arrangement.apply(x.reshape(len(x), *self.shape), self.filler)


def _axes(size: int, result: Axis, stride: int, taps: range, rows: int) -> Iterator[tuple[str, Axis]]:
    """Yield the ways to send one axis of `size` lines to a layer whose result has an axis `result`.

    Neighbours are shared by overlapping windows if their number divides the distance between windows.
    """
    needs = sorted({stride * offset + tap for offset in result.offsets for tap in taps})
    moved = stride * result.step
    yield "none", Axis(size)
    end = min(size, needs[-1] + moved * (result.count - 1) + 1)
    for members in range(2, min(moved, rows, len(needs) - 1) + 1):
        if moved % members == 0:
            # The first need is the first member of a stored line.
            yield "block", Axis.neighbours(end, members, needs[0] % -members)
    if len(needs) > 1:
        yield "whole", Axis(result.count, moved, tuple(needs))


def im2col_variants(layer: Conv | Depthwise, source: int, shape: Shape, result: Arrangement, rows: int) -> list[Im2col]:
    """Return the ways of unfolding an input for the layer that reads it, `none` being the first.

    Parameters
    ----------
    source, shape
        The input, and its shape.
    result
        The arrangement of the layer's result.
    rows
        Channels of a memory word. An input whose pixels fill words is only sent as it is.
    """
    found = [Im2col()]
    if shape[2] >= rows:
        return found
    taps = [
        range(-layer.padding[axis][0], layer.dilation[axis] * (layer.kernel[axis] - 1) + 1 - layer.padding[axis][0])[
            :: layer.dilation[axis]
        ]
        for axis in (0, 1)
    ]
    axes = [
        list(_axes(shape[axis], to, layer.stride[axis], taps[axis], rows))
        for axis, to in enumerate((result.y, result.x))
    ]
    # An axis with one tap is whole as it is.
    whole = [{"whole"} if len(options) > 1 else {"none"} for options in axes]
    for (y_name, y), (x_name, x) in itertools.product(*axes):
        if y_name == x_name == "none":
            continue
        names = []
        if x_name == "whole":
            names.append("row")
        if y_name in whole[0] and x_name in whole[1]:
            names.append("whole")
        # With a single line of taps, one way has both names.
        if names == ["row", "whole"] and len(axes[0]) > 1:
            names = ["whole"]
        found += [Im2col(name, source, shape, Arrangement(y, x), layer.input_zero_point) for name in names or ["block"]]
    return found
