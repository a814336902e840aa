"""The vocabulary of a plan: a step folds terms into accumulator rows, and an epilogue turns the sums into results."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from etchnet.hdl.isa import Fold

__all__ = ["EpilogueKind", "OperandKind", "Step", "Term"]


class OperandKind(Enum):
    """The kind of operand that one fold adds to an accumulator row."""

    DENSE = "a word times a tile"
    WINDOW = "the words of a window, channel by channel, times a tile's columns"
    WORD = "a word, unchanged"
    VALUE = "a row of int32 that a drain produced"


@dataclass(frozen=True)
class Term:
    """One fold: the operation, the operand, and the tile that multiplies it."""

    fold: Fold
    kind: OperandKind
    tile: int = -1
    """index into `Plan.tiles`; -1 for operands that no tile multiplies"""


@dataclass(frozen=True)
class EpilogueKind:
    """The part of a drain's arithmetic that all channels share."""

    wide: bool
    """int32 results, for the accumulators or a wide output, instead of int8"""
    raw: bool
    """the low word of the product, shifted, instead of the rounding contract"""
    zero_point: int
    low: int
    """smallest result"""
    high: int
    """largest result"""


@dataclass(frozen=True, eq=False)
class Step:
    """Accumulator rows that are computed alike: each row of `operands` gives one result per column tile.

    Attributes
    ----------
    terms
        For each column tile, the folds that compute its accumulators; column tiles differ only in `Term.tile`.
    parameters
        For each column tile, the index of its parameters in `Plan.parameters`.
    epilogue
        The drain's arithmetic.
    operands
        int64 (rows, sum of the terms' widths): indices of cells, or of value rows for terms of `OperandKind.VALUE`.
    first
        Index of the first cell, or value row, of the results. The results of one row are adjacent, tile by tile.
    """

    terms: list[list[Term]]
    parameters: list[int]
    epilogue: EpilogueKind
    operands: np.ndarray
    first: int
