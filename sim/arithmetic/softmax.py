"""Integer softmax as in TensorFlow Lite's reference kernel, with gemmlowp's fixed-point exponential."""

from __future__ import annotations

import math

import numpy as np

from etchnet.sim.arithmetic.reference import quantise_multiplier, rounding_shift

__all__ = ["softmax"]

_INT32 = -(1 << 31), (1 << 31) - 1
_DIFFERENCE_BITS = 5
"""integer bits of a difference between two scores"""
_SUM_BITS = 12
"""integer bits of the sum of exponentials"""


def _saturate(x: np.ndarray) -> np.ndarray:
    return np.clip(x, *_INT32)


def _times(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """Return the fixed-point product a * b / 2**31, to nearest, saturated (SaturatingRoundingDoublingHighMul)."""
    return _saturate((np.asarray(a, np.int64) * b + (1 << 30)) >> 31)


def _exponential(x: np.ndarray) -> np.ndarray:
    """Return exp(x) for x <= 0, in fixed point: 5 integer bits in, none out."""
    fraction = 31 - _DIFFERENCE_BITS
    quarter = 1 << fraction - 2
    # On [-1/4, 0) a polynomial of fourth degree around -1/8; then a factor for each power of two that is left.
    low = (x & quarter - 1) - quarter
    near = _saturate(low << _DIFFERENCE_BITS) + (1 << 28)
    square = _times(near, near)
    cube, fourth = _times(square, near), _times(square, square)
    third = 715827883
    inner = rounding_shift(_times(rounding_shift(fourth, 2) + cube, third) + square, 1)
    base = 1895147668
    result = _saturate(base + _times(near + inner, base))
    rest = low - x
    factors = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
    for power, factor in factors.items():
        result = np.where(rest & (1 << fraction + power), _times(result, factor), result)
    return np.where(x == 0, _INT32[1], result)


def _reciprocal_of_one_plus(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + x) for x in [0, 1), in fixed point without integer bits, by three Newton steps."""
    total = np.asarray(x, np.int64) + _INT32[1]
    half = np.where(total >= 0, (total + 1) // 2, -((1 - total) // 2))
    guess = 1515870810 + _times(half, -1010580540)
    for _ in range(3):
        error = (1 << 29) - _times(half, guess)
        guess = guess + _saturate(_times(guess, error) << 2)
    return _saturate(guess << 1)


def softmax(x: np.ndarray, *, scale: float, beta: float = 1.0) -> np.ndarray:
    """Return the softmax over the last axis: int8 of `scale` to int8 of scale 1/256 and zero point -128.

    Raises
    ------
    ValueError
        `scale * beta` is not positive.
    """
    if not scale * beta > 0:
        raise ValueError(f"softmax needs a positive scale * beta, not {scale * beta!r}")
    real = min(beta * float(scale) * (1 << 31 - _DIFFERENCE_BITS), (1 << 31) - 1.0)
    multiplier, shift = quantise_multiplier(real)
    left = max(shift, 0)
    limit = math.floor(((1 << _DIFFERENCE_BITS) - 1) * (1 << 31 - _DIFFERENCE_BITS) / (1 << left))
    values = x.astype(np.int64)
    difference = values - values.max(axis=-1, keepdims=True)
    inside = difference >= -limit
    scaled = _times(np.where(inside, difference, 0) << left, multiplier)
    powers = np.where(inside, _exponential(scaled), 0)
    total = rounding_shift(powers, _SUM_BITS).sum(axis=-1, keepdims=True)
    # total = 2**(bits over unit) * (1 + a fraction): shift its highest bit away.
    headroom = 32 - np.vectorize(int.bit_length, otypes=[np.int64])(total)
    reciprocal = _reciprocal_of_one_plus((total << headroom) - (1 << 31))
    shift_out = _SUM_BITS - headroom + 31 - 8
    result = rounding_shift(_times(powers, reciprocal), shift_out) - 128
    return np.where(inside, np.clip(result, -128, 127), -128).astype(np.int8)
