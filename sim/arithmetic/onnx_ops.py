"""ONNX Runtime's contributed int8 operators in numpy, to the bit: float32 arithmetic in the runtime's own order.

Zero points are whole numbers, scales float32. These are the formulas of the CPU provider of ONNX Runtime 1.32 on x86-64
with AVX2 and FMA; the tests compare them with the runtime itself. The operators that follow a rounding contract
(QLinearConv, QLinearMatMul, QGemm) are in `etchnet.sim.arithmetic.contracts`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "average_bounds",
    "dequantise_linear",
    "fused_multiply_add",
    "global_average_scale",
    "qlinear_add",
    "qlinear_average",
    "quantise_linear",
]


def quantise_linear(x: Any, scale: Any, zero_point: Any, *, dtype: str = "int8") -> np.ndarray:
    """Return QuantizeLinear: ``clamp(rint(fl32(x / scale)) + zero_point)``, ties to even; float32 to `dtype`."""
    with np.errstate(all="ignore"):
        scaled = np.asarray(x, np.float32) / np.asarray(scale, np.float32)
    zero_point = np.asarray(zero_point, np.int64)
    limits = np.iinfo(dtype)
    low, high = (np.float32(bound - zero_point) for bound in (limits.min, limits.max))
    return (np.rint(np.clip(scaled, low, high)).astype(np.int64) + zero_point).astype(dtype)


def dequantise_linear(x: Any, scale: Any, zero_point: Any) -> np.ndarray:
    """Return DequantizeLinear: ``fl32((x - zero_point) * scale)``; integers to float32."""
    difference = np.asarray(x, np.int64) - np.asarray(zero_point, np.int64)
    return difference.astype(np.float32) * np.asarray(scale, np.float32)


def fused_multiply_add(a: Any, b: Any, c: Any) -> np.ndarray:
    """Return a * b + c of float32, rounded once, to nearest even."""
    product = np.asarray(a, np.float64) * np.asarray(b, np.float64)  # 24 x 24 bits: exact
    addend = np.asarray(c, np.float64)
    total = product + addend
    # `lost` is the exact rounding error of the sum. Where it is not 0, an even last bit is made odd in its direction
    # (round to odd), so that the second rounding, to float32, does not see a false tie.
    other = total - product
    lost = (product - (total - other)) + (addend - other)
    even = np.atleast_1d(total).view(np.uint64).reshape(np.shape(total)) & np.uint64(1) == 0
    aside = np.nextafter(total, np.where(lost > 0, np.inf, -np.inf))
    return np.where((lost != 0) & even, aside, total).astype(np.float32)


def qlinear_add(
    a: np.ndarray,
    b: np.ndarray,
    scales: tuple[Any, Any, Any],
    zero_points: tuple[int, int, int],
    *,
    single: bool = False,
) -> np.ndarray:
    """Return QLinearAdd of int8 arrays that broadcast; int8.

    With r = fl32(scale_a / scale_c), s = fl32(scale_b / scale_c) and the constant
    f = fl32(zero_c - fma(r, zero_a, fl32(s * zero_b))): ``clamp(rint(fma(a, r, fma(b, s, f))))``, ties to even.

    Parameters
    ----------
    scales, zero_points
        One each for a, b and the result, in that order.
    single
        Exchange the roles of a and b throughout, as the runtime does for tensors of a single value.
    """
    if single:
        a, b = b, a
        scales, zero_points = (scales[1], scales[0], scales[2]), (zero_points[1], zero_points[0], zero_points[2])
    scale_a, scale_b, scale_c = (np.float32(scale) for scale in scales)
    zero_a, zero_b, zero_c = (np.float32(zero) for zero in zero_points)
    r, s = scale_a / scale_c, scale_b / scale_c
    f = zero_c - fused_multiply_add(r, zero_a, s * zero_b)
    total = fused_multiply_add(np.asarray(a, np.float32), r, fused_multiply_add(np.asarray(b, np.float32), s, f))
    return np.clip(np.rint(total), -128, 127).astype(np.int8)


def global_average_scale(input_scale: Any, output_scale: Any, count: int) -> np.float32:
    """Return the factor of QLinearGlobalAveragePool: the result is ``clamp(rint(fl32(sum) * factor) + zero_point)``.

    The factor is fl32(input_scale / fl32(output_scale * count)). The sum is over `count` values, each less the zero
    point. QLinearAveragePool does the same if its window is the whole image and there is no padding.
    """
    return np.float32(input_scale) / (np.float32(output_scale) * np.float32(count))


def qlinear_average(
    windows: np.ndarray, count: int, scales: tuple[Any, Any], zero_points: tuple[int, int]
) -> np.ndarray:
    """Return QLinearAveragePool of int8 windows (..., taps), by float32 sums in the order of the taps; int8 (...).

    ``clamp(rint(fl32(fl32(fl32(sum) / count) / output scale) + zero_point))`` over dequantised taps; the zero point is
    added in float32, before the rounding. `scales` and `zero_points` are of input and output; `count` is the divisor of
    the sum, which may or may not include padding.
    """
    values = dequantise_linear(windows, scales[0], zero_points[0])
    total = np.zeros(values.shape[:-1], np.float32)
    for tap in range(values.shape[-1]):
        total = total + values[..., tap]
    return _averaged(total, count, scales[1], zero_points[1])


def _averaged(total: np.ndarray, count: int, scale: Any, zero_point: int) -> np.ndarray:
    moved = total / np.float32(count) / np.float32(scale) + np.float32(zero_point)
    return np.clip(np.rint(moved), -128, 127).astype(np.int8)


def average_bounds(
    taps: int, count: int, scales: tuple[Any, Any], zero_points: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and greatest result of `qlinear_average` for every sum of `taps` int8 values: two int8 arrays.

    Index 0 is for the sum -128 * taps, the last index for 127 * taps.

    Float32 sums depend on the values and their order, not only on the exact sum. Because rounding preserves order, the
    extremes of a partial sum come from extremes of the previous one: the results are attained, not only bounds.
    """
    values = dequantise_linear(np.arange(-128, 128), scales[0], zero_points[0])
    low = high = np.zeros(1, np.float32)
    for _ in range(taps):
        size = len(low) + 255
        next_low, next_high = np.full(size, np.inf, np.float32), np.full(size, -np.inf, np.float32)
        for index, value in enumerate(values):
            part = slice(index, index + len(low))
            np.minimum(next_low[part], low + value, out=next_low[part])
            np.maximum(next_high[part], high + value, out=next_high[part])
        low, high = next_low, next_high
    return tuple(_averaged(total, count, scales[1], zero_points[1]) for total in (low, high))  # type: ignore[return-value]
