"""The drain, the instruction of the output stage, and the parameters that it requantises with."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from amaranth.hdl import signed, unsigned

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.instruction import Instruction, address_shape, count_shape, field
from etchnet.hdl.isa.passes import Fold

__all__ = ["Destination", "Drain", "Parameters"]


class Destination(enum.IntEnum):
    """The memory that a drain writes its results to."""

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
    """Read `tiles` x `pixels` rows, requantise them, and write the results to a memory.

    Rows are read in order, from an accumulator bank or from the residual memory; the parameters and the destination
    advance from tile to tile. A drain starts after a pass with `release` or, if it is `chained`, after the preceding
    drain.
    """

    LATE = {"bounds": ("low", "high"), "zero_point": ("zero_point",)}

    low: int = field(lambda c: signed(32), "lower clamp", -128)
    high: int = field(lambda c: signed(32), "upper clamp", 127)
    zero_point: int = field(lambda c: signed(8), "added after the shift")
    chained: bool = field(lambda c: unsigned(1), "start after the preceding drain instead of after a pass")
    idle: int = field(lambda c: unsigned(5), "cycles to wait before a chained drain")
    residual: bool = field(lambda c: unsigned(_residual_words(c) > 0), "read the residual memory instead of a bank")
    bank: int = field(lambda c: unsigned(1), "accumulator bank to read")
    row: int = field(address_shape(lambda c: max(c.accumulator_rows, _residual_words(c))), "first row to read")
    tiles: int = field(count_shape(lambda c: c.accumulator_rows), "column tiles, at least 1", 1)
    pixels: int = field(count_shape(lambda c: c.accumulator_rows), "rows per column tile, at least 1", 1)
    parameters: int = field(address_shape(lambda c: c.parameter_words), "first parameter word of the first tile")
    shared: bool = field(lambda c: unsigned(1), "use the parameters of the first tile for all tiles")
    raw: bool = field(lambda c: unsigned(1), "use the low 32 bits of the product instead of rounding by the contract")
    destination: Destination = field(
        lambda c: Destination, "activation memory, output memory, accumulators or residual memory"
    )
    wide: bool = field(lambda c: unsigned(1), "write int32 instead of int8; for the output memory only")
    address: int = field(
        address_shape(lambda c: max(_drain_words(c), c.accumulator_rows)),
        "first word written; for accumulators, first row",
    )
    stride: int = field(count_shape(_drain_words), "words from pixel to pixel", 1)
    tile_stride: int = field(
        count_shape(_drain_words),
        "words from tile to tile; tiles that share a word count as one",
        1,
    )
    lane: int = field(
        address_shape(lambda c: c.tiles_per_word),
        "position of the first tile in its word, where `columns` divides `rows`",
    )
    into: int = field(lambda c: unsigned(1), "for destination accumulators: bank to fold the results into")
    fold: Fold = field(lambda c: Fold, "for destination accumulators: set, add or max", Fold.SET)
    commit: bool = field(lambda c: unsigned(1), "commit the half of the output memory with the last write")


@dataclass(frozen=True, kw_only=True)
class Parameters(Instruction):
    """Parameters of one output channel: (x + bias) x multiplier x 2**(left - right - 31), rounded by the contract."""

    bias: int = field(lambda c: signed(32), "added to the accumulator, modulo 2**32")
    multiplier: int = field(lambda c: unsigned(31), "unsigned fraction: all 31 bits are after the binary point", 1)
    left: int = field(lambda c: unsigned(5), "left shift; under `tflite-double` it comes before the product")
    right: int = field(lambda c: unsigned(5), "right shift, after the product")
