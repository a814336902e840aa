"""Float operators as whole-number arithmetic of the machine: searched for, and proved by trying every operand.

An operator on int8 operands is a finite table. What these functions return gives that table entry for entry, by the
rounding contract `onnx-float`; where they find nothing that does, they say so, and the importer refuses the operator.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.host.layers import Add, Scaling
from etchnet.sim.contracts import quantise_float
from etchnet.sim.onnx_ops import qlinear_add

__all__ = ["CONTRACT", "Fit", "fit_add", "fit_map"]

CONTRACT = "onnx-float"
_INT8 = np.arange(-128, 128)
_NEAR_TIE = 2.0**-9
_FRACTIONS = (16, 15, 17, 14, 18, 13, 19, 20, 21, 12, 22, 10, 8)
"""bits behind the point of the common scale of an addition"""
_NUDGES = sorted(itertools.product(range(-3, 4), repeat=2), key=lambda pair: (abs(pair[0]) + abs(pair[1]), pair))
_MOST_STEPS = 64


def _scaling(factor: Any) -> Scaling:
    multiplier, shift = quantise_float(float(factor))
    return Scaling(multiplier, max(shift, 0), max(-shift, 0))


def _nudged(factor: Any, steps: int) -> Any:
    """A float32 some steps up or down."""
    return (np.asarray(factor, np.float32).view(np.int32) + np.int32(steps)).view(np.float32)[()]


@dataclass(frozen=True)
class Fit:
    """``clamp(rint(fl32(weight * x + bias) * factor) + zero_point)`` for whole numbers x."""

    weight: int
    bias: int
    factor: np.float32
    zero_point: int


def fit_map(
    x: np.ndarray,
    target: np.ndarray,
    ratio: float,
    offset: float,
    zero_points: Sequence[int],
    low: int = -128,
    high: int = 127,
    *,
    first: Fit | None = None,
) -> Fit | None:
    """A `Fit` that gives `target` for all of `x`, or None.

    Parameters
    ----------
    x, target
        Whole numbers, and the int8 result of each.
    ratio, offset
        What the results are before rounding, roughly: ratio * x + offset.
    zero_points
        Those to try. Where results lie exactly between two whole numbers, the parity of the zero point decides.
    low, high
        Clamp.
    first
        To try before all others. Weights above 1 place the bias more finely.
    """

    def fits(weight: Any, bias: Any, factor: Any, zero_point: int) -> np.ndarray:
        scaled = np.rint((weight * x + bias).astype(np.float32) * factor)
        return (np.clip(scaled + zero_point, low, high) == target).all(axis=-1)

    if first is not None and fits(np.int64(first.weight), np.int64(first.bias), first.factor, first.zero_point):
        return first
    largest = 1 << 30
    with np.errstate(all="ignore"):
        for weight in range(1, 128):
            exact = np.float32(ratio / weight)
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


def _integer_steps(ratio: float) -> int | None:
    """The least number of steps of `ratio` that make an odd whole number, exactly."""
    for steps in range(1, _MOST_STEPS + 1):
        total = steps * ratio
        if total == int(total):
            return steps if int(total) % 2 else None
    return None


def _parities(ratios: Sequence[np.float32], zero_points: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Zero points that mean the same: as they are, and with an odd amount moved from the result to an operand."""
    yield zero_points[0], zero_points[1], zero_points[2]
    for operand, sign in itertools.product((0, 1), (1, -1)):
        steps = _integer_steps(float(ratios[operand]))
        if steps is not None:
            moved = list(zero_points)
            moved[operand] -= sign * steps
            moved[2] -= sign * int(steps * float(ratios[operand]))
            if -128 <= moved[2] <= 127:
                yield moved[0], moved[1], moved[2]


def fit_add(scales: tuple[Any, Any, Any], zero_points: tuple[int, int, int], *, single: bool = False) -> Add | None:
    """An `Add` that equals QLinearAdd for all 65,536 pairs of operands, or None.

    Parameters
    ----------
    scales, zero_points
        Of the operands and of the result.
    single
        Whether the tensors have one value: then both orders of `qlinear_add` must give the same.
    """
    a, b = (grid.ravel() for grid in np.meshgrid(_INT8, _INT8, indexing="ij"))
    target = qlinear_add(a, b, scales, zero_points).astype(np.int64)
    if single and not np.array_equal(target, qlinear_add(a, b, scales, zero_points, single=True)):
        return None
    with np.errstate(all="ignore"):
        ratios = [np.float32(scale) / np.float32(scales[2]) for scale in scales[:2]]
    if not all(2.0**-20 <= ratio < 2.0**16 for ratio in ratios):
        return None
    real = float(ratios[0]) * (a - zero_points[0]) + float(ratios[1]) * (b - zero_points[1]) + zero_points[2]
    near = np.abs(real - np.floor(real) - 0.5) < _NEAR_TIE
    near &= (real > -130) & (real < 129)
    for zeros in _parities(ratios, zero_points):
        for fraction in _FRACTIONS:
            size = float(sum(ratios)) * 512 * 2.0**fraction
            if size >= 2.0**31 or min(ratios) * 2.0**fraction >= 2.0**31:
                continue
            for steps in _NUDGES:
                factors = [_nudged(r * np.float32(2.0**fraction), n) for r, n in zip(ratios, steps, strict=True)]
                if not _agrees(a[near], b[near], target[near], factors, fraction, zeros):
                    continue
                layer = Add(zeros[:2], _scaling(factors[0]), _scaling(factors[1]), _scaling(2.0**-fraction), zeros[2])
                # The proof: the layer itself, on every pair.
                if np.array_equal(layer.reference(a.astype(np.int8), b.astype(np.int8), contract=CONTRACT), target):
                    return layer
    return None


def _agrees(a: np.ndarray, b: np.ndarray, target: np.ndarray, factors: Sequence[np.float32], fraction: int,
            zeros: tuple[int, int, int]) -> bool:  # fmt: skip
    total = np.rint((a - zeros[0]).astype(np.float32) * factors[0]).astype(np.int64)
    total += np.rint((b - zeros[1]).astype(np.float32) * factors[1]).astype(np.int64)
    scaled = np.rint(total.astype(np.float32) * np.float32(2.0**-fraction))
    return np.array_equal(np.clip(scaled + zeros[2], -128, 127), target)
