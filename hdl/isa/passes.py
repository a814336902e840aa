"""The pass: the one instruction of the array."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Shape, signed, unsigned

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.instruction import Instruction, address_shape, count_shape, field, signed_address_shape
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.isa.walk import OUTSIDE, is_inside

__all__ = ["Fold", "Pass", "Source", "TileKind", "is_stored"]


class TileKind(enum.IntEnum):
    """The weights of a pass, and where they come from."""

    STORED = 0
    """rows x columns bytes of the weight memory"""
    DIAGONAL = 1
    """one weight word: element (i, i) takes byte b * columns + i, b = i // load_cycles; zero elsewhere"""
    IDENTITY = 2
    """ones on the diagonal, zero elsewhere; nothing is stored"""
    DEPTHWISE = 3
    """a stored tile whose column c holds the window of channel c: tap (i, j) in row i * depthwise + j"""


def is_stored(kind: Any) -> Any:
    """Return whether all rows x columns bytes of a tile are in the weight memory; for numbers, arrays and signals."""
    return (kind == TileKind.STORED) | (kind == TileKind.DEPTHWISE)


class Source(enum.IntEnum):
    """The memory that a pass streams its pixels from."""

    INPUT = 0
    ACTIVATION = 1


class Fold(enum.IntEnum):
    """How a sum is combined with the accumulator that it is written to."""

    SET = 0
    ADD = 1
    MAX = 2


def _depthwise_only(top: Callable[[Config], int]) -> Callable[[Config], Shape]:
    """Return a field's shape: a number from 0 to `top`, zero bits wide on machines without depthwise passes."""
    return lambda c: unsigned(top(c).bit_length() if c.depthwise else 0)


def _pixel_words(c: Config) -> int:
    return max(c.activation_words, c.input_words)


def _pass_pixels(c: Config) -> int:
    return c.pass_pixels


def _idle_limit(c: Config) -> int:
    # The longest wait is for a whole bank through the slowest drain and the pipeline after it.
    return c.accumulator_rows * c.drain_cycles_per_row(wide=True) * 2 + 8 * (c.rows + c.columns) + 256


