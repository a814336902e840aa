"""Segments of a step: runs of folds that are computed by one gather and one product or reduction.

All sums are whole numbers in floats, and exact: a product is cut wherever a partial sum could exceed `EXACT_FLOAT32`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from etchnet.hdl.isa import Fold
from etchnet.sim.functional.buffers import Scratch, Values, as_slice
from etchnet.sim.functional.plan import Plan
from etchnet.sim.functional.steps import OperandKind, Step

__all__ = ["EXACT_FLOAT32", "Segment", "segments_of"]

EXACT_FLOAT32 = 1 << 24
"""Whole numbers up to this magnitude are exact in float32, and so is every sum whose terms' magnitudes add up to no
more than this, in any order, with or without fused multiply-add."""
_LARGEST_BYTE = 128
"""largest magnitude of an int8"""
_CACHED = 1 << 20
"""bytes of gathered operands that are multiplied at once, to stay in the cache"""


class Segment(ABC):
    """Consecutive folds of a step that are computed together.

    Attributes
    ----------
    fold
        How the segment's sums are folded into those of the segments before it.
    kind
        The kind of its operands.
    indices
        int64 (rows, operands per row): cells or value rows.
    bound
        Largest possible magnitude of its sums.
    single_product
        Whether the sums are one float32 product, exact in float32.
    multiplications
        Multiplications per input of its largest matrix product.
    """

    single_product = False
    multiplications = 0

    def __init__(self, step: Step, first: int, columns: slice) -> None:
        self.fold, self.kind = step.terms[0][first].fold, step.terms[0][first].kind
        self.indices = np.ascontiguousarray(step.operands[:, columns])
        self.bound = 0
        self._run = as_slice(self.indices)

    @abstractmethod
    def compute(self, values: Values, scratch: Scratch) -> np.ndarray:
        """Return the sums: float32 or float64 (batch x rows, column tiles x columns).

        The result may be a buffer that the next call overwrites.
        """

    def _gather(self, pool: np.ndarray, scratch: Scratch) -> np.ndarray:
        """Return the operands of all rows: (batch, rows, operands per row, elements of an operand)."""
        shape = len(pool), *self.indices.shape, pool.shape[2]
        if self._run is not None:
            return pool[:, self._run].reshape(shape)
        gathered = scratch.take(f"gathered {self.kind.name}", shape, pool.dtype.type)
        pool.take(self.indices, axis=1, out=gathered, mode="clip")
        return gathered


class ReducedSegment(Segment):
    """The sum or the maximum of operands that no tile multiplies: words or value rows."""

    def __init__(self, step: Step, first: int, stop: int, columns: slice, value_bounds: np.ndarray) -> None:
        super().__init__(step, first, columns)
        self._largest = stop - first > 1 and step.terms[0][first + 1].fold == Fold.MAX
        self._tiles = len(step.terms)
        if self.kind is OperandKind.VALUE:
            self.bound = int(value_bounds[self.indices].max())
        else:
            self.bound = _LARGEST_BYTE * (1 if self._largest else stop - first)

    def compute(self, values: Values, scratch: Scratch) -> np.ndarray:
        """Reduce the operands; see `Segment.compute`."""
        pool = values.rows if self.kind is OperandKind.VALUE else values.cells
        gathered = self._gather(pool, scratch)
        batch, rows, count, _ = gathered.shape
        if count == 1:
            sums = gathered[:, :, 0]
        else:
            sums = gathered.max(axis=2) if self._largest else gathered.sum(axis=2)
        if self._tiles > 1:
            sums = np.repeat(sums[:, :, None], self._tiles, axis=2)
        return np.ascontiguousarray(sums).reshape(batch * rows, -1)


class WindowSegment(Segment):
    """One depthwise fold: each channel's window times the taps in that channel's column."""

    single_product = True

    def __init__(self, step: Step, first: int, columns: slice, tiles: np.ndarray) -> None:
        super().__init__(step, first, columns)
        chosen = tiles[[terms[first].tile for terms in step.terms]]
        taps = self.indices.shape[1]
        self._weights = np.ascontiguousarray(chosen[:, :taps].transpose(1, 2, 0).astype(np.float32))
        """(taps, columns, column tiles)"""
        self.bound = int(np.abs(self._weights).sum(axis=0).max()) * _LARGEST_BYTE
        self.multiplications = len(self.indices) * self._weights.size

    def compute(self, values: Values, scratch: Scratch) -> np.ndarray:
        """Multiply the windows; see `Segment.compute`."""
        gathered = self._gather(values.cells, scratch)
        sums = np.einsum("brkc,kct->brtc", gathered, self._weights)
        return sums.reshape(sums.shape[0] * sums.shape[1], -1)


class DenseSegment(Segment):
    """Folds of words times tiles: one matrix product, cut along its inner dimension to stay exact in float32."""

    def __init__(self, step: Step, first: int, stop: int, columns: slice, tiles: np.ndarray) -> None:
        super().__init__(step, first, columns)
        chosen = tiles[[[terms[i].tile for terms in step.terms] for i in range(first, stop)]]
        # (folds, column tiles, rows, columns) to (folds x rows, column tiles x columns)
        folds, _, rows, _ = chosen.shape
        weights = chosen.transpose(0, 2, 1, 3).reshape(folds * rows, -1).astype(np.float32)
        # A product of two int8 is at most 2**14, so that up to 1,024 rows of any weights are exact.
        self.bound = len(weights) * _LARGEST_BYTE**2
        magnitudes = None
        if self.bound > EXACT_FLOAT32:
            magnitudes = np.abs(weights)
            self.bound = int(magnitudes.sum(axis=0, dtype=np.float64).max()) * _LARGEST_BYTE
        self._weights: list[tuple[slice, np.ndarray]] = []
        begin, end = 0, len(weights)
        while begin < len(weights):
            if magnitudes is not None and self.bound > EXACT_FLOAT32:
                # Take as many rows as keep every partial sum within EXACT_FLOAT32.
                sums = np.cumsum(magnitudes[begin:], axis=0, dtype=np.float64).max(axis=1) * _LARGEST_BYTE
                end = begin + int(np.searchsorted(sums, EXACT_FLOAT32, side="right"))
            self._weights.append((slice(begin, end), np.ascontiguousarray(weights[begin:end])))
            begin = end
        self.single_product = len(self._weights) == 1
        self.multiplications = len(self.indices) * max(w.size for _, w in self._weights)

    def compute(self, values: Values, scratch: Scratch) -> np.ndarray:
        """Multiply the words by the tiles; see `Segment.compute`."""
        pool = values.cells
        (batch, _, width), (rows, count) = pool.shape, self.indices.shape
        outputs = self._weights[0][1].shape[1]
        if self._run is not None:
            operands = pool[:, self._run].reshape(batch * rows, count * width)
            return self._multiply(operands, scratch.take("sums", (len(operands), outputs), np.float32))
        sums = scratch.take("sums", (batch, rows, outputs), np.float32)
        if not self.single_product:
            sums = np.empty((batch, rows, outputs))
        block = max(1, _CACHED // (4 * count * width))
        for item in range(batch):
            for first in range(0, rows, block):
                indices = self.indices[first : first + block]
                gathered = scratch.take("gathered", (*indices.shape, width), np.float32)
                pool[item].take(indices, axis=0, out=gathered, mode="clip")
                self._multiply(gathered.reshape(len(indices), -1), sums[item, first : first + block])
        return sums.reshape(batch * rows, outputs)

    def _multiply(self, operands: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Return the product. It is also written to `out`, unless it has several parts and `out` is float32."""
        if self.single_product:
            return np.matmul(operands, self._weights[0][1], out=out)
        total = np.zeros((len(operands), out.shape[1]))
        for where, weights in self._weights:
            total += operands[:, where] @ weights
        if out.dtype == total.dtype:
            out[...] = total
        return total


