"""Epilogues: ways to compute a drain's results from a step's sums, all equal to the rounding contract.

`DrainFunction` is the definition, in int64. The others give the same results in a few float operations, and are used
only where that has been checked for every sum that can occur; `choose_epilogue` takes the fastest that fits.

Sums reach an epilogue in blocks of several rows, as (batch, blocks, rows of a block x channels), because numpy is fast
only in long inner loops. Per-channel parameters are tiled to match.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.sim.arithmetic.contracts import contract_of
from etchnet.sim.arithmetic.reference import rounding_shift, shift_left
from etchnet.sim.arithmetic.staircase import lines
from etchnet.sim.functional.buffers import Scratch, wrap_int32
from etchnet.sim.functional.steps import EpilogueKind

__all__ = [
    "DrainFunction",
    "Epilogue",
    "FormulaEpilogue",
    "LineEpilogue",
    "MirroredLineEpilogue",
    "OffsetEpilogue",
    "SumRange",
    "TableEpilogue",
    "Tabulation",
    "choose_epilogue",
]


@dataclass(frozen=True, eq=False)
class DrainFunction:
    """The function from accumulators to results that a drain applies, channel by channel.

    Parameters
    ----------
    contract
        Name of the rounding contract.
    kind
        The arithmetic that all channels share.
    bias, multiplier, left, right
        int64 (channels,), the fields of `etchnet.hdl.isa.Parameters`.
    """

    contract: str
    kind: EpilogueKind
    bias: np.ndarray
    multiplier: np.ndarray
    left: np.ndarray
    right: np.ndarray

    @property
    def channels(self) -> int:
        """Channels, counted over all column tiles."""
        return len(self.bias)

    @property
    def slope(self) -> np.ndarray:
        """The real factor of each channel, float64: ``multiplier * 2**(left - right - 31)``, without the -31 if raw."""
        exponent = self.left - self.right - (0 if self.kind.raw else 31)
        return np.ldexp(self.multiplier.astype(np.float64), exponent.astype(np.int32))

    @property
    def stored_as_int8(self) -> bool:
        """Whether storing may drop bits: results are stored as int8, but the clamp allows values outside int8."""
        return not self.kind.wide and not (self.kind.low >= -128 and self.kind.high <= 127)

    def __call__(self, sums: np.ndarray) -> np.ndarray:
        """Return the results for accumulators, as stored in memory.

        Parameters
        ----------
        sums
            Whole numbers (..., channels), bias not included; sums and biased sums wrap to int32.

        Returns
        -------
        int64 (..., channels).
        """
        biased = wrap_int32(np.asarray(sums, dtype=np.int64) + self.bias).astype(np.int64)
        kind = self.kind
        if kind.raw:
            low_word = (shift_left(biased, self.left) * self.multiplier).astype(np.int32)
            results = np.clip(rounding_shift(low_word, self.right) + kind.zero_point, kind.low, kind.high)
        else:
            results = contract_of(self.contract).requantise(
                biased, self.multiplier, self.left, self.right, zero_point=kind.zero_point, low=kind.low, high=kind.high
            )
        return self.store(results)

    def store(self, results: np.ndarray) -> np.ndarray:
        """Return clamped results as stored in memory: their low byte as int8, or unchanged if they are wide."""
        return results.astype(np.int64).astype(np.int8).astype(results.dtype) if self.stored_as_int8 else results


@dataclass(frozen=True)
class SumRange:
    """Facts about a step's sums that hold for every input.

    Attributes
    ----------
    bound
        Largest magnitude of a sum.
    wraps
        Whether a fold may overflow int32; then sums are bounded by the range of int32 alone.
    enumerable
        Whether all possible sums, the whole numbers from -`bound` to `bound`, are few enough to list.
    float32
        Whether the sums are exact in float32.
    """

    bound: int
    wraps: bool = False
    enumerable: bool = False
    float32: bool = False


@dataclass(frozen=True, eq=False)
class Tabulation:
    """All results of a drain function with few possible sums: int64 (sums,) and (sums, channels)."""

    sums: np.ndarray
    results: np.ndarray

    @classmethod
    def of(cls, function: DrainFunction, sums: SumRange) -> Tabulation | None:
        """Evaluate the function at every sum; returns None if there are too many."""
        if not sums.enumerable:
            return None
        domain = np.arange(-sums.bound, sums.bound + 1)
        return cls(domain, function(domain[:, None]))

    @property
    def shared(self) -> np.ndarray | None:
        """The results of every channel, int64 (sums,), if all channels have the same."""
        return self.results[:, 0] if (self.results == self.results[:, :1]).all() else None


class Epilogue(ABC):
    """One way to compute a drain function.

    Attributes
    ----------
    result_bound
        Largest magnitude of a result.
    """

    result_bound: int

    @abstractmethod
    def apply(self, sums: np.ndarray, out: np.ndarray, scratch: Scratch) -> None:
        """Write the results of `sums` to `out`: floats (batch, blocks, rows of a block x channels)."""


def _largest_result(kind: EpilogueKind) -> int:
    return max(abs(kind.low), abs(kind.high))


class FormulaEpilogue(Epilogue):
    """The definition itself, in int64; slow, and right for all parameters and sums."""

    def __init__(self, function: DrainFunction) -> None:
        self._function = function
        self.result_bound = _largest_result(function.kind)

    def apply(self, sums: np.ndarray, out: np.ndarray, scratch: Scratch) -> None:
        """Evaluate the formula; see `Epilogue.apply`."""
        out[...] = self._function(sums.reshape(-1, self._function.channels)).reshape(out.shape)


class OffsetEpilogue(Epilogue):
    """Raw sums with multiplier 1 and no shift: the bias and the zero point are added, and the total is clamped."""

    def __init__(self, function: DrainFunction, bound: int, rows: int) -> None:
        self._function, kind = function, function.kind
        self._offset = np.tile(function.bias + kind.zero_point, rows).astype(np.float64)
        self.result_bound = min(_largest_result(kind), bound + int(np.abs(function.bias).max()) + abs(kind.zero_point))

    @classmethod
    def fit(cls, function: DrainFunction, bound: int, rows: int) -> OffsetEpilogue | None:
        """Return the epilogue if the drain is raw, with multiplier 1 and no shift in all channels, else None."""
        trivial = (function.multiplier == 1).all() and not function.left.any() and not function.right.any()
        return cls(function, bound, rows) if function.kind.raw and trivial else None

    def apply(self, sums: np.ndarray, out: np.ndarray, scratch: Scratch) -> None:
        """Add and clamp; see `Epilogue.apply`."""
        total = np.add(sums, self._offset, out=scratch.take("total", sums.shape, np.float64))
        np.clip(total, self._function.kind.low, self._function.kind.high, out=total)
        out[...] = self._function.store(total)


class TableEpilogue(Epilogue):
    """A lookup of every sum, for functions with few possible sums."""

    def __init__(self, table: Tabulation, rows: int) -> None:
        channels = table.results.shape[1]
        self._low, self._channels = int(table.sums[0]), channels
        shared = table.shared
        self._column = None if shared is not None else np.tile(np.arange(channels), rows)
        self._table = np.ascontiguousarray(table.results if shared is None else shared, np.float64).ravel()
        self.result_bound = int(np.abs(table.results).max())

    def apply(self, sums: np.ndarray, out: np.ndarray, scratch: Scratch) -> None:
        """Look up each sum; see `Epilogue.apply`."""
        index = scratch.take("index", sums.shape, np.intp)
        np.subtract(sums, self._low, out=index, casting="unsafe")
        if self._column is not None:
            index *= self._channels
            index += self._column
        out[...] = self._table.take(index, out=scratch.take("looked up", sums.shape, np.float64), mode="clip")


class LineEpilogue(Epilogue):
    """``clip(floor(sum * slope + offset), low, high)`` in floats.

    Parameters
    ----------
    slope, offset
        float64 (channels,).
    dtype
        The float type to compute in.
    clamp
        Smallest and largest result, or None if the line never exceeds them.
    result_bound
        Largest magnitude of a result.
    rows
        Rows of a block.
    """

    def __init__(
        self,
        slope: np.ndarray,
        offset: np.ndarray,
        *,
        dtype: Any,
        clamp: tuple[int, int] | None,
        result_bound: int,
        rows: int,
    ) -> None:
        self._dtype, self._clamp = dtype, clamp
        self._slope, self._offset = (np.tile(values, rows).astype(dtype) for values in (slope, offset))
        self.result_bound = result_bound

    @classmethod
    def fit_table(cls, function: DrainFunction, table: Tabulation, rows: int) -> LineEpilogue | None:
        """Return a line that gives every entry of a table without a clamp, or None if there is none."""
        slope = function.slope
        offset = function.bias * slope + function.kind.zero_point + 0.5
        if (np.floor(table.sums[:, None] * slope + offset) != table.results).any():
            return None
        bound = int(np.abs(table.results).max())
        return cls(slope, offset, dtype=np.float64, clamp=None, result_bound=bound, rows=rows)

    def apply(self, sums: np.ndarray, out: np.ndarray, scratch: Scratch) -> None:
        """Evaluate the line; see `Epilogue.apply`."""
        total = scratch.take("total", sums.shape, self._dtype)
        np.multiply(sums, self._slope, out=total)
        total += self._offset
        np.floor(total, out=out, casting="same_kind")
        if self._clamp is not None:
            out.clip(*self._clamp, out=out)


class MirroredLineEpilogue(Epilogue):
    """``clip(trunc(y + copysign(offset, y)) + zero_point, low, high)``, ``y = sum * slope + shift``, in floats.

    This form suits contracts that round ties away from zero. Parameters are as for `LineEpilogue`; `shift` is the bias
    times the slope.
    """

    def __init__(
        self,
        slope: np.ndarray,
        shift: np.ndarray,
        offset: np.ndarray,
        *,
        dtype: Any,
        kind: EpilogueKind,
        rows: int,
    ) -> None:
        self._dtype, self._clamp, self._zero_point = dtype, (kind.low, kind.high), kind.zero_point
        self._slope, self._shift, self._offset = (np.tile(v, rows).astype(dtype) for v in (slope, shift, offset))
        self.result_bound = _largest_result(kind)

    def apply(self, sums: np.ndarray, out: np.ndarray, scratch: Scratch) -> None:
        """Evaluate the line on both sides of zero; see `Epilogue.apply`."""
        total = scratch.take("total", sums.shape, self._dtype)
        np.multiply(sums, self._slope, out=total)
        total += self._shift
        total += np.copysign(self._offset, total, out=scratch.take("away", total.shape, self._dtype))
        np.trunc(total, out=out, casting="same_kind")
        out += self._zero_point
        out.clip(*self._clamp, out=out)


def _fit_staircase(function: DrainFunction, sums: SumRange, rows: int) -> LineEpilogue | MirroredLineEpilogue | None:
    """Return a line with the same results as the rounding contract, in the smallest float type that is exact enough.

    Returns None if no line fits, and for drains whose results may exceed int8. See `etchnet.sim.arithmetic.staircase`.
    """
    kind, bias = function.kind, function.bias
    if kind.raw or kind.low < -128 or kind.high > 127:
        return None
    low, high = kind.low - kind.zero_point, kind.high - kind.zero_point
    biased = sums.bound + int(np.abs(bias).max())
    for mirrored in (False, True):
        found = lines(
            function.contract,
            function.multiplier,
            function.left,
            function.right,
            low,
            high,
            biased,
            mirrored=mirrored,
        )
        fitted = [line for line in found if line is not None]
        if len(fitted) < len(found):
            continue
        slope, offset, margin, reach = (
            np.array([getattr(line, name) for line in fitted]) for name in ("slope", "offset", "margin", "reach")
        )
        shift = bias * slope
        size = reach + np.abs(shift) + abs(kind.zero_point) + 1
        for dtype, digits in ((np.float32, 24), (np.float64, 53)):
            # The slope, the product, the offset and the sum are each rounded once.
            if (margin <= 2.0**-digits * 4 * size).any() or not (sums.float32 or dtype is np.float64):
                continue
            if mirrored:
                return MirroredLineEpilogue(slope, shift, offset, dtype=dtype, kind=kind, rows=rows)
            return LineEpilogue(
                slope,
                shift + offset + kind.zero_point,
                dtype=dtype,
                clamp=(kind.low, kind.high),
                result_bound=_largest_result(kind),
                rows=rows,
            )
    return None


def choose_epilogue(function: DrainFunction, sums: SumRange, table: Tabulation | None, rows: int) -> Epilogue:
    """Return the fastest epilogue that equals a drain function for all sums that can occur.

    Parameters
    ----------
    function
        The definition.
    sums
        The sums that can occur.
    table
        `Tabulation.of(function, sums)`.
    rows
        Accumulator rows in a block.
    """
    if sums.wraps or sums.bound + int(np.abs(function.bias).max()) >= 1 << 31:
        return FormulaEpilogue(function)
    if (offset := OffsetEpilogue.fit(function, sums.bound, rows)) is not None:
        return offset
    if table is not None:
        return LineEpilogue.fit_table(function, table, rows) or TableEpilogue(table, rows)
    return _fit_staircase(function, sums, rows) or FormulaEpilogue(function)