@dataclass(frozen=True, kw_only=True)
class Pass(Instruction):
    """Hold one weight tile, stream `pixels` words through it, fold the sums into an accumulator bank.

    Pixels are walked line by line: pixel (i, j) is the word `address` + i x `line` + j x `step`, for j from 0 to
    `columns` - 1, until `pixels` have been walked. A pixel outside lines `first_line` to `end_line` - 1 or columns
    `first_column` to `end_column` - 1 is not read: all its bytes are `pad`. A pass occupies max(pixels, rows /
    weight_rows) cycles after its idle cycles and waits.

    A depthwise pass multiplies, in every column c, channel c of a window of `depthwise` x `depthwise` walked pixels by
    the weights of the column. The sum that starts with walked pixel s + `config.window_lead(columns)` belongs to the
    window whose first pixel is walked pixel s. It is kept if the window is within the walk, s is not among the last
    `dropped` columns of its line, and both the line and the column of s are multiples of `skip_lines` + 1 and
    `skip_columns` + 1.
    """

    idle: int = field(count_shape(_idle_limit), "cycles to wait before the pass, counted as fill and drain")
    idle_requantise: int = field(count_shape(_idle_limit), "cycles to wait before the pass, counted as requantise")
    wait_input: bool = field(lambda c: unsigned(1), "wait until the current half of the input memory is full")
    wait_output: bool = field(lambda c: unsigned(1), "wait for a free half of the output memory and take it")
    wait_weights: bool = field(lambda c: unsigned(1), "wait for a committed weights packet and take it")
    release_input: bool = field(lambda c: unsigned(1), "free the half of the input memory with the last pixel")
    release_weights: bool = field(lambda c: unsigned(1), "permit one more weights packet with `acquire`")
    release: bool = field(lambda c: unsigned(1), "start the next drain after the last pixel")
    kind: TileKind = field(lambda c: TileKind, "stored, diagonal, identity or depthwise tile", TileKind.STORED)
    weights: int = field(address_shape(lambda c: c.weight_words), "first weight word of the tile")
    source: Source = field(lambda c: Source, "input or activation memory", Source.INPUT)
    address: int = field(signed_address_shape(_pixel_words), "word of pixel (0, 0), which may be outside the image")
    step: int = field(count_shape(_pixel_words), "words from column to column", 1)
    line: int = field(count_shape(_pixel_words), "words from line to line")
    pixels: int = field(count_shape(_pass_pixels), "pixels to stream, at least 1", 1)
    columns: int = field(count_shape(_pass_pixels), "pixels per line; 0: one line of all pixels", 0)
    first_column: int = field(count_shape(_pass_pixels), "first column inside the image")
    end_column: int = field(count_shape(_pass_pixels), "first column past the image; 0: no end")
    first_line: int = field(count_shape(_pass_pixels), "first line inside the image")
    end_line: int = field(count_shape(_pass_pixels), "first line past the image; 0: no end")
    pad: int = field(lambda c: signed(8), "value of every byte of a pixel outside the image")
    bank: int = field(lambda c: unsigned(1), "accumulator bank")
    row: int = field(address_shape(lambda c: c.accumulator_rows), "accumulator row of the first kept sum")
    fold: Fold = field(lambda c: Fold, "set, add or max", Fold.SET)
    hold: Fold = field(
        lambda c: Fold,
        "set: each kept sum has a row of its own; add, max: all fold into one row, the first of them by `fold`",
    )
    useful: int = field(
        count_shape(lambda c: c.multipliers), "number of elements of the tile that hold weights of the network"
    )
    dropped: int = field(
        _depthwise_only(lambda c: 15), "depthwise: columns at the end of a line where no window starts"
    )
    skip_columns: int = field(_depthwise_only(lambda c: 3), "depthwise: horizontal stride of windows, less one")
    skip_lines: int = field(_depthwise_only(lambda c: 3), "depthwise: vertical stride of windows, less one")

    @property
    def line_pixels(self) -> int:
        """Pixels of a line."""
        return self.columns or self.pixels

    def walk(self) -> np.ndarray:
        """Return the word that each pixel is read from, int64 (pixels,); `OUTSIDE` for pixels that are not read."""
        line, column = np.divmod(np.arange(self.pixels), self.line_pixels)
        return np.where(is_inside(self, line, column), self.address + line * self.line + column * self.step, OUTSIDE)

    def word_span(self) -> tuple[int, int]:
        """Return the lowest word that is read and the word after the highest; both are 0 if no pixel is inside.

        Valid only if `step` and `line` are positive; not every word in between need be read.
        """
        last_column = min(self.line_pixels, self.pixels, self.end_column or self.pixels) - 1
        last_line = min(ceil_div(self.pixels, self.line_pixels), self.end_line or self.pixels) - 1
        if self.first_column > last_column or self.first_line > last_line:
            return 0, 0
        first = self.address + self.first_line * self.line + self.first_column * self.step
        return first, self.address + last_line * self.line + last_column * self.step + 1

    def kept(self, config: Config) -> np.ndarray:
        """Return the pixels whose sums are folded, in order: int64."""
        pixel = np.arange(self.pixels)
        if self.kind != TileKind.DEPTHWISE:
            return pixel
        lead = config.window_lead(self.line_pixels)
        line, column = np.divmod(pixel - lead, self.line_pixels)
        kept = (pixel >= lead) & (pixel < self.pixels - config.window_trail)
        kept &= column < self.line_pixels - self.dropped
        kept &= (column % (self.skip_columns + 1) == 0) & (line % (self.skip_lines + 1) == 0)
        return pixel[kept]

    def sums(self, config: Config) -> int:
        """Return the number of sums that are folded."""
        return len(self.kept(config)) if self.kind == TileKind.DEPTHWISE else self.pixels

    def rows(self, config: Config) -> np.ndarray:
        """Return the accumulator row of each kept sum, in order: int64."""
        kept = self.kept(config)
        return self.row + (np.zeros_like(kept) if self.hold != Fold.SET else np.arange(len(kept)))
