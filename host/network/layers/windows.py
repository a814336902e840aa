"""Windows that slide over images: padding, positions, and the number that fits."""

from __future__ import annotations

from typing import Any

import numpy as np

from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.network.layers.base import NetworkError, Shape, integer_pair

__all__ = ["NO_PADDING", "Padding", "as_padding", "output_size", "same_padding", "windows_of"]

Padding = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right)), in pixels"""
NO_PADDING: Padding = ((0, 0), (0, 0))


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return the pixels (before, after) that SAME padding adds along one axis.

    This is TensorFlow's rule: if the number is odd, the extra pixel goes after the image.
    """
    span = (kernel - 1) * dilation + 1
    total = max(0, (ceil_div(size, stride) - 1) * stride + span - size)
    return total // 2, total - total // 2


def windows_of(
    x: np.ndarray,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding,
    value: int,
) -> np.ndarray:
    """Return every window of images (N, H, W, C), padded with `value`: (N, Ho, Wo, C, kernel y, kernel x), a view."""
    (top, bottom), (left, right) = padding
    images, height, width, channels = x.shape
    padded = np.full((images, top + height + bottom, left + width + right, channels), value, x.dtype)
    padded[:, top : top + height, left : left + width] = x
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(1, 2))
    return views[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]


def output_size(
    name: str,
    shape: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding,
) -> tuple[int, int]:
    """Return the number of windows (y, x) that fit a padded image; error messages call the window `name`."""
    sizes = []
    for axis in range(2):
        span = (kernel[axis] - 1) * dilation[axis] + 1
        padded = shape[axis] + sum(padding[axis])
        if padded < span:
            raise NetworkError(
                f"{name} of {kernel[0]} x {kernel[1]} must fit its padded input: {span} pixels do not fit {padded}"
            )
        sizes.append((padded - span) // stride[axis] + 1)
    return sizes[0], sizes[1]


def as_padding(value: Any) -> Padding:
    """Return `value` as padding of at least 0 pixels on every side."""
    try:
        top, left = (integer_pair("padding", side, 0) for side in value)
    except (TypeError, ValueError) as error:
        if isinstance(error, NetworkError):
            raise
        raise NetworkError(f"padding must be ((top, bottom), (left, right)), not {value!r}") from None
    return top, left
