"""Integer softmax as in TensorFlow Lite's reference kernel."""

from __future__ import annotations

import numpy as np

from etchnet.sim.arithmetic.fixed_point import INT32_MAX, exponential, input_radius, reciprocal_of_one_plus, times
from etchnet.sim.arithmetic.reference import quantise_multiplier, rounding_shift

__all__ = ["softmax"]

_DIFFERENCE_BITS = 5
"""integer bits of a difference between two scores"""
_SUM_BITS = 12
"""integer bits of the sum of exponentials"""


def softmax(x: np.ndarray, *, scale: float, beta: float = 1.0) -> np.ndarray:
    """Return the softmax over the last axis: int8 of `scale` to int8 of scale 1/256 and zero point -128.

    Raises
    ------
    ValueError
        `scale * beta` is not positive.
    """
    if not scale * beta > 0:
        raise ValueError(f"softmax needs a positive scale * beta, not {scale * beta!r}")
    real = min(beta * float(scale) * (1 << 31 - _DIFFERENCE_BITS), float(INT32_MAX))
    multiplier, shift = quantise_multiplier(real)
    left = max(shift, 0)
    limit = input_radius(_DIFFERENCE_BITS, left)
    values = x.astype(np.int64)
    difference = values - values.max(axis=-1, keepdims=True)
    inside = difference >= -limit
    scaled = times(np.where(inside, difference, 0) << left, multiplier)
    powers = np.where(inside, exponential(scaled, _DIFFERENCE_BITS), 0)
    total = rounding_shift(powers, _SUM_BITS).sum(axis=-1, keepdims=True)
    # total = 2**(bits over unit) * (1 + a fraction): shift its highest bit away.
    headroom = 32 - np.vectorize(int.bit_length, otypes=[np.int64])(total)
    reciprocal = reciprocal_of_one_plus((total << headroom) - (1 << 31))
    shift_out = _SUM_BITS - headroom + 31 - 8
    result = rounding_shift(times(powers, reciprocal), shift_out) - 128
    return np.where(inside, np.clip(result, -128, 127), -128).astype(np.int8)