def segments_of(step: Step, plan: Plan, tiles: np.ndarray, value_bounds: np.ndarray) -> list[Segment]:
    """Cut a step's folds into segments, in their order.

    Parameters
    ----------
    step, plan
        A step of a plan.
    tiles
        int8 (tiles, rows, columns): the weights of the passes of `plan.tiles`.
    value_bounds
        int64 (value rows,): the largest magnitude of every value row that earlier steps compute.
    """
    terms = step.terms[0]
    segments: list[Segment] = []
    begin, column = 0, 0
    while begin < len(terms):
        head, stop = terms[begin], begin + 1
        joins = None
        while (
            stop < len(terms) and terms[stop].kind is head.kind and head.kind in (OperandKind.DENSE, OperandKind.WORD)
        ):
            # A segment's folds after its first must all be the same, and the first must set the row or be the same too.
            # A maximum of products is not a product.
            fold = terms[stop].fold
            if fold != (joins or fold) or (fold == Fold.MAX and head.kind is OperandKind.DENSE):
                break
            if head.fold not in (Fold.SET, fold):
                break
            joins, stop = fold, stop + 1
        width = sum(plan.width(term) for term in terms[begin:stop])
        columns = slice(column, column + width)
        if head.kind is OperandKind.DENSE:
            segments.append(DenseSegment(step, begin, stop, columns, tiles))
        elif head.kind is OperandKind.WINDOW:
            segments.append(WindowSegment(step, begin, columns, tiles))
        else:
            segments.append(ReducedSegment(step, begin, stop, columns, value_bounds))
        begin, column = stop, column + width
    return segments
