"""Layers that move values and compute nothing: concatenation, padding, reshaping and slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.host.network.layers.base import INT8, Layer, NetworkError, Shape, integer_pair, one_integer
from etchnet.host.network.layers.windows import Padding, as_padding

__all__ = ["Concat", "Pad", "Reshape", "Slice"]


@dataclass(frozen=True)
class Concat(Layer):
    """A concatenation of tensors with equal scales and zero points, along an axis: 0 height, 1 width, 2 channels."""

    axis: int = 2

    arity = 0

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2):
            raise NetworkError(f"axis must be 0 (height), 1 (width) or 2 (channels), not {self.axis!r}")

    def shape(self, *inputs: Shape) -> Shape:
        """Add up the sizes along the axis; the other sizes must be equal."""
        rest = {(*s[: self.axis], *s[self.axis + 1 :]) for s in inputs}
        if len(rest) != 1:
            raise NetworkError(f"inputs must have equal sizes along all axes except {self.axis}, not shapes {inputs}")
        total = list(inputs[0])
        total[self.axis] = sum(s[self.axis] for s in inputs)
        return total[0], total[1], total[2]

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Concatenate int8 tensors (N, H, W, C)."""
        return np.concatenate(inputs, axis=self.axis + 1)


@dataclass(frozen=True)
class Pad(Layer):
    """A border of pixels, and of channels, that all hold one value.

    Parameters
    ----------
    padding
        ((top, bottom), (left, right)) pixels.
    value
        Value of the border, int8.
    channels
        Channels added (before, after).
    """

    padding: Padding
    value: int = 0
    channels: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "padding", as_padding(self.padding))
        object.__setattr__(self, "channels", integer_pair("channels", self.channels, 0))
        object.__setattr__(self, "value", one_integer("value", self.value, *INT8))

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the image with its border."""
        height, width, channels = inputs[0]
        return height + sum(self.padding[0]), width + sum(self.padding[1]), channels + sum(self.channels)

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Pad an int8 tensor (N, H, W, C)."""
        return np.pad(inputs[0], ((0, 0), *self.padding, self.channels), constant_values=self.value)


@dataclass(frozen=True)
class Reshape(Layer):
    """A change of shape that keeps the values and their order, (y, x, channel)."""

    size: Shape

    def shape(self, *inputs: Shape) -> Shape:
        """Return `size`."""
        if int(np.prod(inputs[0])) != int(np.prod(self.size)) or len(self.size) != 3 or min(self.size) < 1:
            raise NetworkError(f"size must have as many values as the input, of shape {inputs[0]}, not {self.size}")
        return self.size

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Reshape an int8 tensor (N, H, W, C)."""
        return inputs[0].reshape(len(inputs[0]), *self.size)


@dataclass(frozen=True)
class Slice(Layer):
    """Every `stride`-th value from `begin` on, along each axis (height, width, channels).

    Parameters
    ----------
    begin
        Index of the first value along each axis.
    size
        Number of values along each axis.
    stride
        Distance of values along each axis.
    """

    begin: Shape
    size: Shape
    stride: Shape = (1, 1, 1)

    def __post_init__(self) -> None:
        for name, least in (("begin", 0), ("size", 1), ("stride", 1)):
            object.__setattr__(self, name, _three(name, getattr(self, name), least))

    @property
    def ranges(self) -> tuple[slice, ...]:
        """The values along each axis."""
        return tuple(
            slice(begin, begin + (size - 1) * stride + 1, stride)
            for begin, size, stride in zip(self.begin, self.size, self.stride, strict=True)
        )

    def shape(self, *inputs: Shape) -> Shape:
        """Return `size`."""
        if any(part.stop > size for part, size in zip(self.ranges, inputs[0], strict=True)):
            raise NetworkError(
                f"a slice of {self.size} from {self.begin} in steps of {self.stride} must be inside its input, "
                f"of shape {inputs[0]}"
            )
        return self.size

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Slice an int8 tensor (N, H, W, C)."""
        return inputs[0][(slice(None), *self.ranges)]


def _three(name: str, value: Any, low: int) -> Shape:
    """Return `value` as three integers of at least `low`."""
    try:
        first, second, third = (int(v) for v in value)
    except (TypeError, ValueError):
        raise NetworkError(f"{name} must be three integers, not {value!r}") from None
    if min(first, second, third) < low:
        raise NetworkError(f"{name} must be at least {low} along every axis, not {value!r}")
    return first, second, third
