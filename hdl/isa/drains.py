"""The drain, which empties accumulator rows through the output stage, and the parameters it requantises with."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from amaranth.hdl import signed, unsigned

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.instruction import Instruction, address_shape, count_shape, field
from etchnet.hdl.isa.passes import Fold

__all__ = ["Destination", "Drain", "Parameters"]


class Destination(enum.IntEnum):
    """Where a drain writes its results."""

    ACTIVATION = 0
    OUTPUT = 1
    ACCUMULATORS = 2
    RESIDUAL = 3


def _residual_words(c: Config) -> int:
    return c.residual_words


def _drain_words(c: Config) -> int:
    return max(c.activation_words, c.output_words, _residual_words(c))


@dataclass(frozen=True, kw_only=True)
class Drain(Instruction):
    """Take `tiles` x `pixels` rows through the output stage to a memory.

    Rows are read in order, from an accumulator bank or from the residual memory; the parameters and the destination
    advance from tile to tile. A drain starts behind a pass with `release`, or, if it is `chained`, behind the drain
    before it.
    """

    LATE = {"bounds": ("low", "high"), "zero_points": ("zero_point",)}

    low: int = field(lambda c: signed(32), "lower clamp", -128)
    high: int = field(lambda c: signed(32), "upper clamp", 127)
    zero_point: int = field(lambda c: signed(8), "added after the shift")
    chained: bool = field(lambda c: unsigned(1), "start behind the drain before, not behind a pass")
    idle: int = field(lambda c: unsigned(5), "cycles that a chained drain waits first")
    residual: bool = field(lambda c: unsigned(_residual_words(c) > 0), "read the residual memory, not a bank")
    bank: int = field(lambda c: unsigned(1), "accumulator bank to read")
    row: int = field(address_shape(lambda c: max(c.accumulator_rows, _residual_words(c))), "first row to read")
    tiles: int = field(count_shape(lambda c: c.accumulator_rows), "column tiles, at least 1", 1)
    pixels: int = field(count_shape(lambda c: c.accumulator_rows), "rows per column tile, at least 1", 1)
    parameters: int = field(address_shape(lambda c: c.parameter_words), "first parameter word of the first tile")
    shared: bool = field(lambda c: unsigned(1), "all tiles use the parameters of the first")
    raw: bool = field(lambda c: unsigned(1), "take the low 32 bits of the product instead of requantising")
    destination: Destination = field(lambda c: unsigned(2), "activation, output, accumulators, residual memory")
    wide: bool = field(lambda c: unsigned(1), "write int32 instead of int8 (output memory)")
    address: int = field(
        address_shape(lambda c: max(_drain_words(c), c.accumulator_rows)),
        "first word written; for accumulators, first row",
    )
    stride: int = field(count_shape(_drain_words), "words from pixel to pixel", 1)
    tile_stride: int = field(count_shape(_drain_words), "words from a word's tiles to the next word's", 1)
    lane: int = field(
        address_shape(lambda c: c.tiles_per_word), "place of the first tile in its word, where columns divide rows"
    )
    into: int = field(lambda c: unsigned(1), "bank that takes the results (destination accumulators)")
    fold: Fold = field(lambda c: unsigned(2), "how accumulators take the results", Fold.SET)
    commit: bool = field(lambda c: unsigned(1), "hand the half of the output memory to the link after the last write")


@dataclass(frozen=True, kw_only=True)
class Parameters(Instruction):
    """How one output channel is requantised: (x + bias) x multiplier x 2**(left - right - 31), rounded by contract."""

    bias: int = field(lambda c: signed(32), "added to the accumulator, modulo 2**32")
    multiplier: int = field(lambda c: unsigned(31), "fraction with its binary point at 31", 1)
    left: int = field(lambda c: unsigned(5), "left shift, under `tflite-double` before the product")
    right: int = field(lambda c: unsigned(5), "right shift after the product")
