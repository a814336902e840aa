"""Pictures as inputs: their pixels, and the real numbers that pixels stand for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from etchnet.host.importers.arrays import reading
from etchnet.host.network.model import InputPort, ModelError, Quantisation

__all__ = ["USUAL_RANGES", "pixel_range", "read_picture"]

USUAL_RANGES = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
"""real numbers of pixels 0 and 255 for which image models are trained"""
_TOLERANCE = 0.05
"""largest distance of an input's range from a usual one, as a share of its width: calibrated ranges are a little off"""


def pixel_range(quantisation: Quantisation) -> tuple[float, float]:
    """Return the real numbers of pixels 0 and 255 for an input of this scale and zero point.

    That is the range for which the model was trained, as far as it can be seen: one of `USUAL_RANGES` if the real
    numbers that the input can hold are about that range; otherwise all that the input can hold.
    """
    found = quantisation.range
    for usual in USUAL_RANGES:
        width = usual[1] - usual[0]
        if all(abs(a - b) <= _TOLERANCE * width for a, b in zip(found, usual, strict=True)):
            return usual
    return found


def read_picture(path: Path, port: InputPort, limits: tuple[float, float]) -> np.ndarray:
    """Return a picture as one input of a model: real numbers (1, values), float32, in the order of the file.

    The picture must have the input's size. It is converted to colour if the input has three channels, and else to grey.

    Parameters
    ----------
    limits
        The real numbers of pixels 0 and 255.

    Raises
    ------
    ModelError
        Pillow is not installed, the file cannot be read, or the picture does not have the input's size.
    """
    try:
        from PIL import Image
    except ImportError:
        raise ModelError(
            f"{path}: an input must be .npy, .txt or .csv; for pictures, pip install 'etchnet[pictures]'"
        ) from None
    height, width, channels, first = _image(port)
    with reading(path), Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"), np.float32)
    if min(height, width) > 1 and channels in (1, 3) and pixels.shape[:2] != (height, width):
        has = f"{pixels.shape[1]} pixels wide and {pixels.shape[0]} high"
        raise ModelError(f"{path} is {has}; the model needs {width} wide and {height} high")
    values = math.prod(port.shape)
    if pixels.size != values:
        raise ModelError(f"{path} has {pixels.size} values; the model needs {values}")
    low, high = (np.float32(limit) for limit in limits)
    reals = low + pixels * ((high - low) / np.float32(255))
    if first:
        reals = reals.reshape(height, width, channels).transpose(2, 0, 1)
    return port.order.to_file(reals.reshape(1, -1))


def _image(port: InputPort) -> tuple[int, int, int, bool]:
    """Return height, width and channels of an input, and whether the machine takes it as (channel, y, x)."""
    axes = port.order.of_axes(port.shape) or range(len(port.shape))
    sizes = [port.shape[axis] for axis in axes]
    if len(sizes) == 2:
        return sizes[0], sizes[1], 1, False
    if len(sizes) != 3:
        return 1, math.prod(sizes), 1, False
    first, middle, last = sizes
    if last not in (1, 3) and first in (1, 3):
        return middle, last, first, True
    return first, middle, last, False
