"""The values of a model that is being built: what importers pass from operator to operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from etchnet.host.importers.views import Grouping
from etchnet.host.network.layers import NetworkError, Shape
from etchnet.host.network.model import ModelError, Quantisation, Step
from etchnet.host.network.order import UNCHANGED, AxisOrder

__all__ = ["Value", "View", "image_shape", "make_layer", "make_step"]


def image_shape(shape: Sequence[int]) -> Shape | None:
    """Return a tensor's shape, without the batch, as an image (height, width, channels); None for ranks above 3 or 0.

    (K,) is one pixel, (W, C) is one line of pixels.
    """
    if not 1 <= len(shape) <= 3:
        return None
    padded = (1, 1, *shape)[-3:]
    return padded[0], padded[1], padded[2]


Made = TypeVar("Made")


def make_layer(where: str, make: Callable[..., Made], *arguments: Any, **options: Any) -> Made:
    """Make a layer, or compute a shape; a NetworkError becomes a ModelError that names the operator, `where`."""
    try:
        return make(*arguments, **options)
    except NetworkError as error:
        raise ModelError(f"{where}: {error}") from None


def make_step(where: str, make: Callable[..., Made], *arguments: Any, **options: Any) -> Made:
    """Make a step of the host; a ValueError becomes a ModelError that names the operator, `where`."""
    try:
        return make(*arguments, **options)
    except ValueError as error:
        raise ModelError(f"{where}: {error}") from None


@dataclass(frozen=True)
class Value:
    """A tensor of the model that is being built.

    Attributes
    ----------
    name
        Name in the file.
    node
        The layer whose result holds its values, or -1 - k for input k.
    shape
        Shape in the file, without the batch.
    quantisation
        Its scale and zero point; for float32, those of the int8 values that were dequantised.
    order
        The order in which the layer's result, or the file's input, has the values. See `GraphBuilder.order_of`.
    steps
        Computations on the host after the layer, on values in the file's order.
    dtype
        Type in the file. Layers read int8 only.
    """

    name: str
    node: int
    shape: tuple[int, ...]
    quantisation: Quantisation
    order: AxisOrder = UNCHANGED
    steps: tuple[Step, ...] = ()
    dtype: str = "int8"


@dataclass(frozen=True)
class View:
    """Values as images in which chosen axes of the file are axes of the image.

    Attributes
    ----------
    values
        The values, each stored as such an image.
    grouping
        The axes of the file that form each axis of the image.
    """

    values: Sequence[Value]
    grouping: Grouping

    @property
    def at(self) -> dict[int, int]:
        """For each axis of the file, the axis of the image that it is a part of: 0 height, 1 width, 2 channels."""
        return {axis: position for position, group in enumerate(self.grouping.groups) for axis in group}

    def order(self, shape: Sequence[int]) -> AxisOrder:
        """Return the order of a result of `shape` that is stored along the same axes."""
        return AxisOrder.of(shape, [axis for group in self.grouping.groups for axis in group])
