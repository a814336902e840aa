"""What a program computes, taken apart from when: a few large steps instead of many small passes.

A pass only names what it multiplies; a drain only names what it requantises. Following both symbolically, once per
program, gives every accumulator row as the list of folds that made it and every memory word as the drain that wrote it,
so that a word's place no longer matters, only its value. Rows made alike become one step, whichever strip or column
tile they belong to: a layer is one matrix product again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from etchnet.hdl.isa import OUTSIDE, Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing import drain_words, drains_of

__all__ = ["Form", "Kind", "Plan", "Step", "Term"]


class Kind(Enum):
    """What is folded into an accumulator row."""

    DENSE = "a word times a tile"
    WINDOW = "the words of a window, channel by channel, times a tile's columns"
    WORD = "a word as it is"
    VALUE = "a row of int32 that a drain gave"


@dataclass(frozen=True)
class Term:
    """One fold: how, of what, and which tile multiplies it."""

    fold: Fold
    kind: Kind
    tile: int = -1
    """index into `Plan.tiles`"""


@dataclass(frozen=True)
class Form:
    """What a drain makes of a row, but for its channels' parameters."""

    wide: bool
    """int32 for accumulators or a wide output, instead of int8"""
    raw: bool
    zero_point: int
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Step:
    """Rows made alike, and what drains make of them: of every row of `operands`, one result per column tile.

    Attributes
    ----------
    terms
        For each column tile, the folds that make its accumulators; tiles differ in `Term.tile` only.
    parameters
        For each column tile, its place in `Plan.parameters`.
    operands
        int64 (rows, sum of what the terms take): cells, or value rows for terms of `Kind.VALUE`.
    first
        The first cell, or value row, of the results: those of a row are next to each other, tile by tile.
    """

    terms: list[list[Term]]
    parameters: list[int]
    form: Form
    operands: np.ndarray
    first: int


class _Growing:
    """A numpy array that is appended to."""

    def __init__(self) -> None:
        self._data = np.zeros(1024, np.int64)
        self.size = 0

    def extend(self, count: int, value: np.ndarray | int) -> int:
        """Append `count` entries; returns the index of the first."""
        first, self.size = self.size, self.size + count
        if self.size > len(self._data):
            self._data = np.concatenate([self._data, np.zeros(max(count, len(self._data)), np.int64)])
        self._data[first : self.size] = value
        return first

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return self._data[index]


class _Forms:
    """Lists of terms as numbers: a term added to a list gives the same number whenever it is added."""

    def __init__(self) -> None:
        self._ids: dict[tuple[int, Term], int] = {}
        self._parents: list[tuple[int, Term]] = []
        self.widths: list[int] = []

    def add(self, parent: int, term: Term, width: int) -> int:
        """The number of list `parent` (-1: the empty one) and one more term that takes `width` operands."""
        parent = -1 if term.fold == Fold.SET else parent
        key = parent, term
        if key not in self._ids:
            self._ids[key] = len(self._parents)
            self._parents.append(key)
            self.widths.append(width + (self.widths[parent] if parent >= 0 else 0))
        return self._ids[key]

    def terms(self, form: int) -> list[Term]:
        """The list of that number."""
        found = []
        while form >= 0:
            form, term = self._parents[form]
            found.append(term)
        return found[::-1]


class _Bank:
    """One accumulator bank: for each row its list of terms, their operands, and the level of the latest of them."""

    def __init__(self, rows: int) -> None:
        self.form = np.full(rows, -1)
        self.level = np.zeros(rows, np.int64)
        self.operands = np.zeros((rows, 16), np.int64)

    def fold(self, forms: _Forms, rows: np.ndarray, term: Term, operands: np.ndarray, level: np.ndarray) -> None:
        """Fold one term, with its `operands` per row, into `rows`, which are distinct."""
        width = operands.shape[1]
        before = self.form[rows]
        for old in [-1] if term.fold == Fold.SET else np.unique(before).tolist():
            chosen = slice(None) if term.fold == Fold.SET else before == old
            where = rows[chosen]
            new = forms.add(old, term, width)
            end = forms.widths[new]
            if end > self.operands.shape[1]:
                self.operands = np.pad(self.operands, ((0, 0), (0, max(end, self.operands.shape[1]))))
            self.operands[where, end - width : end] = operands[chosen]
            self.form[where] = new
        self.level[rows] = level if term.fold == Fold.SET else np.maximum(self.level[rows], level)


