"""A search for integer arithmetic that equals float operators, proved by trying every operand.

An operator on int8 operands is a finite table. The settings that these functions return reproduce every entry of it
under the rounding contract `onnx-float`. They return None if they find none; the importer then refuses the operator.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.isa.contracts import ONNX_FLOAT
from etchnet.host.importers.value import make_layer
from etchnet.host.network.layers import Add, Depthwise, Scaling
from etchnet.host.network.model import ModelError
from etchnet.sim.arithmetic.contracts import quantise_float
from etchnet.sim.arithmetic.onnx_ops import qlinear_add

__all__ = ["CONTRACT", "Fit", "encode", "fit_add", "fit_map", "layer_of_fits", "line_of"]

CONTRACT = ONNX_FLOAT
_INT8 = np.arange(-128, 128)
_NEAR_TIE = 2.0**-9
"""distance from a tie below which a pair of operands may be rounded in either direction; such pairs are tried first"""
_FRACTIONS = (16, 15, 17, 14, 18, 13, 19, 20, 21, 12, 22, 10, 8)
"""fractional bits of the common scale of an addition, in the order in which they are tried"""
_LEAST_RATIO = 2.0**-20
"""smallest quotient of an operand's scale and the result's"""
_NUDGES = sorted(itertools.product(range(-1, 2), repeat=2), key=lambda pair: (abs(pair[0]) + abs(pair[1]), pair))
"""float32 numbers by which the factors of both operands are moved, small moves first"""
_MOST_STEPS = 200
"""largest move of an operand's zero point"""
_MOST_MOVES = 500
_LARGEST_OFFSET = 2.0**-14
"""largest change of a sum, in steps of the result, that moved zero points may make"""
_NEAREST = 32
"""number of pairs, those nearest to ties, on which all settings are tried"""
_MOST_WORK = 1 << 23
"""number of pairs near ties, counted once for each setting that is tried on them, after which a search gives up"""
_LEAST_FACTOR, _LARGEST_FACTOR = 2.0**-32, 2.0**9


