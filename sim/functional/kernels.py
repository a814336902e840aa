"""The steps of a plan, computed with BLAS and exact to the bit."""

from __future__ import annotations

import math
import threading

import numpy as np

from etchnet.hdl.isa import Fold
from etchnet.sim.arithmetic.contracts import contract_of
from etchnet.sim.functional.buffers import Scratch, Values, as_slice, wrap_int32
from etchnet.sim.functional.epilogues import DrainFunction, SumRange, Tabulation, choose_epilogue
from etchnet.sim.functional.plan import Plan
from etchnet.sim.functional.segments import Segment, segments_of
from etchnet.sim.functional.steps import OperandKind, Step

__all__ = ["Kernels"]

_BLOCK = 1 << 11
"""approximate channels of a block: rows with few channels are joined into blocks of this length"""
_TABLE = 1 << 12
"""sums up to this many are tabulated"""


class _Kernel:
    """One step with its weights and parameters."""

    def __init__(
        self, step: Step, plan: Plan, tiles: np.ndarray, fields: dict[str, np.ndarray], value_bounds: np.ndarray
    ) -> None:
        config, kind = plan.config, step.epilogue
        self.step, self.config = step, config
        self._parts = 1 if kind.wide else config.words_per_pixel()
        self.segments = segments_of(step, plan, tiles, value_bounds)
        parameters = (fields[name].ravel() for name in ("bias", "multiplier", "left", "right"))
        self.function = DrainFunction(config.contract, kind, *parameters)
        sums = self._sum_range()
        self.wraps = sums.wraps
        limit = max(1, _BLOCK // self.function.channels)
        self._block_rows = max(r for r in range(1, min(len(step.operands), limit) + 1) if len(step.operands) % r == 0)
        self.table = None if sums.wraps else Tabulation.of(self.function, sums)
        self.epilogue = choose_epilogue(self.function, sums, self.table, self._block_rows)

    @property
    def multiplications(self) -> int:
        """Multiplications per input of the largest matrix product."""
        return max(segment.multiplications for segment in self.segments)

    def _sum_range(self) -> SumRange:
        bound, most = 0, 0
        for segment in self.segments:
            if segment.fold == Fold.ADD:
                bound += segment.bound
            else:
                bound = max(segment.bound, bound if segment.fold == Fold.MAX else 0)
            most = max(most, bound)
        only = self.segments[0] if len(self.segments) == 1 else None
        return SumRange(
            bound,
            wraps=most >= 1 << 31,
            enumerable=only is not None
            and only.kind in (OperandKind.WORD, OperandKind.VALUE)
            and only.indices.shape[1] == 1
            and 2 * only.bound < _TABLE,
            float32=only is not None and only.single_product,
        )

    def compute(self, values: Values, scratch: Scratch) -> None:
        """Write the step's results to their cells or value rows."""
        sums = self._sums(values, scratch)
        step, config = self.step, self.config
        rows, tiles, batch = len(step.operands), len(step.terms), len(values.cells)
        pool, count = (values.rows, rows * tiles) if step.epilogue.wide else (values.cells, rows * tiles * self._parts)
        target = pool[:, step.first : step.first + count]
        blocks = batch, rows // self._block_rows, self._block_rows * self.function.channels
        if target.shape[1] * target.shape[2] == rows * self.function.channels:
            self.epilogue.apply(sums.reshape(blocks), target.reshape(blocks), scratch)
            return
        # A column tile does not fill its words: the rest is 0.
        results = scratch.take("results", blocks, np.float32)
        self.epilogue.apply(sums.reshape(blocks), results, scratch)
        padded = target.reshape(batch, rows * tiles, -1)
        padded[..., config.columns :] = 0
        padded[..., : config.columns] = results.reshape(batch, rows * tiles, -1)

    def _sums(self, values: Values, scratch: Scratch) -> np.ndarray:
        """Fold the segments: (batch x rows, column tiles x columns)."""
        sums = self.segments[0].compute(values, scratch)
        if len(self.segments) == 1:
            return sums
        # The next segment may overwrite the buffer of this one.
        folded = scratch.take("folded", sums.shape, np.float64)
        folded[...] = wrap_int32(sums) if self.wraps else sums
        for segment in self.segments[1:]:
            fold = np.maximum if segment.fold == Fold.MAX else np.add
            fold(folded, segment.compute(values, scratch), out=folded)
            if self.wraps:
                folded[...] = wrap_int32(folded)
        return folded


class _AdditionKernel:
    """A residual addition in one kernel instead of three drains.

    Two drains scale the operands into one accumulator row, and a third requantises their sum. Each operand has few
    possible values, so all pairs can be tried: if a plane, rounded down and clamped, gives the contract's result for
    every pair, it replaces the three drains.
    """

    def __init__(
        self, kernel: _Kernel, first: _Kernel, second: _Kernel, slopes: tuple[float, float], offset: float
    ) -> None:
        self._kernel, self._slopes, self._offset = kernel, slopes, offset
        self._operands = []
        for segment, source in zip(kernel.segments, (first, second), strict=True):
            own = source.segments[0]
            rows = (segment.indices[:, 0] - source.step.first) // len(source.step.terms)
            indices = own.indices[rows, 0]
            self._operands.append((own.kind, as_slice(indices) or indices))

    @classmethod
    def fit(cls, kernel: _Kernel, sources: list[_Kernel | None]) -> _AdditionKernel | None:
        """Return the addition that `kernel` completes, or None if `kernel` is no addition or no plane fits.

        `sources` are the kernels that compute the operands of its segments.
        """
        function, kind = kernel.function, kernel.step.epilogue
        if len(sources) != 2 or kind.wide or kind.raw or kind.low < -128 or kind.high > 127 or kernel.wraps:
            return None
        first, second = sources
        if first is None or second is None or first.table is None or second.table is None:
            return None
        a, b = first.table.shared, second.table.shared
        fields = function.bias, function.multiplier, function.left, function.right
        if a is None or b is None or not all((f == f[0]).all() for f in fields):
            return None
        bias, multiplier, left, right = (int(f[0]) for f in fields)
        biased = a[:, None] + b + bias
        if np.abs(biased).max() >= 1 << 31:
            return None
        wanted = contract_of(function.contract).requantise(
            biased, multiplier, left, right, zero_point=kind.zero_point, low=kind.low, high=kind.high
        )
        scale = math.ldexp(multiplier, left - right - 31)
        slopes = float(first.function.slope[0]) * scale, float(second.function.slope[0]) * scale
        plane = first.table.sums[:, None] * slopes[0] + second.table.sums * slopes[1]
        least = (wanted - plane)[wanted > kind.low].max(initial=-1e9)
        most = (wanted + 1 - plane)[wanted < kind.high].min(initial=1e9)
        offset = float(least + most) / 2
        if (np.clip(np.floor(plane + offset), kind.low, kind.high) != wanted).any():
            return None
        return cls(kernel, first, second, slopes, offset)

    def compute(self, values: Values, scratch: Scratch) -> None:
        """Write the results of the sums to their cells."""
        step, batch = self._kernel.step, len(values.cells)
        shape = batch, len(step.operands) * self._kernel.function.channels
        total, other = scratch.take("total", shape, np.float64), scratch.take("away", shape, np.float64)
        for (kind, indices), slope, product in zip(self._operands, self._slopes, (total, other), strict=True):
            pool = values.rows if kind is OperandKind.VALUE else values.cells
            gathered = pool[:, indices] if isinstance(indices, slice) else pool.take(indices, axis=1, mode="clip")
            np.multiply(gathered.reshape(shape), slope, out=product, dtype=np.float64)
        total += other
        total += self._offset
        out = values.cells[:, step.first : step.first + shape[1] // values.cells.shape[2]].reshape(shape)
        np.floor(total, out=out, casting="same_kind")
        out.clip(step.epilogue.low, step.epilogue.high, out=out)


class Kernels:
    """A plan with its weights and parameters, ready to compute inputs. Threads may share it.

    Parameters
    ----------
    plan
        The steps.
    tiles
        int8 (tiles, rows, columns): the weights of the passes of `plan.tiles`.
    parameters
        The fields of every set of `plan.parameters`, by name: int64 (sets, columns).

    Attributes
    ----------
    bytes
        Bytes of the values of one input.
    largest_product
        Multiplications of the largest matrix product of one input.
    one_product
        Whether that product is at least half of all multiplications.
    """

    def __init__(self, plan: Plan, tiles: np.ndarray, parameters: dict[str, np.ndarray]) -> None:
        self.plan = plan
        self._own = threading.local()
        self._kernels: list[_Kernel] = []
        value_bounds = np.zeros(plan.values, np.int64)
        for step in plan.steps:
            fields = {name: values[step.parameters] for name, values in parameters.items()}
            kernel = _Kernel(step, plan, tiles, fields, value_bounds)
            if step.epilogue.wide:
                results = slice(step.first, step.first + len(step.operands) * len(step.terms))
                value_bounds[results] = kernel.epilogue.result_bound
            self._kernels.append(kernel)
        self._fused = self._fuse_additions()
        self._output_runs: dict[int, slice | None] = {}
        self.bytes = 4 * plan.cells * plan.cell + 8 * plan.values * plan.config.columns
        products = [kernel.multiplications for kernel in self._kernels]
        self.largest_product = max(products)
        self.one_product = 2 * max(products) >= sum(products)

    def _fuse_additions(self) -> list[_Kernel | _AdditionKernel]:
        """Replace the kernels of residual additions, and drop those whose results are no longer read."""
        plan = self.plan
        owner = np.full(plan.values, -1)
        for index, kernel in enumerate(self._kernels):
            step = kernel.step
            if step.epilogue.wide:
                owner[step.first : step.first + len(step.operands) * len(step.terms)] = index

        def owners(segment: Segment) -> list[int]:
            """Return the kernels that compute a segment's value rows."""
            return np.unique(owner[segment.indices]).tolist() if segment.kind is OperandKind.VALUE else []

        fused: list[_Kernel | _AdditionKernel] = []
        needed = set(np.unique(owner[plan.output_values[..., 0][plan.output_values[..., 0] >= 0]]).tolist())
        for kernel in self._kernels:
            read = [owners(segment) for segment in kernel.segments]
            single = all(len(kernels) == 1 for kernels in read)
            addition = _AdditionKernel.fit(kernel, [self._kernels[k[0]] for k in read]) if single else None
            fused.append(addition or kernel)
            if addition is None:
                needed.update(k for kernels in read for k in kernels)
            else:
                needed.update(k for (source,) in read for s in self._kernels[source].segments for k in owners(s))
        return [
            kernel
            for index, kernel in enumerate(fused)
            if isinstance(kernel, _AdditionKernel) or not kernel.step.epilogue.wide or index in needed
        ]

    def compute(self, halves: np.ndarray, *, keep: bool = False) -> Values:
        """Compute all values of a batch of repeats.

        Parameters
        ----------
        halves
            The inputs, int8 (batch, halves per repeat, words, rows).
        keep
            Whether to compute the results of every drain, into new memory. Otherwise values that the output does not
            need may be missing, and the next call of the same thread overwrites the returned values.
        """
        plan, batch = self.plan, len(halves)
        if not hasattr(self._own, "scratch"):
            self._own.scratch = Scratch()
        scratch: Scratch = self._own.scratch
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
        for kernel in self._kernels if keep else self._fused:
            kernel.compute(values, scratch)
        return values

    def outputs(self, values: Values, words: int) -> np.ndarray:
        """Return the first words of the output memory: uint8 (batch, words, rows), 0 where no drain wrote."""
        plan, config = self.plan, self.plan.config
        cells = plan.output_cells[:words]
        batch = len(values.cells)
        if words not in self._output_runs:
            self._output_runs[words] = as_slice(cells)
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
            raw[..., : 4 * config.columns] = wrap_int32(values.rows[:, rows[where]]).view(np.uint8)
            pieces = raw.reshape(batch, len(raw[0]), -1, plan.cell)
            result[:, where] = pieces[:, np.arange(len(raw[0])), part[where]]
        return result.reshape(batch, words, config.rows)

    def results(self, values: Values, drain: int) -> np.ndarray:
        """Return the results of a drain, from `compute` with `keep`: int32 (batch, tiles x pixels, columns)."""
        plan = self.plan
        ids = plan.drain_results[drain]
        if plan.wide[drain]:
            return values.rows[:, ids.ravel()].astype(np.int32)
        found = values.cells[:, ids].reshape(len(values.cells), ids.shape[0] * ids.shape[1], -1)
        return found[..., : plan.config.columns].astype(np.int32)
