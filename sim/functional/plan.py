"""A program as a few large steps, independent of time.

A pass only names the operands that it multiplies; a drain only names the sums that it requantises. Executing both
symbolically (`etchnet.sim.functional.tracing`), once per program, gives every accumulator row as the list of folds that
made it and every memory word as the drain that wrote it, so that addresses no longer matter. Rows that are computed
alike become one step, whichever strip or column tile they belong to: a layer becomes one matrix product again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from etchnet.hdl.isa import Drain, Pass
from etchnet.hdl.isa.config import Config
from etchnet.sim.functional.steps import OperandKind, Step, Term
from etchnet.sim.functional.tracing import ProgramTrace, RowGroup

__all__ = ["Plan"]


class Plan:
    """The steps of one program, for any contents of its weights, parameters and inputs.

    Each input has two lists of values: cells of `cell` bytes, one or several of which make up a memory word, and value
    rows of `columns` int32. Each cell is written once. The first cells are those of the input, half by half; then comes
    one cell for each pad value; then the results, step by step.

    Parameters
    ----------
    passes, drains
        A program that `etchnet.sim.timing.check` accepts.
    sources
        For each pass, the input half that it reads, counted from 0 within its repeat.
    config
        The machine.
    versioned
        Whether every pass has its own tile and every drain its own parameters, even if they name the same words: for
        memories that change while the program runs.

    Attributes
    ----------
    cell
        Bytes of a cell.
    lanes
        Cells of a memory word.
    halves
        Input halves that a repeat reads.
    input_words
        Words that are read from each half of the input.
    pads
        Values of the cells after those of the input.
    cells, values
        Number of cells and of value rows.
    tiles
        For each tile that steps use, the index of a pass that holds it.
    parameters
        For each parameter set of a column tile that steps use, its first parameter word, and the index of a drain that
        reads it.
    steps
        The steps, in an order in which operands are computed before they are read.
    output_cells
        For each cell of the output memory, int64 (words, lanes), the cell it holds at the end; -1 if none is written.
    output_values
        The same for wide drains, int64 (words, lanes, 2): the value row, and the index of the cell within its bytes; -1
        if none is written.
    pass_cells
        For each pass the cells of each pixel, int64 (pixels, lanes).
    drain_results
        For each drain the cells, or value rows, of its results: int64 (tiles, pixels, cells per result).
    wide
        For each drain, whether its results are value rows.
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        drains: Sequence[Drain],
        sources: Sequence[int],
        config: Config,
        *,
        versioned: bool = False,
    ) -> None:
        self.config = config
        self.lanes = config.tiles_per_word
        self.cell = config.rows // self.lanes
        trace = ProgramTrace(passes, drains, sources, config, versioned=versioned)
        self.halves, self.input_words, self.pads = trace.halves, trace.input_words, trace.pads
        self.tiles, self.parameters, self.wide = trace.tiles, trace.parameters, trace.wide
        # Final numbers of the cells and value rows, by temporary id. The last entry of `values` is for id -1.
        cells, values = np.full(trace.cells.size, -1), np.full(trace.values.size + 1, -1)
        cells[: trace.inputs] = np.arange(trace.inputs)
        self.cells, self.values = trace.inputs, 0
        self.steps = self._steps(trace, cells, values)
        self.output_cells = np.where(trace.output_cells >= 0, cells[trace.output_cells], -1)
        written = trace.output_values[..., 0]
        self.output_values = trace.output_values
        self.output_values[..., 0] = np.where(written >= 0, values[written], -1)
        self.pass_cells = [cells[c] for c in trace.pass_cells]
        self.drain_results = [
            (values if wide else cells)[results] for wide, results in zip(self.wide, trace.drain_results, strict=True)
        ]

    def _steps(self, trace: ProgramTrace, cells: np.ndarray, values: np.ndarray) -> list[Step]:
        """Join groups that differ only in their column tile, and number their results in `cells` and `values`."""
        joined: dict[tuple[Any, ...], list[tuple[RowGroup, int]]] = {}
        operands: dict[tuple[Any, ...], np.ndarray] = {}
        for (level, terms, parameters, epilogue), group in sorted(trace.groups.items(), key=lambda item: item[0][0]):
            gathered = group.distinct()
            folds = tuple((t.fold, t.kind) for t in trace.lists.terms(terms))
            key = level, folds, epilogue, gathered.shape, gathered.tobytes()
            operands[key] = gathered
            joined.setdefault(key, []).append((group, parameters))
        steps = []
        for key, members in joined.items():
            epilogue, rows = key[2], len(operands[key])
            parts = members[0][0].results[0].shape[1]
            first = self.values if epilogue.wide else self.cells
            made = first + np.arange(rows * len(members) * parts).reshape(rows, len(members), parts)
            for tile, (group, _) in enumerate(members):
                where = slice(None) if group.unique_rows is None else group.unique_rows
                (values if epilogue.wide else cells)[np.concatenate(group.results)] = made[where, tile]
            if epilogue.wide:
                self.values += made.size
            else:
                self.cells += made.size
            tiles = [trace.lists.terms(group.terms) for group, _ in members]
            steps.append(Step(tiles, [p for _, p in members], epilogue, operands[key], first))
        for step in steps:
            column = 0
            for term in step.terms[0]:
                where = slice(column, column + self.width(term))
                final = values if term.kind is OperandKind.VALUE else cells
                step.operands[:, where] = final[step.operands[:, where]]
                column = where.stop
        return steps

    def width(self, term: Term) -> int:
        """Return how many operands a term takes: cells, or one value row."""
        return {OperandKind.WINDOW: self.config.depthwise**2, OperandKind.VALUE: 1}.get(term.kind, self.lanes)