def encode(where: str, factors: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return multipliers and shifts of float32 factors; raises ModelError for factors that are negative or not finite.

    The product of an int32 sum and a factor below 2**-32 rounds to 0, and that of one above 2**9 leaves int8 unless the
    sum is 0: these results do not depend on the factor.
    """
    factors = np.atleast_1d(np.asarray(factors, np.float64))
    wrong = factors[~(np.isfinite(factors) & (factors >= 0))]
    if wrong.size:
        raise ModelError(f"{where}: the product of scales must be finite and not negative, not {wrong[0]}")
    limited = np.where(factors < _LEAST_FACTOR, 0, np.minimum(factors, _LARGEST_FACTOR))
    multipliers, shifts = np.array([quantise_float(float(factor)) for factor in limited], np.int64).T
    return multipliers, shifts


def _scaling(factor: Any) -> Scaling:
    multiplier, shift = quantise_float(float(factor))
    return Scaling(multiplier, max(shift, 0), max(-shift, 0))


def _nudged(factor: Any, steps: int) -> Any:
    """Return the float32 that is `steps` representable numbers above `factor`."""
    return (np.asarray(factor, np.float32).view(np.int32) + np.int32(steps)).view(np.float32)[()]


@dataclass(frozen=True)
class Fit:
    """The function ``clamp(rint(fl32(weight * x + bias) * factor) + zero_point)`` of integers x."""

    weight: int
    bias: int
    factor: np.float32
    zero_point: int


def layer_of_fits(where: str, fits: Sequence[Fit], zero_point: int, low: int = -128, high: int = 127) -> Depthwise:
    """Return a layer that computes one `Fit` per channel."""
    encoded = encode(where, [fit.factor for fit in fits])
    weights = np.array([fit.weight for fit in fits], np.int8).reshape(1, 1, -1, 1)
    biases = np.array([fit.bias for fit in fits], np.int64)
    return make_layer(where, Depthwise, weights, biases, *encoded, 0, zero_point, low, high)


def line_of(target: np.ndarray, low: int, high: int) -> tuple[float, float] | None:
    """Return the slope and offset in the middle of all lines whose rounded values, clamped, are `target`.

    `target` has the results of -128 to 127. Returns None if there is no such line.
    """
    values = target.astype(np.float64)
    # A clamped value bounds the line on one side only.
    above = np.where(target == high, np.inf, values + 0.5)
    below = np.where(target == low, -np.inf, values - 0.5)
    apart = _INT8[None, :] - _INT8[:, None]
    first, second = np.nonzero(apart > 0)
    least = ((below[second] - above[first]) / apart[first, second]).max()
    most = ((above[second] - below[first]) / apart[first, second]).min()
    # A table of two values, both clamped, bounds the slope on one side only.
    least, most = max(least, -2 * abs(most) - 1), min(most, 2 * abs(least) + 1)
    if not -np.inf < least <= most < np.inf:
        return None
    slope = float(least + most) / 2
    return slope, float((below - slope * _INT8).max() + (above - slope * _INT8).min()) / 2


def fit_map(
    x: np.ndarray,
    target: np.ndarray,
    lines: Sequence[tuple[float, float]],
    zero_points: Sequence[int],
    low: int = -128,
    high: int = 127,
    *,
    first: Fit | None = None,
) -> Fit | None:
    """Search for a `Fit` that maps all of `x` to `target`; returns None if there is none.

    Parameters
    ----------
    x, target
        Integers, and the int8 result of each.
    lines
        Approximations of the results before rounding: slope * x + offset.
    zero_points
        Zero points to try. Their parity decides the rounding of results exactly between two integers.
    low, high
        Clamp.
    first
        Fit to try before all others.
    """

    def fits(weight: Any, bias: Any, factor: Any, zero_point: int) -> np.ndarray:
        scaled = np.rint((weight * x + bias).astype(np.float32) * factor)
        return (np.clip(scaled + zero_point, low, high) == target).all(axis=-1)

    if first is not None and fits(np.int64(first.weight), np.int64(first.bias), first.factor, first.zero_point):
        return first
    if (target == target[0]).all():
        return Fit(0, int(target[0]) - zero_points[0], np.float32(1), zero_points[0])
    largest = 1 << 30
    with np.errstate(all="ignore"):
        for slope, offset in lines:
            for magnitude in range(1, 128):
                weight = magnitude if slope > 0 else -magnitude
                exact = np.float32(slope / weight)
                if not 2.0**-32 <= exact < 2.0**31:
                    continue
                for zero_point in zero_points:
                    middle = np.rint((offset - zero_point) / float(exact))
                    if not abs(middle) < largest:
                        continue
                    for steps in (0, 1, -1, 2, -2):
                        factor = _nudged(exact, steps)
                        biases = np.int64(middle) + np.array([0, 1, -1, 2, -2])
                        good = fits(weight, biases[:, None], factor, zero_point)
                        if good.any():
                            return Fit(weight, int(biases[good.argmax()]), factor, zero_point)
    return None


def _moved(ratios: Sequence[np.float32], zero_points: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield zero points that represent nearly the same reals: those of operands and result are moved by integers.

    The move of the result compensates those of the operands up to an offset far below one step of the result. The
    runtime's rounded constants have such offsets as well, which these zero points reproduce. If the ratios are exact,
    the offset is 0, but the parity of the result's zero point may change, which decides ties.
    """
    yield zero_points
    steps = np.arange(-_MOST_STEPS, _MOST_STEPS + 1)
    total = float(ratios[0]) * steps[:, None] + float(ratios[1]) * steps
    whole = np.rint(total)
    rest = np.abs(total - whole)
    fits = (rest < _LARGEST_OFFSET) & (np.abs(zero_points[2] - whole + 0.5) <= 127.5)
    seen = {(0.0, 0)}
    moves = np.argwhere(fits)
    size = np.abs(steps[moves]).sum(axis=1)
    order = np.lexsort((size, rest[fits]))
    count = 0
    for i, j in moves[order]:
        moved = int(whole[i, j])
        # One exact move of each parity is enough.
        kind = (float(total[i, j] - moved), moved % 2)
        if kind in seen:
            continue
        seen.add(kind)
        yield zero_points[0] - int(steps[i]), zero_points[1] - int(steps[j]), zero_points[2] - moved
        count += 1
        if count == _MOST_MOVES:
            return


def fit_add(scales: tuple[Any, Any, Any], zero_points: tuple[int, int, int], *, single: bool = False) -> Add | None:
    """Search for an `Add` that equals QLinearAdd for all 65,536 pairs of operands; returns None if there is none.

    Parameters
    ----------
    scales, zero_points
        Scales and zero points of the two operands and of the result.
    single
        Whether the tensors have one value: then both orders of `qlinear_add` must agree.
    """
    with np.errstate(all="ignore"):
        ratios = [np.float32(scale) / np.float32(scales[2]) for scale in scales[:2]]
        settings = [
            (*(_nudged(r * np.float32(2.0**fraction), n) for r, n in zip(ratios, steps, strict=True)), fraction)
            for fraction in _FRACTIONS
            if float(sum(ratios)) * 512 * 2.0**fraction < 2.0**31
            for steps in _NUDGES
        ]
    if not settings or min(ratios) < _LEAST_RATIO:
        return None
    a, b = (grid.ravel() for grid in np.meshgrid(_INT8, _INT8, indexing="ij"))
    target = qlinear_add(a, b, scales, zero_points).astype(np.int64)
    if single and not np.array_equal(target, qlinear_add(a, b, scales, zero_points, single=True)):
        return None
    real = float(ratios[0]) * (a - zero_points[0]) + float(ratios[1]) * (b - zero_points[1]) + zero_points[2]
    distance = np.abs(real - np.floor(real) - 0.5)
    distance[(real < -130) | (real > 129)] = 1
    # Try settings on the pairs nearest to ties first, then on all pairs near ties, then on all pairs.
    near = np.flatnonzero(distance < _NEAR_TIE)
    nearest = near[np.argsort(distance[near], kind="stable")[:_NEAREST]]
    work = 0
    for zeros in _moved(ratios, zero_points):
        for index in np.flatnonzero(_agree(a[nearest], b[nearest], target[nearest], settings, zeros)):
            first, second, fraction = settings[index]
            work += len(near)
            if work > _MOST_WORK:
                return None
            if not _agree(a[near], b[near], target[near], [settings[index]], zeros)[0]:
                continue
            layer = Add(zeros[:2], _scaling(first), _scaling(second), _scaling(2.0**-fraction), zeros[2])
            # The proof: the layer itself, on every pair.
            if np.array_equal(layer.reference(a.astype(np.int8), b.astype(np.int8), contract=CONTRACT), target):
                return layer
    return None


def _agree(
    a: np.ndarray,
    b: np.ndarray,
    target: np.ndarray,
    settings: Sequence[tuple[Any, Any, int]],
    zeros: tuple[int, int, int],
) -> np.ndarray:
    """Return which settings (factor of a, factor of b, fractional bits) map all pairs to the target."""
    first, second, fraction = (np.array(column)[:, None] for column in zip(*settings, strict=True))
    total = np.rint((a - zeros[0]).astype(np.float32) * first).astype(np.int64)
    total += np.rint((b - zeros[1]).astype(np.float32) * second).astype(np.int64)
    scaled = np.rint(np.ldexp(total.astype(np.float32), -fraction))
    return (np.clip(scaled + zeros[2], -128, 127) == target).all(axis=1)
