"""The machine's default arithmetic in numpy: the definition that every engine must reproduce to the bit."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

__all__ = ["quantise_multiplier", "requantise", "rounding_shift", "scale_double", "shift_left"]


def quantise_multiplier(scale: float) -> tuple[int, int]:
    """Return a real factor as (multiplier, shift), the multiplier in [2**30, 2**31) or 0.

    ``scale = multiplier / 2**31 * 2**shift``, rounded half away from zero, as by TensorFlow Lite's QuantizeMultiplier.
    Both are 0 for a scale that rounds to less than 2**-32.

    Raises
    ------
    ValueError
        `scale` is negative, not finite, or 2**31 or more (a left shift the machine does not have).
    """
    if not math.isfinite(scale) or scale < 0 or scale >= 2.0**31:
        raise ValueError(f"a requantisation scale must be finite and in [0, 2**31), not {scale!r}")
    fraction, shift = math.frexp(scale)
    multiplier = math.floor(Fraction(fraction) * 2**31 + Fraction(1, 2))
    if multiplier == 1 << 31:
        multiplier, shift = multiplier // 2, shift + 1
    if shift > 31:
        raise ValueError(f"a requantisation scale must be finite and in [0, 2**31), not {scale!r}: it rounds to 2**31")
    return (0, 0) if shift < -31 or multiplier == 0 else (multiplier, shift)


def shift_left(values: np.ndarray, left: np.ndarray | int) -> np.ndarray:
    """Return ``values * 2**left``, wrapped to int32; as int64."""
    wrapped = (np.asarray(values, dtype=np.int64) << np.asarray(left, dtype=np.int64)).astype(np.int32)
    return wrapped.astype(np.int64)


def rounding_shift(values: np.ndarray, right: np.ndarray | int) -> np.ndarray:
    """Return ``values / 2**right`` to nearest, ties away from zero, as gemmlowp's RoundingDivideByPOT; as int64."""
    values = np.asarray(values, dtype=np.int64)
    divisor = np.int64(1) << np.asarray(right, dtype=np.int64)
    magnitude = (2 * np.abs(values) + divisor) // (2 * divisor)
    return np.where(values < 0, -magnitude, magnitude)


def scale_double(
    values: np.ndarray, multiplier: np.ndarray | int, left: np.ndarray | int, right: np.ndarray | int
) -> np.ndarray:
    """Return ``round(round(v * 2**left * m / 2**31) / 2**right)``, by the contract `tflite-double`; as int64.

    The inner rounding is that of gemmlowp's SaturatingRoundingDoublingHighMul: add 2**30 to a product that is not
    negative, 1 - 2**30 to one that is, and truncate. The outer is RoundingDivideByPOT: to nearest, ties away from zero.
    Arrays broadcast. ``v * 2**left`` wraps to int32.

    Parameters
    ----------
    values
        int32 accumulators, bias included.
    multiplier, left, right
        In [0, 2**31), [0, 31] and [0, 31].
    """
    product = shift_left(values, left) * np.asarray(multiplier, dtype=np.int64)
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    magnitude = np.abs(nudged) >> 31
    scaled = np.where(nudged < 0, -magnitude, magnitude)
    return rounding_shift(scaled, right)


def requantise(
    values: np.ndarray,
    multiplier: np.ndarray | int,
    left: np.ndarray | int,
    right: np.ndarray | int,
    *,
    zero_point: int = 0,
    low: int = -128,
    high: int = 127,
) -> np.ndarray:
    """Return ``clamp(scale_double(v, m, left, right) + zero_point)`` as int64; see `contracts` for other contracts."""
    return np.clip(scale_double(values, multiplier, left, right) + zero_point, low, high)