class _Group:
    """Rows of one form, level and column tile, gathered drain by drain."""

    def __init__(self, form: int) -> None:
        self.form = form
        self.operands: list[np.ndarray] = []
        self.results: list[np.ndarray] = []
        self.where: np.ndarray | None = None
        """for each result, its row of the distinct operands, where some are alike"""

    def distinct(self) -> np.ndarray:
        """The operands of all rows, those that are there more than once (two drains of the same sums) once."""
        rows = np.ascontiguousarray(np.concatenate(self.operands))
        keys = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
        _, first, where = np.unique(keys, return_index=True, return_inverse=True)
        if len(first) == len(rows):
            return rows
        # In the order in which they come.
        order = np.argsort(first)
        self.where = np.argsort(order)[where]
        return rows[first[order]]


class Plan:
    """The steps of one program, for any contents of its weights, parameters and inputs.

    Values are kept in two lists per input: cells of `cell` bytes, which a memory word consists of one or several of,
    and rows of `columns` int32. A cell is written once. The first are those of the input, half by half; then one for
    each value that borders are padded with; then results, step by step.

    Attributes
    ----------
    cell
        Bytes of a cell.
    lanes
        Cells of a memory word.
    input_words
        Words of each half of the input that are read.
    pads
        Values of the cells behind those of the input.
    cells, values
        How many there are of each.
    tiles
        For each tile that steps name, a pass that holds it.
    parameters
        For each set of a column tile's parameters that steps name, its first parameter word, and a drain that reads it.
    steps
        In an order in which operands come before what is made of them.
    output_cells
        For each cell of the output memory, word by word, the cell that it holds in the end; -1 where there is none.
    output_values
        The same for what wide drains write: (value row, which cell of that row's bytes), or -1.
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
        apart: bool = False,
    ) -> None:
        """Follow a checked program; `sources` is the half of its repeat's input that each pass reads.

        With `apart`, every pass has a tile of its own, and every drain parameters, though they name the same words: for
        memories that change while the program runs.
        """
        self.config = config
        self.lanes = config.tiles_per_word
        self.cell = config.rows // self.lanes
        self._parts = 1 if config.rows % config.columns == 0 else config.words_per_pixel()
        self.halves = max(sources) + 1
        read = [p.walk().max() for p in passes if p.source == Source.INPUT]
        self.input_words = int(max(read, default=0)) + 1 if max(read, default=0) != OUTSIDE else 1
        self._cell_level, self._value_level = _Growing(), _Growing()
        self._cell_level.extend(self.halves * self.input_words * self.lanes, 0)
        self.pads = sorted({p.pad for p in passes})
        pad_cell = {v: self._cell_level.extend(1, 0) for v in self.pads}
        self._inputs = self._cell_level.size

        self._forms = _Forms()
        self._banks = [_Bank(config.accumulator_rows) for _ in range(2)]
        self._memories = {
            Destination.ACTIVATION: np.full((config.activation_words, self.lanes), -1),
            Destination.OUTPUT: np.full((config.output_words, self.lanes), -1),
            Destination.RESIDUAL: np.full((config.residual_words, self.lanes), -1),
        }
        self.output_values = np.full((config.output_words, self.lanes, 2), -1)
        self._groups: dict[tuple[int, int, int, Form], _Group] = {}
        self.pass_cells: list[np.ndarray] = []
        self.drain_results: list[np.ndarray] = []
        self.wide: list[bool] = []
        self.tiles: list[int] = []
        self.parameters: list[tuple[int, int]] = []
        self._apart = apart
        self._parameter_places: dict[tuple[int, int], int] = {}
        known: dict[tuple[int, int], int] = {}
        for index, (p, behind) in enumerate(zip(passes, drains_of(passes, drains), strict=True)):
            key = (-1, index) if apart else (p.kind, p.weights)
            if key not in known:
                known[key] = len(self.tiles)
                self.tiles.append(index)
            self._pass(p, known[key], sources[index], pad_cell[p.pad])
            for drain in behind:
                self._drain(drain, drains[drain])
        self.output_cells = self._memories[Destination.OUTPUT]
        self._arrange()
        # What only following needed.
        del self._banks, self._memories, self._groups, self._cell_level, self._value_level, self._parameter_places

    def _pass(self, p: Pass, tile: int, half: int, pad: int) -> None:
        config, lanes = self.config, self.lanes
        words = p.walk()
        outside = words == OUTSIDE
        words = np.where(outside, 0, words)
        if p.source == Source.INPUT:
            cells = ((half * self.input_words + words) * lanes)[:, None] + np.arange(lanes)
        else:
            cells = self._memories[Destination.ACTIVATION][words]
        cells[outside] = pad
        self.pass_cells.append(cells)
        kind = Kind.DENSE
        if p.kind == TileKind.DEPTHWISE:
            taps = config.depthwise
            kind = Kind.WINDOW
            window = (np.arange(taps)[:, None] * p.line_pixels + np.arange(taps)).ravel()
            first = p.kept(config) - config.window_lead(p.line_pixels)
            cells = cells[first[:, None] + window, 0]
        elif p.kind == TileKind.IDENTITY and config.rows == config.columns:
            kind = Kind.WORD
        level = self._cell_level[cells].max(axis=1)
        bank = self._banks[p.bank]
        tile = tile if kind is not Kind.WORD else -1
        if p.hold == Fold.SET:
            rows = p.row + np.arange(len(cells))
            bank.fold(self._forms, rows, Term(p.fold, kind, tile), cells, level)
            return
        rows = np.array([p.row])
        for i in range(len(cells)):
            bank.fold(self._forms, rows, Term(p.hold if i else p.fold, kind, tile), cells[i : i + 1], level[i : i + 1])

    def _drain(self, index: int, drain: Drain) -> None:
        config = self.config
        accumulates = drain.destination == Destination.ACCUMULATORS
        form = Form(bool(drain.wide or accumulates), bool(drain.raw), drain.zero_point, drain.low, drain.high)
        count = drain.tiles * drain.pixels
        if drain.residual:
            cells = self._memories[Destination.RESIDUAL][drain.row : drain.row + count]
            read = np.full(count, self._forms.add(-1, Term(Fold.SET, Kind.WORD), cells.shape[1]))
            operands, level = cells, self._cell_level[cells].max(axis=1)
        else:
            bank, rows = self._banks[drain.bank], slice(drain.row, drain.row + count)
            read, operands, level = bank.form[rows].copy(), bank.operands[rows].copy(), bank.level[rows] + 0
        level = level + 1
        parts = 1 if form.wide else self._parts
        ids = self._value_level if form.wide else self._cell_level
        results = ids.extend(count * parts, np.repeat(level, parts)) + np.arange(count * parts).reshape(
            drain.tiles, drain.pixels, parts
        )
        self.drain_results.append(results)
        self.wide.append(form.wide)
        for tile in range(drain.tiles):
            first = drain.parameters + (0 if drain.shared else tile * config.groups)
            parameters = self._parameter_places.setdefault((first, index if self._apart else -1), len(self.parameters))
            if parameters == len(self.parameters):
                self.parameters.append((first, index))
            rows = slice(tile * drain.pixels, (tile + 1) * drain.pixels)
            kinds = np.stack([read[rows], level[rows]])
            for one, at in np.unique(kinds, axis=1).T.tolist() if (kinds != kinds[:, :1]).any() else [kinds[:, 0]]:
                chosen = np.flatnonzero((kinds[0] == one) & (kinds[1] == at))
                group = self._groups.setdefault((int(at), int(one), parameters, form), _Group(int(one)))
                group.operands.append(operands[rows][chosen, : self._forms.widths[one]])
                group.results.append(results[tile, chosen])
        self._write(drain, results, level)

    def _write(self, drain: Drain, results: np.ndarray, level: np.ndarray) -> None:
        config, lanes = self.config, self.lanes
        words = drain_words(drain, config)
        if drain.destination == Destination.ACCUMULATORS:
            term = Term(drain.fold, Kind.VALUE)
            self._banks[drain.into].fold(self._forms, words.ravel(), term, results.reshape(-1, 1), level)
            return
        for tile in range(drain.tiles):
            if drain.wide:
                for word in range(config.words_per_pixel(wide=True)):
                    for lane in range(lanes):
                        self._memories[Destination.OUTPUT][words[tile] + word, lane] = -1
                        self.output_values[words[tile] + word, lane, 0] = results[tile, :, 0]
                        self.output_values[words[tile] + word, lane, 1] = word * lanes + lane
                continue
            for part in range(self._parts):
                lane = (drain.lane + tile) % lanes
                self._memories[drain.destination][words[tile] + part, lane] = results[tile, :, part]
                if drain.destination == Destination.OUTPUT:
                    self.output_values[words[tile] + part, lane] = -1

    def _arrange(self) -> None:
        """Join groups that differ in their column tile only, and number results step by step."""
        joined: dict[tuple[Any, ...], list[tuple[_Group, int]]] = {}
        operands: dict[tuple[Any, ...], np.ndarray] = {}
        for (level, form, parameters, drain), group in sorted(self._groups.items(), key=lambda item: item[0][0]):
            gathered = group.distinct()
            shape = tuple((t.fold, t.kind) for t in self._forms.terms(form))
            key = level, shape, drain, gathered.shape, gathered.tobytes()
            operands[key] = gathered
            joined.setdefault(key, []).append((group, parameters))
        # Where each cell and value row went.
        cells, values = np.full(self._cell_level.size, -1), np.full(self._value_level.size + 1, -1)
        cells[: self._inputs] = np.arange(self._inputs)
        self.cells, self.values = self._inputs, 0
        self.steps: list[Step] = []
        for key, members in joined.items():
            made_by, rows = key[2], len(operands[key])
            parts = members[0][0].results[0].shape[1]
            first = self.values if made_by.wide else self.cells
            made = first + np.arange(rows * len(members) * parts).reshape(rows, len(members), parts)
            for tile, (group, _) in enumerate(members):
                where = slice(None) if group.where is None else group.where
                (values if made_by.wide else cells)[np.concatenate(group.results)] = made[where, tile]
            if made_by.wide:
                self.values += made.size
            else:
                self.cells += made.size
            terms = [self._forms.terms(group.form) for group, _ in members]
            self.steps.append(Step(terms, [p for _, p in members], made_by, operands[key], first))
        for step in self.steps:
            column = 0
            for term in step.terms[0]:
                width = self.width(term)
                where = slice(column, column + width)
                step.operands[:, where] = (values if term.kind is Kind.VALUE else cells)[step.operands[:, where]]
                column += width
        self.output_cells = np.where(self.output_cells >= 0, cells[self.output_cells], -1)
        written = self.output_values[..., 0]
        self.output_values[..., 0] = np.where(written >= 0, values[written], -1)
        self.pass_cells = [cells[c] for c in self.pass_cells]
        self.drain_results = [
            (values if wide else cells)[results] for wide, results in zip(self.wide, self.drain_results, strict=True)
        ]

    def width(self, term: Term) -> int:
        """Operands that a term takes: cells, or one value row."""
        return {Kind.WINDOW: self.config.depthwise**2, Kind.VALUE: 1}.get(term.kind, self.lanes)
