"""gemmlowp's fixed-point functions of int32, on which TensorFlow Lite's integer softmax and its like are built.

A fixed-point number with b integer bits is an int32 that stands for itself / 2**(31 - b). All functions take and return
arrays of int64 that hold int32 values.
"""

from __future__ import annotations

import math

import numpy as np

from etchnet.sim.arithmetic.reference import rounding_shift

__all__ = [
    "INT32_MAX",
    "difference_over_sum",
    "exponential",
    "half_sum",
    "input_radius",
    "logarithm",
    "logistic",
    "reciprocal_of_one_plus",
    "saturate",
    "tanh",
    "times",
]

INT32_MAX = (1 << 31) - 1
"""the largest int32, which is 1 without integer bits"""
_FIRST_GUESS, _GUESS_SLOPE = 1515870810, -1010580540
"""48/17 and -32/17 with 2 integer bits"""
_LOG_2, _SQRT_HALF, _FOURTH_ROOT_OF_HALF = 1488522236, 1518500250, 1805811301
"""log(2), 2**-0.5 and 2**-0.25, without integer bits"""


def input_radius(integer_bits: int, left: int) -> int:
    """Return the magnitude from which inputs no longer fit `integer_bits` after a left shift (CalculateInputRadius)."""
    return math.floor(math.ldexp((1 << integer_bits) - 1, 31 - integer_bits - left))


def saturate(x: np.ndarray) -> np.ndarray:
    """Clamp to int32."""
    return np.clip(x, -INT32_MAX - 1, INT32_MAX)


def times(a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
    """Return the fixed-point product a * b / 2**31, to nearest, saturated (SaturatingRoundingDoublingHighMul)."""
    return saturate((np.asarray(a, np.int64) * b + (1 << 30)) >> 31)


def half_sum(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """Return (a + b) / 2, ties away from zero."""
    return rounding_shift(np.asarray(a, np.int64) + b, 1)


def exponential(x: np.ndarray, integer_bits: int) -> np.ndarray:
    """Return exp(x) without integer bits, for x <= 0 with `integer_bits`, at most 5."""
    fraction = 31 - integer_bits
    quarter = 1 << fraction - 2
    # On [-1/4, 0) a polynomial of fourth degree around -1/8; then a factor for each power of two that is left.
    low = (x & quarter - 1) - quarter
    near = saturate(low << integer_bits) + (1 << 28)
    square = times(near, near)
    cube, fourth = times(square, near), times(square, square)
    third = 715827883
    inner = rounding_shift(times(rounding_shift(fourth, 2) + cube, third) + square, 1)
    base = 1895147668
    result = saturate(base + times(near + inner, base))
    rest = low - x
    factors = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
    for power, factor in factors.items():
        if power < integer_bits:
            result = np.where(rest & (1 << fraction + power), times(result, factor), result)
    return np.where(x == 0, INT32_MAX, result)


def _reciprocal_of_half(x: np.ndarray) -> np.ndarray:
    """Return 2 / (1 + x) with 2 integer bits, for x in [0, 1] without any, by three Newton steps."""
    half = half_sum(x, INT32_MAX)
    guess = _FIRST_GUESS + times(half, _GUESS_SLOPE)
    for _ in range(3):
        error = (1 << 29) - times(half, guess)
        guess = guess + saturate(times(guess, error) << 2)
    return guess


def reciprocal_of_one_plus(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + x), for x in [0, 1]; both without integer bits."""
    return saturate(_reciprocal_of_half(x) << 1)


def difference_over_sum(x: np.ndarray) -> np.ndarray:
    """Return (1 - x) / (1 + x), for x in [0, 1]; both without integer bits."""
    return saturate((_reciprocal_of_half(x) - (1 << 29)) << 2)


def logistic(x: np.ndarray, integer_bits: int) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) without integer bits, for x with `integer_bits`."""
    right = reciprocal_of_one_plus(exponential(-np.abs(x), integer_bits))
    return np.where(x == 0, 1 << 30, np.where(x > 0, right, INT32_MAX - right))


def tanh(x: np.ndarray, integer_bits: int) -> np.ndarray:
    """Return tanh(x) without integer bits, for x with `integer_bits`, at most 4."""
    # With one integer bit more, the same bits are twice the number.
    right = difference_over_sum(exponential(-np.abs(x), integer_bits + 1))
    return np.sign(x) * right


def logarithm(x: np.ndarray, integer_bits: int, result_bits: int) -> np.ndarray:
    """Return log(x) with `result_bits`, for x of at least 1 with `integer_bits`.

    It is TensorFlow Lite's own log_x_for_x_greater_than_or_equal_to_1. x is 2**n times r, with r around 2**-0.25. Two n
    are tried, and the one with the smaller r is taken. A quotient of polynomials approximates log(r).
    """
    sum_bits = result_bits + 1
    quarter = 1 << 29 - sum_bits

    def power(headroom: np.ndarray) -> np.ndarray:
        return saturate((integer_bits - headroom) << 31 - sum_bits)

    headroom = _leading_zeros(x)
    first = saturate(times(saturate(x << headroom - 1), _SQRT_HALF) << 1)
    headroom_of_root = _leading_zeros(times(x, _SQRT_HALF)) - 1
    second = saturate(x << headroom_of_root)
    r = np.minimum(first, second)
    n = np.maximum(saturate(power(headroom) + quarter), saturate(power(headroom_of_root) - quarter))
    mean = half_sum(r, _FOURTH_ROOT_OF_HALF)
    difference = 2 * (r - _FOURTH_ROOT_OF_HALF)
    square = times(difference, difference)
    numerator = times(difference, r) + times(times(difference, square), 117049297)
    denominator = times(mean, 1057819769 + difference + times(127690142, square)) + times(638450708, difference)
    quotient = times(rounding_shift(numerator, sum_bits), reciprocal_of_one_plus(denominator))
    return saturate((times(n, _LOG_2) + quotient) << 1)


def _leading_zeros(x: np.ndarray) -> np.ndarray:
    """Return the zeros before the first one of an int32 that is not negative."""
    return 32 - np.frexp(x.astype(np.float64))[1].astype(np.int64)
