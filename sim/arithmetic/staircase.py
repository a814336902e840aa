"""Requantisation as a staircase function: the results of a rounding contract in a few float operations.

For fixed parameters a contract maps accumulators to results by a non-decreasing function with at most a few hundred
values, which is determined by the accumulators at which it rises. A straight line, rounded down, is also such a
function; if both rise at the same accumulators, they are equal. This is verified on both sides of every rise, for every
multiplier and shift in use, with a margin for the rounding errors of floats. Parameters for which no line passes the
check use the contract's own formula.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from etchnet.sim.arithmetic.contracts import contract_of

__all__ = ["Line", "lines"]

_MOST_RISES = 1024


@dataclass(frozen=True)
class Line:
    """``clip(floor(u * slope + offset), low, high)``, or if `mirrored` the same on both sides of zero.

    Mirrored: ``clip(trunc(y + copysign(offset, y)), low, high)`` where ``y = u * slope``.

    Attributes
    ----------
    margin
        Largest error of the sum before rounding that changes no result.
    reach
        Largest magnitude of the sum near a rise; as floats are rounded relative to their size, it bounds their error.
    """

    slope: float
    offset: float
    mirrored: bool
    margin: float
    reach: float


def lines(
    contract: str,
    multiplier: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    low: int,
    high: int,
    bound: int,
    *,
    mirrored: bool,
) -> list[Line | None]:
    """Find a line with the contract's results for accumulators within +-`bound`, for each set of parameters.

    Parameters
    ----------
    contract
        Name of the contract.
    multiplier, left, right
        int64 (n,).
    low, high
        The clamp, less the zero point.
    bound
        Largest magnitude of the accumulators, bias included; it is raised to a power of two.
    mirrored
        The kind of line to find.

    Returns
    -------
    One entry per set; None if no line fits.
    """
    reach = 1 << int(bound).bit_length()
    wraps = contract_of(contract).wraps
    known = [(int(m), int(a), int(b)) for m, a, b in zip(multiplier, left, right, strict=True)]
    # A left shift that wraps makes the function non-monotonic; with very many rises the search is not worth its cost.
    distinct = sorted({p for p in known if not (wraps and reach << p[1] >= 1 << 31)})
    if not distinct or not 0 <= high - low <= _MOST_RISES:
        return [None] * len(known)
    found = dict(zip(distinct, _lines(contract, tuple(distinct), low, high, reach, mirrored), strict=True))
    return [found.get(key) for key in known]


@functools.lru_cache(maxsize=1 << 10)
def _lines(
    contract: str, parameters: tuple[tuple[int, int, int], ...], low: int, high: int, bound: int, mirrored: bool
) -> list[Line | None]:
    multiplier, left, right = (np.array(column, np.int64)[:, None] for column in zip(*parameters, strict=True))
    scale = contract_of(contract).scale
    n = np.arange(low, high)[None, :]

    def above_n(u: np.ndarray) -> np.ndarray:
        return scale(u, multiplier, left, right) > n

    # For each value n except the last, find the first accumulator whose result is above n: bisection within +-bound,
    # starting from a bracket around the accumulator that the real factor suggests.
    slope = np.ldexp(multiplier.astype(np.float64), (left - right - 31).astype(np.int32))
    guess = np.ceil((n + 0.5) / np.where(slope > 0, slope, 1))
    before = np.full(guess.shape, -bound - 1)
    first = np.full(guess.shape, bound + 1)
    for away in (-2, 2):
        near = np.clip(guess + away, -bound, bound).astype(np.int64)
        over = above_n(near)
        first = np.where(over, np.minimum(first, near), first)
        before = np.where(over, before, np.maximum(before, near))
    while (apart := first - before > 1).any():
        middle = (before + first) >> 1
        over = above_n(middle)
        first = np.where(apart & over, middle, first)
        before = np.where(apart & ~over, middle, before)
    fit = _mirrored if mirrored else _rising
    return [fit(float(slope[i, 0]), first[i], n[0], bound) for i in range(len(parameters))]


def _reach(n: np.ndarray) -> float:
    return float(np.abs(n).max(initial=0) + 2)


def _rising(slope: float, first: np.ndarray, n: np.ndarray, bound: int) -> Line | None:
    """Find a line that rises above n at accumulator `first`, and not before, for every n: floor(sum) > n."""
    # A rise outside the range of accumulators bounds the line on one side only.
    needed = (n + 1 - first * slope)[first <= bound]
    refused = (n + 1 - (first - 1) * slope)[first > -bound]
    least, most = needed.max(initial=-np.inf), refused.min(initial=np.inf)
    if not np.isfinite(least):
        least = min(most, 1.0) - 1.0
    if not np.isfinite(most):
        most = least + 1.0
    return _between(slope, least, most, _reach(n), mirrored=False)


def _mirrored(slope: float, first: np.ndarray, n: np.ndarray, bound: int) -> Line | None:
    """Find a mirrored line: below zero, trunc(u * slope - offset) > n where the sum is above n."""
    rises, rose, positive = first <= bound, first > -bound, n >= 0
    needed = (n + 1 - first * slope)[rises & positive], ((first - 1) * slope - n)[rose & ~positive]
    refused = (n + 1 - (first - 1) * slope)[rose & positive], (first * slope - n)[rises & ~positive]
    least, most = np.concatenate(needed).max(initial=0.0), np.concatenate(refused).min(initial=1.0)
    return _between(slope, least, most, _reach(n), mirrored=True)


def _between(slope: float, least: float, most: float, reach: float, *, mirrored: bool) -> Line | None:
    """Return the line whose offset is midway between both bounds, or None if there is none between them."""
    if not least < most:
        return None
    return Line(slope, float(least + most) / 2, mirrored, float(most - least) / 2, reach)
