"""The steps of a plan on BLAS, exact to the bit."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.isa import Fold
from etchnet.sim.arithmetic.contracts import contract_of
from etchnet.sim.arithmetic.reference import rounding_shift, shift_left
from etchnet.sim.arithmetic.staircase import lines
from etchnet.sim.functional.plan import Kind, Plan, Step

__all__ = ["EXACT_FLOAT32", "Kernels", "Values"]

EXACT_FLOAT32 = 1 << 24
"""Whole numbers up to this magnitude are exact in float32, and so is every sum whose terms' magnitudes add up to it,
in whatever order, fused or not."""
_LARGEST_BYTE = 128
_BLOCK = 1 << 11
"""elements that are taken together, where rows have few channels"""
_CACHED = 1 << 20
"""bytes of gathered operands that are multiplied at once"""
_TABLE = 1 << 12
"""operand values up to which results are looked up"""


def _wrapped(values: np.ndarray) -> np.ndarray:
    """Modulo 2**32, as int32."""
    return values.astype(np.int64).astype(np.int32)


def _run(indices: np.ndarray) -> slice | None:
    """The slice that consecutive indices are, or None."""
    flat = indices.ravel()
    if len(flat) and flat[-1] - flat[0] == len(flat) - 1 and (np.diff(flat) == 1).all():
        return slice(int(flat[0]), int(flat[-1]) + 1)
    return None


class _Scratch:
    """Buffers that are used again and again: fresh memory costs more than what is computed in it."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, type], np.ndarray] = {}
        self._views: dict[tuple[str, tuple[int, ...], type], np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """An array of that shape, with anything in it; the one before of that name is gone."""
        view = self._views.get((name, shape, dtype))
        if view is not None:
            return view
        size, key = math.prod(shape), (name, dtype)
        if key not in self._buffers or self._buffers[key].size < size:
            self._buffers[key] = np.empty(size, dtype)
            self._views = {known: v for known, v in self._views.items() if (known[0], known[2]) != key}
        self._views[name, shape, dtype] = view = self._buffers[key][:size].reshape(shape)
        return view


@dataclass(frozen=True, eq=False)
class Values:
    """All that a batch of repeats computed: float32 cells (batch, cells, cell), float64 rows (batch, values, columns).

    Whole numbers all of them.
    """

    cells: np.ndarray
    rows: np.ndarray


class _Segment:
    """Terms that are folded together: gathered, multiplied or reduced, and folded into what came before."""

    def __init__(self, step: Step, first: int, last: int, columns: slice, plan: Plan, tiles: np.ndarray) -> None:
        config = plan.config
        terms = step.terms[0][first:last]
        self.fold, self.kind = terms[0].fold, terms[0].kind
        self.largest = len(terms) > 1 and terms[1].fold == Fold.MAX
        self.indices = np.ascontiguousarray(step.operands[:, columns])
        self.run = _run(self.indices)
        self.tiles = len(step.terms)
        self.weights: list[tuple[slice, np.ndarray]] = []
        if self.kind is Kind.VALUE:
            return
        self.bound = _LARGEST_BYTE * (1 if self.largest else len(terms))
        if self.kind is Kind.WORD:
            return
        chosen = tiles[[[t[i].tile for t in step.terms] for i in range(first, last)]]
        if self.kind is Kind.WINDOW:
            taps = self.indices.shape[1]
            weights = chosen[0, :, :taps].transpose(1, 2, 0).astype(np.float32)
            self.weights = [(slice(0, taps), np.ascontiguousarray(weights))]
            self.bound = int(np.abs(weights).sum(axis=0).max()) * _LARGEST_BYTE
            return
        weights = chosen.transpose(0, 2, 1, 3).reshape(len(terms) * config.rows, -1).astype(np.float32)
        # int8 times int8 is at most 2**14: so many rows of any weights are exact.
        self.bound = len(weights) * _LARGEST_BYTE**2
        if self.bound > EXACT_FLOAT32:
            magnitudes = np.abs(weights)
            self.bound = int(magnitudes.sum(axis=0, dtype=np.float64).max()) * _LARGEST_BYTE
        begin, end = 0, len(weights)
        while begin < len(weights):
            if self.bound > EXACT_FLOAT32:
                # As many rows at once as keep every partial sum within what float32 holds.
                sums = np.cumsum(magnitudes[begin:], axis=0, dtype=np.float64).max(axis=1) * _LARGEST_BYTE
                end = begin + int(np.searchsorted(sums, EXACT_FLOAT32, side="right"))
            self.weights.append((slice(begin, end), np.ascontiguousarray(weights[begin:end])))
            begin = end

    def compute(self, values: Values, scratch: _Scratch) -> np.ndarray:
        """(batch x rows, column tiles x columns): float32 where one product gives it, or float64."""
        pool = values.rows if self.kind is Kind.VALUE else values.cells
        batch, width = len(pool), pool.shape[2]
        rows, count = self.indices.shape
        if self.kind is Kind.DENSE:
            return self._product(pool, scratch)
        if self.run is not None:
            gathered = pool[:, self.run].reshape(batch, rows, count, width)
        else:
            gathered = scratch.take(f"gathered {self.kind.name}", (batch, rows, count, width), pool.dtype.type)
            pool.take(self.indices, axis=1, out=gathered, mode="clip")
        if self.kind is Kind.WINDOW:
            sums = np.einsum("brkc,kct->brtc", gathered, self.weights[0][1])
            return sums.reshape(batch * rows, -1)
        if count == 1:
            sums = gathered[:, :, 0]
        else:
            sums = gathered.max(axis=2) if self.largest else gathered.sum(axis=2)
        if self.tiles > 1:
            sums = np.repeat(sums[:, :, None], self.tiles, axis=2)
        return np.ascontiguousarray(sums).reshape(batch * rows, -1)

    def _product(self, pool: np.ndarray, scratch: _Scratch) -> np.ndarray:
        (batch, _, width), (rows, count) = pool.shape, self.indices.shape
        outputs = self.weights[0][1].shape[1]
        if self.run is not None:
            operands = pool[:, self.run].reshape(batch * rows, count * width)
            sums = scratch.take("sums", (len(operands), outputs), np.float32)
            return self._multiply(operands, sums)
        sums = scratch.take("sums", (batch, rows, outputs), np.float32)
        if len(self.weights) > 1:
            sums = np.empty((batch, rows, outputs))
        # As many rows at once as stay in the cache.
        block = max(1, _CACHED // (4 * count * width))
        for item in range(batch):
            for first in range(0, rows, block):
                indices = self.indices[first : first + block]
                gathered = scratch.take("gathered", (*indices.shape, width), np.float32)
                pool[item].take(indices, axis=0, out=gathered, mode="clip")
                self._multiply(gathered.reshape(len(indices), -1), sums[item, first : first + block])
        return sums.reshape(batch * rows, outputs)

    def _multiply(self, operands: np.ndarray, out: np.ndarray) -> np.ndarray:
        if len(self.weights) == 1:
            return np.matmul(operands, self.weights[0][1], out=out)
        total = np.zeros((len(operands), out.shape[1]))
        for where, weights in self.weights:
            total += operands[:, where] @ weights
        if out.dtype == total.dtype:
            out[...] = total
        return total


class _Kernel:
    """One step with its weights and parameters."""

    def __init__(
        self, step: Step, plan: Plan, tiles: np.ndarray, fields: dict[str, np.ndarray], bounds: np.ndarray
    ) -> None:
        config = plan.config
        self.step, self.config = step, config
        self.parts = 1 if step.form.wide or config.rows % config.columns == 0 else config.words_per_pixel()
        self.segments = self._segments(plan, tiles)
        for segment in self.segments:
            if segment.kind is Kind.VALUE:
                segment.bound = int(bounds[segment.indices].max())
        form = step.form
        self.bias, self.multiplier, self.left, self.right = (
            fields[name].ravel() for name in ("bias", "multiplier", "left", "right")
        )
        bound, most = 0, 0
        for segment in self.segments:
            bound = (
                bound + segment.bound
                if segment.fold == Fold.ADD
                else max(segment.bound, bound if segment.fold == Fold.MAX else 0)
            )
            most = max(most, bound)
        self.wraps = most >= 1 << 31
        # Channels' parameters are laid out for several rows at once: long inner loops are what numpy is quick at.
        self.channels, rows = len(self.bias), len(step.operands)
        self.repeat = max(r for r in range(1, min(rows, max(1, _BLOCK // self.channels)) + 1) if rows % r == 0)
        biased = bound + int(np.abs(self.bias).max())
        self.result_bound = max(abs(form.low), abs(form.high))
        floats = np.float64 if form.wide else np.float32
        self.clamp = floats(form.low), floats(form.high)
        self.given: tuple[np.ndarray, np.ndarray] | None = None
        """operands and results, where operands are few and all channels are alike"""
        self.finish: Callable[[np.ndarray, np.ndarray, _Scratch], None] = self._formula
        if self.wraps or biased >= 1 << 31:
            return
        plain = form.raw and (self.multiplier == 1).all() and not self.left.any() and not self.right.any()
        domain = self._domain()
        if plain:
            self.offset = self._repeated(self.bias + form.zero_point).astype(np.float64)
            self.result_bound = min(self.result_bound, biased + 128)
            self.finish = self._plain
        elif domain is not None:
            self._tabulate(domain)
        elif not form.raw:
            self._fit_lines(biased)

    @property
    def multiplications(self) -> int:
        """Those of its largest matrix product."""
        return len(self.step.operands) * max((w.size for s in self.segments for _, w in s.weights), default=0)

    def _segments(self, plan: Plan, tiles: np.ndarray) -> list[_Segment]:
        terms = self.step.terms[0]
        segments, begin, column = [], 0, 0
        while begin < len(terms):
            head, end = terms[begin], begin + 1
            reduced = None
            while end < len(terms) and terms[end].kind is head.kind and head.kind in (Kind.DENSE, Kind.WORD):
                fold = terms[end].fold
                if fold != (reduced or fold) or (fold == Fold.MAX and head.kind is Kind.DENSE):
                    break
                if head.fold not in (Fold.SET, fold):
                    break
                reduced, end = fold, end + 1
            width = sum(plan.width(term) for term in terms[begin:end])
            segments.append(_Segment(self.step, begin, end, slice(column, column + width), plan, tiles))
            begin, column = end, column + width
        return segments

    def _domain(self) -> tuple[int, int] | None:
        """The values that an accumulator may have, where they are few."""
        if len(self.segments) > 1 or self.segments[0].indices.shape[1] > 1:
            return None
        segment = self.segments[0]
        if segment.kind in (Kind.WORD, Kind.VALUE) and 2 * segment.bound < _TABLE:
            return -segment.bound, segment.bound
        return None

    def _requantise(self, biased: np.ndarray) -> np.ndarray:
        """By the formula of the contract, int64 of columns (bias added, within int32)."""
        form = self.step.form
        if form.raw:
            low_word = (shift_left(biased, self.left) * self.multiplier).astype(np.int32)
            return np.clip(rounding_shift(low_word, self.right) + form.zero_point, form.low, form.high)
        return contract_of(self.config).requantise(
            biased, self.multiplier, self.left, self.right, zero_point=form.zero_point, low=form.low, high=form.high
        )

    def _narrow(self, values: np.ndarray) -> np.ndarray:
        """Results as they are stored: int8 keeps the low byte."""
        if self.step.form.wide or (self.step.form.low >= -128 and self.step.form.high <= 127):
            return values
        return values.astype(np.int64).astype(np.int8)

    def _tabulate(self, domain: tuple[int, int]) -> None:
        form = self.step.form
        low, high = domain
        operands = np.arange(low, high + 1)[:, None]
        values = self._narrow(self._requantise(operands + self.bias)).astype(np.int64)
        self.result_bound = int(np.abs(values).max())
        alike = bool((values == values[:, :1]).all())
        self.given = (operands[:, 0], values[:, 0]) if alike else None
        # Often a line goes through all of them; that is quicker than looking up.
        slope = np.ldexp(self.multiplier.astype(np.float64), (self.left - self.right - 31).astype(np.int32))
        offset = self.bias * slope + form.zero_point + 0.5
        if (np.floor(operands * slope + offset) == values).all():
            self.dtype: Any = np.float64
            self.slope, self.offset, self.clamps = self._repeated(slope), self._repeated(offset), False
            self.finish = self._line
            return
        self.table_low = low
        self.columns = None if alike else self._repeated(np.arange(self.channels))
        self.table = np.ascontiguousarray(values[:, :1] if alike else values, np.float64).ravel()
        self.finish = self._table

    def _repeated(self, parameters: np.ndarray) -> np.ndarray:
        """One value per channel, for each row of a block."""
        return np.tile(parameters, self.repeat)

    def _fit_lines(self, biased: int) -> None:
        """Take the contract's staircases for straight lines, where floats hold them."""
        form = self.step.form
        if form.low < -128 or form.high > 127:
            return
        low, high = form.low - form.zero_point, form.high - form.zero_point
        for mirrored in (False, True):
            found = lines(
                self.config.contract, self.multiplier, self.left, self.right, low, high, biased, mirrored=mirrored
            )
            some = [line for line in found if line is not None]
            if len(some) < len(found):
                continue
            slope, offset, margin, reach = (
                np.array([getattr(line, name) for line in some]) for name in ("slope", "offset", "margin", "reach")
            )
            shift = self.bias * slope
            size = reach + np.abs(shift) + abs(form.zero_point) + 1
            single = len(self.segments) == 1 and len(self.segments[0].weights) == 1
            for dtype, digits in ((np.float32, 24), (np.float64, 53)):
                # The slope, the product, the offset and the sum are each rounded once.
                if (margin <= 2.0**-digits * 4 * size).any() or not (single or dtype is np.float64):
                    continue
                self.dtype, self.clamps = dtype, True
                self.slope = self._repeated(slope).astype(dtype)
                if mirrored:
                    self.shift, self.offset = self._repeated(shift).astype(dtype), self._repeated(offset).astype(dtype)
                    self.finish = self._mirrored_line
                else:
                    self.offset = self._repeated(shift + offset + form.zero_point).astype(dtype)
                    self.finish = self._line
                return

    # From accumulators to results: arrays of (batch, blocks of rows, rows of a block x channels).

    def _plain(self, sums: np.ndarray, out: np.ndarray, scratch: _Scratch) -> None:
        total = np.add(sums, self.offset, out=scratch.take("total", sums.shape, np.float64))
        np.clip(total, self.step.form.low, self.step.form.high, out=total)
        out[...] = self._narrow(total)

    def _table(self, sums: np.ndarray, out: np.ndarray, scratch: _Scratch) -> None:
        index = scratch.take("index", sums.shape, np.intp)
        np.subtract(sums, self.table_low, out=index, casting="unsafe")
        if self.columns is not None:
            index *= self.channels
            index += self.columns
        out[...] = self.table.take(index, out=scratch.take("looked up", sums.shape, np.float64), mode="clip")

    def _line(self, sums: np.ndarray, out: np.ndarray, scratch: _Scratch) -> None:
        total = scratch.take("total", sums.shape, self.dtype)
        np.multiply(sums, self.slope, out=total)
        total += self.offset
        np.floor(total, out=out, casting="same_kind")
        if self.clamps:
            out.clip(*self.clamp, out=out)

    def _mirrored_line(self, sums: np.ndarray, out: np.ndarray, scratch: _Scratch) -> None:
        total = scratch.take("total", sums.shape, self.dtype)
        np.multiply(sums, self.slope, out=total)
        total += self.shift
        total += np.copysign(self.offset, total, out=scratch.take("away", total.shape, self.dtype))
        np.trunc(total, out=out, casting="same_kind")
        out += self.step.form.zero_point
        out.clip(*self.clamp, out=out)

    def _formula(self, sums: np.ndarray, out: np.ndarray, scratch: _Scratch) -> None:
        flat = sums.reshape(-1, self.channels).astype(np.int64) + self.bias
        out[...] = self._narrow(self._requantise(_wrapped(flat).astype(np.int64))).reshape(out.shape)

    def compute(self, values: Values, scratch: _Scratch) -> None:
        """The step's results, into their cells or value rows."""
        sums = self.segments[0].compute(values, scratch)
        if len(self.segments) > 1:
            # The next segment's may be computed in the same place.
            folded = scratch.take("folded", sums.shape, np.float64)
            folded[...] = _wrapped(sums) if self.wraps else sums
            sums = folded
        for segment in self.segments[1:]:
            fold = np.maximum if segment.fold == Fold.MAX else np.add
            new = segment.compute(values, scratch)
            fold(folded, new, out=folded)
            if self.wraps:
                folded[...] = _wrapped(folded)
        step, config = self.step, self.config
        rows, tiles, batch = len(step.operands), len(step.terms), len(values.cells)
        pool, count = (values.rows, rows * tiles) if step.form.wide else (values.cells, rows * tiles * self.parts)
        target = pool[:, step.first : step.first + count]
        blocks = batch, rows // self.repeat, self.repeat * self.channels
        if target.shape[1] * target.shape[2] == rows * self.channels:
            self.finish(sums.reshape(blocks), target.reshape(blocks), scratch)
            return
        results = scratch.take("results", blocks, np.float32)
        self.finish(sums.reshape(blocks), results, scratch)
        padded = target.reshape(batch, rows * tiles, -1)
        padded[..., config.columns :] = 0
        padded[..., : config.columns] = results.reshape(batch, rows * tiles, -1)


class _PairKernel:
    """A residual addition at once: two operands, each through a drain of its own into one accumulator, and what the
    drain of the sum makes of it.

    Each operand has few values, so all pairs can be tried: where a plane rounded down gives the same results for all of
    them, it is the same function.
    """

    def __init__(
        self, kernel: _Kernel, first: _Kernel, second: _Kernel, slope: tuple[float, float], offset: float
    ) -> None:
        self.kernel, self.slope, self.offset = kernel, slope, offset
        self.operands = []
        for segment, source in zip(kernel.segments, (first, second), strict=True):
            own = source.segments[0]
            rows, tiles = np.divmod(segment.indices[:, 0] - source.step.first, len(source.step.terms))
            del tiles
            indices = own.indices[rows, 0]
            self.operands.append((own.kind, _run(indices) or indices))

    @classmethod
    def of(cls, kernel: _Kernel, sources: list[_Kernel | None]) -> _PairKernel | None:
        """The addition that `kernel` completes, if it is one that a plane gives."""
        form = kernel.step.form
        if len(sources) != 2 or form.wide or form.raw or form.low < -128 or form.high > 127 or kernel.wraps:
            return None
        first, second = sources
        alike = all((f == f[0]).all() for f in (kernel.bias, kernel.multiplier, kernel.left, kernel.right))
        if first is None or second is None or first.given is None or second.given is None or not alike:
            return None
        (a, at), (b, bt) = first.given, second.given
        biased = at[:, None] + bt + kernel.bias[0]
        if np.abs(biased).max() >= 1 << 31:
            return None
        wanted = contract_of(kernel.config).requantise(
            biased,
            kernel.multiplier[0],
            kernel.left[0],
            kernel.right[0],
            zero_point=form.zero_point,
            low=form.low,
            high=form.high,
        )
        scale = math.ldexp(int(kernel.multiplier[0]), int(kernel.left[0] - kernel.right[0] - 31))
        slope = [math.ldexp(int(k.multiplier[0]), int(k.left[0] - k.right[0] - 31)) * scale for k in (first, second)]
        plane = a[:, None] * slope[0] + b * slope[1]
        least = (wanted - plane)[wanted > form.low].max(initial=-1e9)
        most = (wanted + 1 - plane)[wanted < form.high].min(initial=1e9)
        offset = float(least + most) / 2
        if (np.clip(np.floor(plane + offset), form.low, form.high) != wanted).any():
            return None
        return cls(kernel, first, second, (slope[0], slope[1]), offset)

    def compute(self, values: Values, scratch: _Scratch) -> None:
        """The sums' results, into their cells."""
        step, batch = self.kernel.step, len(values.cells)
        shape = batch, len(step.operands) * self.kernel.channels
        total, other = scratch.take("total", shape, np.float64), scratch.take("away", shape, np.float64)
        for (kind, indices), slope, product in zip(self.operands, self.slope, (total, other), strict=True):
            pool = values.rows if kind is Kind.VALUE else values.cells
            gathered = pool[:, indices] if isinstance(indices, slice) else pool.take(indices, axis=1, mode="clip")
            np.multiply(gathered.reshape(shape), slope, out=product, dtype=np.float64)
        total += other
        total += self.offset
        out = values.cells[:, step.first : step.first + shape[1] // values.cells.shape[2]].reshape(shape)
        np.floor(total, out=out, casting="same_kind")
        out.clip(*self.kernel.clamp, out=out)


class Kernels:
    """A plan with its weights and parameters, ready for inputs.

    Parameters
    ----------
    plan
        The steps.
    tiles
        int8 (tiles, rows, columns): what the passes of `plan.tiles` hold.
    parameters
        The fields of every set of `plan.parameters`, by name: int64 (sets, columns).

    Attributes
    ----------
    bytes
        Bytes of the values of one input.
    largest_product
        Multiplications of the largest matrix product of one input.
    one_product
        Whether that is most of the work.
    """

    def __init__(self, plan: Plan, tiles: np.ndarray, parameters: dict[str, np.ndarray]) -> None:
        self.plan = plan
        self._own = threading.local()
        self._kernels: list[_Kernel] = []
        bounds = np.zeros(plan.values, np.int64)
        for step in plan.steps:
            fields = {name: values[step.parameters] for name, values in parameters.items()}
            kernel = _Kernel(step, plan, tiles, fields, bounds)
            if step.form.wide:
                bounds[step.first : step.first + len(step.operands) * len(step.terms)] = kernel.result_bound
            self._kernels.append(kernel)
        self._quick = self._joined()
        self._output_runs: dict[int, slice | None] = {}
        self.bytes = 4 * plan.cells * plan.cell + 8 * plan.values * plan.config.columns
        products = [kernel.multiplications for kernel in self._kernels]
        self.largest_product = max(products)
        self.one_product = 2 * max(products) >= sum(products)

    def _joined(self) -> list[_Kernel | _PairKernel]:
        """The kernels with additions in one, and without those whose results nobody reads then."""
        plan = self.plan
        owner = np.full(plan.values, -1)
        for index, kernel in enumerate(self._kernels):
            step = kernel.step
            if step.form.wide:
                owner[step.first : step.first + len(step.operands) * len(step.terms)] = index
        joined: list[_Kernel | _PairKernel] = []
        needed = {int(o) for o in np.unique(owner[plan.output_values[..., 0][plan.output_values[..., 0] >= 0]])}
        for kernel in self._kernels:
            read = [np.unique(owner[s.indices]).tolist() for s in kernel.segments if s.kind is Kind.VALUE]
            single = all(len(o) == 1 for o in read) and len(read) == len(kernel.segments)
            pair = _PairKernel.of(kernel, [self._kernels[o[0]] for o in read]) if single else None
            joined.append(pair or kernel)
            if pair is None:
                needed.update(o for some in read for o in some)
            else:
                sources = [s for o in read for s in self._kernels[o[0]].segments]
                needed.update(int(o) for s in sources if s.kind is Kind.VALUE for o in np.unique(owner[s.indices]))
        return [
            kernel
            for index, kernel in enumerate(joined)
            if isinstance(kernel, _PairKernel) or not kernel.step.form.wide or index in needed
        ]

    def compute(self, halves: np.ndarray, *, keep: bool = False) -> Values:
        """Everything that repeats compute from inputs, int8 (batch, halves per repeat, words, rows).

        Unless they are kept, the values are overwritten by the next call.
        """
        plan, batch = self.plan, len(halves)
        if not hasattr(self._own, "scratch"):
            self._own.scratch = _Scratch()
        scratch: _Scratch = self._own.scratch
        shapes = (batch, plan.cells, plan.cell), (batch, plan.values, plan.config.columns)
        values = (
            Values(np.zeros(shapes[0], np.float32), np.zeros(shapes[1]))
            if keep
            else Values(scratch.take("cells", shapes[0], np.float32), scratch.take("rows", shapes[1], np.float64))
        )
        words = plan.input_words
        inputs = plan.halves * words * plan.lanes
        values.cells[:, :inputs].reshape(batch, plan.halves, words, plan.config.rows)[...] = halves[
            :, : plan.halves, :words
        ]
        for index, pad in enumerate(plan.pads):
            values.cells[:, inputs + index] = pad
        for kernel in self._kernels if keep else self._quick:
            kernel.compute(values, scratch)
        return values

    def outputs(self, values: Values, words: int) -> np.ndarray:
        """The first words of the output memory: uint8 (batch, words, rows); what was never written is zero."""
        plan, config = self.plan, self.plan.config
        cells = plan.output_cells[:words]
        batch = len(values.cells)
        if words not in self._output_runs:
            self._output_runs[words] = _run(cells)
        if (run := self._output_runs[words]) is not None:
            return values.cells[:, run].astype(np.int8).view(np.uint8).reshape(batch, words, config.rows)
        result = np.zeros((batch, words, plan.lanes, plan.cell), np.uint8)
        where = cells >= 0
        result[:, where] = values.cells[:, cells[where]].astype(np.int8).view(np.uint8)
        rows, part = plan.output_values[:words, :, 0], plan.output_values[:words, :, 1]
        where = rows >= 0
        if where.any():
            size = config.words_per_pixel(wide=True) * config.rows
            raw = np.zeros((batch, int(where.sum()), size), np.uint8)
            raw[..., : 4 * config.columns] = _wrapped(values.rows[:, rows[where]]).view(np.uint8)
            pieces = raw.reshape(batch, len(raw[0]), -1, plan.cell)
            result[:, where] = pieces[:, np.arange(len(raw[0])), part[where]]
        return result.reshape(batch, words, config.rows)

    def results(self, values: Values, drain: int) -> np.ndarray:
        """What a drain gave: int32 (batch, tiles x pixels, columns)."""
        plan = self.plan
        ids = plan.drain_results[drain]
        if plan.wide[drain]:
            return values.rows[:, ids.ravel()].astype(np.int32)
        found = values.cells[:, ids].reshape(len(values.cells), ids.shape[0] * ids.shape[1], -1)
        return found[..., : plan.config.columns].astype(np.int32)
