"""Symbolic execution of a program: the folds that made each accumulator row, and the drain that wrote each word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etchnet.hdl.isa import OUTSIDE, Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.sim.functional.steps import EpilogueKind, OperandKind, Term
from etchnet.sim.timing import drain_words, drains_of

__all__ = ["GrowableArray", "ProgramTrace", "RowGroup", "TermLists"]


class GrowableArray:
    """An int64 array with amortised constant-time append."""

    def __init__(self) -> None:
        self._data = np.zeros(1024, np.int64)
        self.size = 0

    def extend(self, count: int, value: np.ndarray | int) -> int:
        """Append `count` entries; return the index of the first."""
        first, self.size = self.size, self.size + count
        if self.size > len(self._data):
            self._data = np.concatenate([self._data, np.zeros(max(count, len(self._data)), np.int64)])
        self._data[first : self.size] = value
        return first

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return self._data[index]


class TermLists:
    """Interned lists of terms: equal lists have equal numbers, so that rows can be compared by one integer.

    Attributes
    ----------
    widths
        For each list, the number of operands that its terms take together.
    """

    def __init__(self) -> None:
        self._ids: dict[tuple[int, Term], int] = {}
        self._parents: list[tuple[int, Term]] = []
        self.widths: list[int] = []

    def add(self, parent: int, term: Term, width: int) -> int:
        """Return the number of the list `parent` (-1: empty) extended by a term of `width` operands.

        A term that sets the row starts a new list.
        """
        parent = -1 if term.fold == Fold.SET else parent
        key = parent, term
        if key not in self._ids:
            self._ids[key] = len(self._parents)
            self._parents.append(key)
            self.widths.append(width + (self.widths[parent] if parent >= 0 else 0))
        return self._ids[key]

    def terms(self, number: int) -> list[Term]:
        """Return the terms of a list, first fold first."""
        found = []
        while number >= 0:
            number, term = self._parents[number]
            found.append(term)
        return found[::-1]


class _TracedBank:
    """One accumulator bank: for each row its list of terms, their operands, and the highest level among them."""

    def __init__(self, rows: int) -> None:
        self.terms = np.full(rows, -1)
        self.level = np.zeros(rows, np.int64)
        self.operands = np.zeros((rows, 16), np.int64)

    def fold(self, lists: TermLists, rows: np.ndarray, term: Term, operands: np.ndarray, level: np.ndarray) -> None:
        """Fold one term into distinct `rows`; `operands` is (rows, width) and `level` (rows,)."""
        width = operands.shape[1]
        before = self.terms[rows]
        for old in [-1] if term.fold == Fold.SET else np.unique(before).tolist():
            chosen = slice(None) if term.fold == Fold.SET else before == old
            where = rows[chosen]
            new = lists.add(old, term, width)
            stop = lists.widths[new]
            if stop > self.operands.shape[1]:
                self.operands = np.pad(self.operands, ((0, 0), (0, max(stop, self.operands.shape[1]))))
            self.operands[where, stop - width : stop] = operands[chosen]
            self.terms[where] = new
        self.level[rows] = level if term.fold == Fold.SET else np.maximum(self.level[rows], level)


class RowGroup:
    """Drained rows with the same list of terms, level, parameters and epilogue, gathered drain by drain.

    Attributes
    ----------
    terms
        Number of the list of terms in `TermLists`.
    operands
        For each drain, int64 (rows, width).
    results
        For each drain, the temporary ids of its results, int64 (rows, parts).
    unique_rows
        For each result, its row in the result of `distinct`; None if `distinct` kept every row.
    """

    def __init__(self, terms: int) -> None:
        self.terms = terms
        self.operands: list[np.ndarray] = []
        self.results: list[np.ndarray] = []
        self.unique_rows: np.ndarray | None = None

    def distinct(self) -> np.ndarray:
        """Return the operands of all rows, each distinct row once: two drains may read the same sums."""
        rows = np.ascontiguousarray(np.concatenate(self.operands))
        keys = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
        _, first, where = np.unique(keys, return_index=True, return_inverse=True)
        if len(first) == len(rows):
            return rows
        # `np.unique` sorts; the rows stay in program order.
        order = np.argsort(first)
        self.unique_rows = np.argsort(order)[where]
        return rows[first[order]]


class ProgramTrace:
    """The values of a program as symbols, in program order.

    Every value has a temporary id: cells (inputs, pads, then int8 results) and value rows (int32 results) are numbered
    separately. The *level* of a value is 0 for inputs and pads, and for a result one more than the highest level among
    its operands: values of one level do not depend on each other.

    Parameters
    ----------
    passes, drains
        A checked program.
    sources
        For each pass, the input half that it reads, counted from 0 within its repeat.
    config
        The machine.
    versioned
        As for `Plan`.

    Attributes
    ----------
    cells, values
        Levels of all cells and value rows, by temporary id.
    inputs
        Number of cells that are inputs or pads.
    input_words, halves, pads, tiles, parameters, pass_cells, drain_results, wide, output_cells, output_values
        As in `Plan`, but with temporary ids.
    lists
        The lists of terms that groups refer to.
    groups
        All drained rows, by (level, list of terms, parameters, epilogue).
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        drains: Sequence[Drain],
        sources: Sequence[int],
        config: Config,
        *,
        versioned: bool,
    ) -> None:
        self._config, self._versioned = config, versioned
        self._lanes = config.tiles_per_word
        self._parts = config.words_per_pixel()
        # A pass that reads activations may come after the last half has been released.
        self.halves = 1 + max((s for p, s in zip(passes, sources, strict=True) if p.source == Source.INPUT), default=0)
        read = [p.walk().max() for p in passes if p.source == Source.INPUT]
        self.input_words = int(max(read, default=0)) + 1 if max(read, default=0) != OUTSIDE else 1
        self.cells, self.values = GrowableArray(), GrowableArray()
        self.cells.extend(self.halves * self.input_words * self._lanes, 0)
        self.pads = sorted({p.pad for p in passes})
        pad_cell = {v: self.cells.extend(1, 0) for v in self.pads}
        self.inputs = self.cells.size

        self.lists = TermLists()
        self.groups: dict[tuple[int, int, int, EpilogueKind], RowGroup] = {}
        self._banks = [_TracedBank(config.accumulator_rows) for _ in range(2)]
        self._memories = {
            Destination.ACTIVATION: np.full((config.activation_words, self._lanes), -1),
            Destination.OUTPUT: np.full((config.output_words, self._lanes), -1),
            Destination.RESIDUAL: np.full((config.residual_words, self._lanes), -1),
        }
        self.output_cells = self._memories[Destination.OUTPUT]
        self.output_values = np.full((config.output_words, self._lanes, 2), -1)
        self.pass_cells: list[np.ndarray] = []
        self.drain_results: list[np.ndarray] = []
        self.wide: list[bool] = []
        self.tiles: list[int] = []
        self.parameters: list[tuple[int, int]] = []
        self._parameter_index: dict[tuple[int, int], int] = {}
        known: dict[tuple[int, int], int] = {}
        for index, (p, started) in enumerate(zip(passes, drains_of(passes, drains), strict=True)):
            key = (-1, index) if versioned else (p.kind, p.weights)
            if key not in known:
                known[key] = len(self.tiles)
                self.tiles.append(index)
            self._pass(p, known[key], sources[index], pad_cell[p.pad])
            for drain in started:
                self._drain(drain, drains[drain])

    def _pass(self, p: Pass, tile: int, half: int, pad: int) -> None:
        config, lanes = self._config, self._lanes
        words = p.walk()
        outside = words == OUTSIDE
        words = np.where(outside, 0, words)
        if p.source == Source.INPUT:
            cells = ((half * self.input_words + words) * lanes)[:, None] + np.arange(lanes)
        else:
            cells = self._memories[Destination.ACTIVATION][words]
        cells[outside] = pad
        self.pass_cells.append(cells)
        kind = OperandKind.DENSE
        if p.kind == TileKind.DEPTHWISE:
            taps = config.depthwise
            kind = OperandKind.WINDOW
            window = (np.arange(taps)[:, None] * p.line_pixels + np.arange(taps)).ravel()
            first = p.kept(config) - config.window_lead(p.line_pixels)
            cells = cells[first[:, None] + window, 0]
        elif p.kind == TileKind.IDENTITY and config.rows == config.columns:
            kind = OperandKind.WORD
        level = self.cells[cells].max(axis=1)
        bank = self._banks[p.bank]
        tile = tile if kind is not OperandKind.WORD else -1
        if p.hold == Fold.SET:
            rows = p.row + np.arange(len(cells))
            bank.fold(self.lists, rows, Term(p.fold, kind, tile), cells, level)
            return
        rows = np.array([p.row])
        for i in range(len(cells)):
            bank.fold(self.lists, rows, Term(p.hold if i else p.fold, kind, tile), cells[i : i + 1], level[i : i + 1])

    def _drain(self, index: int, drain: Drain) -> None:
        config = self._config
        accumulates = drain.destination == Destination.ACCUMULATORS
        epilogue = EpilogueKind(
            bool(drain.wide or accumulates), bool(drain.raw), drain.zero_point, drain.low, drain.high
        )
        count = drain.tiles * drain.pixels
        if drain.residual:
            cells = self._memories[Destination.RESIDUAL][drain.row : drain.row + count]
            read = np.full(count, self.lists.add(-1, Term(Fold.SET, OperandKind.WORD), cells.shape[1]))
            operands, level = cells, self.cells[cells].max(axis=1)
        else:
            bank, rows = self._banks[drain.bank], slice(drain.row, drain.row + count)
            read, operands, level = bank.terms[rows].copy(), bank.operands[rows].copy(), bank.level[rows] + 0
        level = level + 1
        parts = 1 if epilogue.wide else self._parts
        ids = self.values if epilogue.wide else self.cells
        results = ids.extend(count * parts, np.repeat(level, parts)) + np.arange(count * parts).reshape(
            drain.tiles, drain.pixels, parts
        )
        self.drain_results.append(results)
        self.wide.append(epilogue.wide)
        for tile in range(drain.tiles):
            first = drain.parameters + (0 if drain.shared else tile * config.groups)
            parameters = self._parameter_set(first, index)
            rows = slice(tile * drain.pixels, (tile + 1) * drain.pixels)
            kinds = np.stack([read[rows], level[rows]])
            for terms, at in np.unique(kinds, axis=1).T.tolist() if (kinds != kinds[:, :1]).any() else [kinds[:, 0]]:
                chosen = np.flatnonzero((kinds[0] == terms) & (kinds[1] == at))
                group = self.groups.setdefault((int(at), int(terms), parameters, epilogue), RowGroup(int(terms)))
                group.operands.append(operands[rows][chosen, : self.lists.widths[terms]])
                group.results.append(results[tile, chosen])
        self._write(drain, results, level)

    def _parameter_set(self, first: int, drain: int) -> int:
        """Return the index in `parameters` of the set that begins at word `first`, as a drain reads it."""
        key = first, drain if self._versioned else -1
        if key not in self._parameter_index:
            self._parameter_index[key] = len(self.parameters)
            self.parameters.append((first, drain))
        return self._parameter_index[key]

    def _write(self, drain: Drain, results: np.ndarray, level: np.ndarray) -> None:
        config, lanes = self._config, self._lanes
        words = drain_words(drain, config)
        if drain.destination == Destination.ACCUMULATORS:
            term = Term(drain.fold, OperandKind.VALUE)
            self._banks[drain.into].fold(self.lists, words.ravel(), term, results.reshape(-1, 1), level)
            return
        # Rows are written one after another, each word by word: of two results in one word, the later one remains.
        parts = config.words_per_pixel(wide=drain.wide)
        for tile in range(drain.tiles):
            where = (words[tile][:, None] + np.arange(parts)).ravel()
            if drain.wide:
                for lane in range(lanes):
                    self.output_cells[where, lane] = -1
                    self.output_values[where, lane, 0] = np.repeat(results[tile, :, 0], parts)
                    self.output_values[where, lane, 1] = np.tile(np.arange(parts), drain.pixels) * lanes + lane
                continue
            lane = (drain.lane + tile) % lanes
            self._memories[drain.destination][where, lane] = results[tile].ravel()
            if drain.destination == Destination.OUTPUT:
                self.output_values[where, lane] = -1
