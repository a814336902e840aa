"""Pools: the average or the largest pixel of each window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.host.network.layers.base import Layer, NetworkError, Shape, integer_pair
from etchnet.host.network.layers.windows import NO_PADDING, Padding, as_padding, output_size, windows_of

__all__ = ["AveragePool", "MaxPool", "Pool"]


@dataclass(frozen=True)
class Pool(Layer):
    """A window that slides over each channel separately; pixels outside the image do not count.

    Parameters
    ----------
    window, stride
        (y, x).
    padding
        ((top, bottom), (left, right)), each smaller than the window.
    low, high
        Clamp.
    """

    window: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING
    low: int = -128
    high: int = 127

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", integer_pair("window", self.window, 1))
        object.__setattr__(self, "stride", integer_pair("stride", self.stride, 1))
        object.__setattr__(self, "padding", as_padding(self.padding))
        for (before, after), size in zip(self.padding, self.window, strict=True):
            if before >= size or after >= size:
                raise NetworkError(f"padding must be smaller than the window {self.window}, not {self.padding}")
        if not -128 <= self.low <= self.high <= 127:
            raise NetworkError(f"low and high must be from -128 to 127 in order, not {self.low} and {self.high}")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the result: one pixel per window that fits."""
        size = output_size(type(self).__name__, inputs[0], self.window, self.stride, (1, 1), self.padding)
        return *size, inputs[0][2]

    def counts(self, height: int, width: int) -> np.ndarray:
        """Count the pixels of each window that are inside an image of that size: int64 (Ho, Wo)."""
        inside = np.ones((1, height, width, 1), np.int64)
        return windows_of(inside, self.window, self.stride, (1, 1), self.padding, 0).sum(axis=(0, 3, 4, 5))


@dataclass(frozen=True)
class AveragePool(Pool):
    """The average of each window, to nearest, ties away from zero; scale and zero point do not change.

    With n pixels inside the image, the result is (sum + n // 2) // n if the sum is at least 0, else the negative of
    (-sum + n // 2) // n.
    """

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Reduce int8 (N, H, W, C) to int8 (N, Ho, Wo, C)."""
        x = inputs[0]
        sums = windows_of(x.astype(np.int64), self.window, self.stride, (1, 1), self.padding, 0).sum(axis=(4, 5))
        n = self.counts(*x.shape[1:3])[None, :, :, None]
        magnitude = (np.abs(sums) + n // 2) // n
        return np.clip(np.where(sums < 0, -magnitude, magnitude), self.low, self.high).astype(np.int8)


@dataclass(frozen=True)
class MaxPool(Pool):
    """The largest pixel of each window."""

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Reduce int8 (N, H, W, C) to int8 (N, Ho, Wo, C)."""
        windows = windows_of(inputs[0], self.window, self.stride, (1, 1), self.padding, -128)
        return np.clip(windows.max(axis=(4, 5)), self.low, self.high).astype(np.int8)
