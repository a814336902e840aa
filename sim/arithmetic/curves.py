"""Curves of int8 values as in TensorFlow Lite Micro: logistic, tanh and the logarithm of a softmax."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from collections.abc import Callable

import numpy as np

from etchnet.sim.arithmetic.fixed_point import INT32_MAX, exponential, input_radius, logarithm, logistic, tanh
from etchnet.sim.arithmetic.reference import quantise_multiplier, rounding_shift, scale_double

__all__ = [
    "CURVE_SCALES",
    "LARGEST_ROW",
    "LOG_SOFTMAX_SCALES",
    "float_log_softmax",
    "int8_logistic",
    "int8_tanh",
    "log_softmax",
]

CURVE_SCALES = 2.0**-28, 2.0**30
"""scales of the operand of a logistic or tanh, both exclusive"""
LOG_SOFTMAX_SCALES = 2.0**-24, 2.0**30
"""scales of the operand of a `log_softmax`, both exclusive"""
LARGEST_ROW = 4095
"""most values of one `log_softmax`: the sum of their exponentials fits 12 integer bits"""
_CURVE_BITS = 4
_DIFFERENCE_BITS = 5
_SUM_BITS = 12
_RESULT_BITS = 4


def _scaled(x: np.ndarray, multiplier: int, shift: int) -> np.ndarray:
    return scale_double(x, multiplier, max(shift, 0), max(-shift, 0))


def _curve(
    x: np.ndarray, scale: float, zero_point: int, function: Callable[[np.ndarray, int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a function of int8 values, without integer bits, and -1 or 1 where it is to be its lower or upper end."""
    if not CURVE_SCALES[0] < scale < CURVE_SCALES[1]:
        raise ValueError(f"the scale must be above {CURVE_SCALES[0]} and below {CURVE_SCALES[1]}, not {scale!r}")
    # Beyond that largest factor, only the zero point is inside.
    multiplier, shift = quantise_multiplier(min(float(scale) * (1 << 31 - _CURVE_BITS), float(INT32_MAX)))
    radius = input_radius(_CURVE_BITS, shift)
    values = x.astype(np.int64) - zero_point
    outside = np.where(values <= -radius, -1, np.where(values >= radius, 1, 0))
    return function(_scaled(np.where(outside == 0, values, 0), multiplier, shift), _CURVE_BITS), outside


def int8_logistic(x: np.ndarray, *, scale: float, zero_point: int) -> np.ndarray:
    """Return the logistic function of int8 values: int8 of scale 1/256 and zero point -128.

    Raises
    ------
    ValueError
        `scale` is not between the `CURVE_SCALES`.
    """
    result, outside = _curve(x, scale, zero_point, logistic)
    rounded = np.clip(rounding_shift(result, 31 - 8) - 128, -128, 127)
    return np.where(outside == 0, rounded, np.where(outside < 0, -128, 127)).astype(np.int8)


def int8_tanh(x: np.ndarray, *, scale: float, zero_point: int) -> np.ndarray:
    """Return tanh of int8 values: int8 of scale 1/128 and zero point 0.

    Raises
    ------
    ValueError
        `scale` is not between the `CURVE_SCALES`.
    """
    result, outside = _curve(x, scale, zero_point, tanh)
    rounded = np.clip(rounding_shift(result, 31 - 7), -128, 127)
    return np.where(outside == 0, rounded, np.where(outside < 0, -128, 127)).astype(np.int8)


def log_softmax(x: np.ndarray, *, scale: float) -> np.ndarray:
    """Return the logarithm of the softmax over the last axis: int8 to int8 of scale 1/16 and zero point 127.

    Raises
    ------
    ValueError
        `scale` is not between the `LOG_SOFTMAX_SCALES`.
    """
    if not LOG_SOFTMAX_SCALES[0] < scale < LOG_SOFTMAX_SCALES[1]:
        raise ValueError(
            f"the scale must be above {LOG_SOFTMAX_SCALES[0]} and below {LOG_SOFTMAX_SCALES[1]}, not {scale!r}"
        )
    real = min(float(scale) * (1 << 31 - _DIFFERENCE_BITS), float(INT32_MAX))
    multiplier, left = quantise_multiplier(real)
    smallest = -input_radius(_DIFFERENCE_BITS, left)
    back, back_shift = quantise_multiplier((1 << 31 - left) / multiplier)
    values = x.astype(np.int64)
    difference = values - values.max(axis=-1, keepdims=True)
    inside = difference >= smallest
    scaled = _scaled(np.where(inside, difference, 0), multiplier, left)
    powers = np.where(inside, exponential(scaled, _DIFFERENCE_BITS), 0)
    total = rounding_shift(powers, _SUM_BITS).sum(axis=-1, keepdims=True)
    log = logarithm(total, _SUM_BITS, _DIFFERENCE_BITS)
    # Where the difference of logarithms does not fit int32, the result is the smallest.
    least = np.maximum(smallest - 1, _scaled(log - INT32_MAX - 1, back, back_shift))
    result = rounding_shift(scaled - log, 31 - _DIFFERENCE_BITS - _RESULT_BITS) + 127
    return np.where(difference > least, np.clip(result, -128, 127), -128).astype(np.int8)


@functools.cache
def _c_function(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of C's library for float32, such as expf, for arrays.

    The runtime's results are those of this library on the same computer. Where there is none, double is rounded.
    """
    library = ctypes.util.find_library("m")
    if library is None:
        return lambda x: getattr(np, name)(x.astype(np.float64)).astype(np.float32)
    function = getattr(ctypes.CDLL(library), f"{name}f")
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    return np.vectorize(function, otypes=[np.float32])


def float_log_softmax(x: np.ndarray) -> np.ndarray:
    """Return the logarithm of the softmax over the last axis: float32 to float32, with C's expf and logf."""
    difference = x - x.max(axis=-1, keepdims=True)
    total = np.cumsum(_c_function("exp")(difference), axis=-1, dtype=np.float32)[..., -1:]
    return difference - _c_function("log")(total)
