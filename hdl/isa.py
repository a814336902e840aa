"""What the machine is told: passes, drains, requantisation parameters and link packets, each laid out once.

A program is two flat lists. A *pass* holds one weight tile and streams pixels through it into an accumulator bank;
a *drain* empties accumulator rows through the output stage. A pass with `release` starts the next drain of the
list. Nothing branches: every field is a constant, and every count follows from the fields alone.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data

from etchnet.hdl.config import Config

__all__ = [
    "COUNTER_BITS",
    "HEADER_WORDS",
    "OUTSIDE",
    "Counter",
    "Destination",
    "Drain",
    "Fold",
    "Instruction",
    "InstructionError",
    "Parameters",
    "Pass",
    "RunCommand",
    "Source",
    "Target",
    "TileKind",
    "chunks",
    "header_layout",
    "machine_hash",
    "pack",
    "pack_bytes",
    "packet",
    "unpack",
]


class InstructionError(ValueError):
    """A field that its machine cannot hold; the message names the field, the value and the range."""


class TileKind(enum.IntEnum):
    """Where the weights of a pass come from."""

    STORED = 0
    """rows x columns bytes in the weight memory"""
    DIAGONAL = 1
    """one weight word: element (i, i) takes byte b * columns + i, b = i // load_cycles; zero elsewhere"""
    IDENTITY = 2
    """ones on the diagonal, zero elsewhere; nothing is stored"""
    DEPTHWISE = 3
    """a stored tile whose column c holds the window of channel c: tap (i, j) in row i * depthwise + j"""


class Source(enum.IntEnum):
    """The memory that a pass streams its pixels from."""

    INPUT = 0
    ACTIVATION = 1


class Fold(enum.IntEnum):
    """How a sum meets the accumulator that it is written to."""

    SET = 0
    ADD = 1
    MAX = 2


class Destination(enum.IntEnum):
    """Where a drain writes its results."""

    ACTIVATION = 0
    OUTPUT = 1
    ACCUMULATORS = 2
    RESIDUAL = 3


class Target(enum.IntEnum):
    """What a packet on the incoming link carries."""

    PASSES = 0
    DRAINS = 1
    PARAMETERS = 2
    WEIGHTS = 3
    INPUT = 4
    RUN = 5
    COUNTERS = 6


class Counter(enum.IntEnum):
    """What the machine counts, in cycles but for `USEFUL`, since the counters were last read.

    Every cycle of a run is exactly one of ISSUE, WAIT_IN, WAIT_OUT, WEIGHT_LOAD, REQUANTISE and FILL_DRAIN.
    """

    CYCLES = 0
    """from the start of a run to the cycle that writes its last result"""
    ISSUE = 1
    """a pixel enters the array"""
    USEFUL = 2
    """multiplications of stored values: the part of rows x columns x ISSUE that is not padding"""
    WAIT_IN = 3
    """waiting for the incoming link: an input or weights"""
    WAIT_OUT = 4
    """waiting for the outgoing link: a half of the output memory"""
    WEIGHT_LOAD = 5
    """a pass shorter than the loading of a tile"""
    REQUANTISE = 6
    """idle while the output stage reads accumulators"""
    FILL_DRAIN = 7
    """any other cycle: the pipeline fills or empties"""


COUNTER_BITS = 48
OUTSIDE = -(1 << 40)
"""what stands for the word of a pixel that is not read"""
HEADER_WORDS = 2


def header_layout() -> data.StructLayout:
    """The first link word of a packet; the second is the number of memory words that follow."""
    return data.StructLayout(
        {"target": unsigned(4), "acquire": unsigned(1), "commit": unsigned(1), "unused": unsigned(2),
         "address": unsigned(24)}
    )  # fmt: skip


def chunks(bits: int, config: Config) -> int:
    """Link words that carry one memory word of `bits` bits."""
    return -(-bits // config.link_bits)


def _field(shape: Callable[[Config], Any], doc: str, default: Any = 0) -> Any:
    return field(default=default, metadata={"shape": shape, "doc": doc})


def _bits(words: Callable[[Config], int]) -> Callable[[Config], Shape]:
    return lambda c: unsigned(c.address_bits(words(c)))


def _range(top: Callable[[Config], int]) -> Callable[[Config], Shape]:
    return lambda c: unsigned(top(c).bit_length())


def _signed(words: Callable[[Config], int]) -> Callable[[Config], Shape]:
    return lambda c: signed(c.address_bits(words(c)) + 1)


def _windowed(top: Callable[[Config], int]) -> Callable[[Config], Shape]:
    """A field that only machines with depthwise passes have."""
    return lambda c: unsigned(top(c).bit_length() if c.depthwise else 0)


def _pixel_words(c: Config) -> int:
    return max(c.activation_words, c.input_words)


def _most_pixels(c: Config) -> int:
    return c.pass_pixels


def _residual_words(c: Config) -> int:
    return c.residual_words or 0


def _drain_words(c: Config) -> int:
    return max(c.activation_words, c.output_words, _residual_words(c))


def _idle_limit(c: Config) -> int:
    # The longest wait is for a whole bank through the slowest drain, and the pipeline behind it.
    return c.accumulator_rows * c.drain_cycles_per_row(wide=True) * 2 + 8 * (c.rows + c.columns) + 256


class Instruction:
    """A frozen record whose fields, in order, are the bits of a memory word."""

    LATE: ClassVar[tuple[str, ...]] = ()
    """its first fields, as far as they have memories of their own, where they are looked up long after the others"""

    @classmethod
    @functools.cache
    def layout(cls, config: Config) -> data.StructLayout:
        """The record as the gateware of `config` sees it."""
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        return data.StructLayout({f.name: Shape.cast(f.metadata["shape"](config)) for f in fields})

    @classmethod
    @functools.cache
    def streamed(cls, config: Config) -> data.StructLayout:
        """The fields that are not late."""
        return data.StructLayout({name: f.shape for name, f in cls.layout(config) if name not in cls.LATE})

    @classmethod
    @functools.cache
    def _bounds(cls, config: Config) -> list[tuple[str, int, int, int, int]]:
        """Name, least and most value, mask and first bit of every field."""
        found = []
        for name, f in cls.layout(config):
            width, is_signed = f.width, Shape.cast(f.shape).signed
            low, high = (-(1 << width - 1), (1 << width - 1) - 1) if is_signed else (0, (1 << width) - 1)
            found.append((str(name), low, high, (1 << width) - 1, f.offset))
        return found

    @classmethod
    def describe(cls, config: Config) -> list[tuple[str, int, int, str]]:
        """Name, first bit, bits and meaning of every field."""
        layout, docs = cls.layout(config), {f.name: f.metadata["doc"] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        return [(name, f.offset, f.width, docs[str(name)]) for name, f in layout]

    def encode(self, config: Config) -> int:
        """The record as one whole number, field by field from bit 0; raises InstructionError."""
        word = 0
        for name, low, high, mask, offset in self._bounds(config):
            value = int(getattr(self, name))
            if not low <= value <= high:
                raise InstructionError(
                    f"{type(self).__name__}.{name} must be from {low} to {high} on this machine, not {value}"
                )
            word |= (value & mask) << offset
        return word

    @classmethod
    def decode(cls, word: int, config: Config) -> Self:
        """The record that `encode` made `word` of."""
        values = {}
        for name, f in cls.layout(config):
            value = word >> f.offset & (1 << f.width) - 1
            if Shape.cast(f.shape).signed and value >> f.width - 1:
                value -= 1 << f.width
            values[name] = value
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Pass(Instruction):
    """Hold one weight tile, stream `pixels` words through it, fold the sums into an accumulator bank.

    Pixels are walked line by line: pixel (i, j) is the word `address` + i x `line` + j x `step`, for j from 0 to
    `columns` - 1, until there were `pixels` of them. One whose line or column lies outside of `first_line` to
    `end_line` - 1 and `first_column` to `end_column` - 1 is not read: every byte of it is `pad`. A pass occupies
    max(pixels, rows / weight_rows) cycles after its idle cycles and waits.

    A depthwise pass multiplies, in every column c, the channel c of a window of `depthwise` x `depthwise` walked pixels
    by the column's weights. The sum of the window whose first pixel is walked pixel s is the one of walked pixel
    s + `config.window_lead(columns)`; it is kept where the window lies within the walk, s is not among the last
    `dropped` columns of its line, and lies `skip_columns` + 1 columns and `skip_lines` + 1 lines from the kept one
    before.
    """

    idle: int = _field(_range(_idle_limit), "cycles to wait before the pass, counted as fill and drain")
    idle_requantise: int = _field(_range(_idle_limit), "cycles to wait before the pass, counted as requantise")
    wait_input: bool = _field(lambda c: unsigned(1), "wait until the current half of the input memory is full")
    wait_output: bool = _field(lambda c: unsigned(1), "wait for a free half of the output memory and take it")
    wait_weights: bool = _field(lambda c: unsigned(1), "wait for a committed weights packet and take it")
    release_input: bool = _field(lambda c: unsigned(1), "give the half of the input memory back after the last pixel")
    release_weights: bool = _field(lambda c: unsigned(1), "allow one more acquiring weights packet")
    release: bool = _field(lambda c: unsigned(1), "start the next drain behind the last pixel")
    kind: TileKind = _field(lambda c: unsigned(2), "stored, diagonal, identity or depthwise tile", TileKind.STORED)
    weights: int = _field(_bits(lambda c: c.weight_words), "first weight word of the tile")
    source: Source = _field(lambda c: unsigned(1), "input or activation memory", Source.INPUT)
    address: int = _field(_signed(_pixel_words), "word of pixel (0, 0), also where that lies outside")
    step: int = _field(_range(_pixel_words), "words from column to column", 1)
    line: int = _field(_range(_pixel_words), "words from line to line")
    pixels: int = _field(_range(_most_pixels), "pixels to stream, at least 1", 1)
    columns: int = _field(_range(_most_pixels), "pixels of a line; 0: all", 0)
    first_column: int = _field(_range(_most_pixels), "first column inside")
    end_column: int = _field(_range(_most_pixels), "first column behind the inside; 0: no end")
    first_line: int = _field(_range(_most_pixels), "first line inside")
    end_line: int = _field(_range(_most_pixels), "first line behind the inside; 0: no end")
    pad: int = _field(lambda c: signed(8), "what pixels outside hold")
    bank: int = _field(lambda c: unsigned(1), "accumulator bank")
    row: int = _field(_bits(lambda c: c.accumulator_rows), "accumulator row of the first kept sum")
    fold: Fold = _field(lambda c: unsigned(2), "set, add or max", Fold.SET)
    hold: Fold = _field(
        lambda c: unsigned(2), "set: each kept sum has the next row; add, max: all fold so into one row, after `fold`"
    )
    useful: int = _field(_range(lambda c: c.multipliers), "elements of the tile that hold weights of the network")
    dropped: int = _field(_windowed(lambda c: 15), "depthwise: columns at the end of a line that begin no window")
    skip_columns: int = _field(_windowed(lambda c: 3), "depthwise: columns between windows, less one")
    skip_lines: int = _field(_windowed(lambda c: 3), "depthwise: lines between windows, less one")

    @property
    def line_pixels(self) -> int:
        """Pixels of a line."""
        return self.columns or self.pixels

    def walk(self) -> np.ndarray:
        """The words that its pixels are read from, int64 (pixels,); `OUTSIDE` for those that are not read."""
        line, column = np.divmod(np.arange(self.pixels), self.line_pixels)
        inside = (column >= self.first_column) & (line >= self.first_line)
        inside &= (column < (self.end_column or self.pixels)) & (line < (self.end_line or self.pixels))
        return np.where(inside, self.address + line * self.line + column * self.step, OUTSIDE)

    def kept(self, config: Config) -> np.ndarray:
        """The pixels whose sums are folded, in order: int64."""
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
        """How many sums are folded."""
        return len(self.kept(config)) if self.kind == TileKind.DEPTHWISE else self.pixels

    def rows(self, config: Config) -> np.ndarray:
        """The accumulator row of each kept sum: int64."""
        kept = self.kept(config)
        return self.row + (np.zeros_like(kept) if self.hold != Fold.SET else np.arange(len(kept)))


@dataclass(frozen=True, kw_only=True)
class Drain(Instruction):
    """Take `tiles` x `pixels` rows through the output stage to a memory.

    Rows are read in order, from an accumulator bank or from the residual memory; the parameters and the destination
    advance from tile to tile. A drain starts behind a pass with `release`, or, if it is `chained`, behind the drain
    before it.
    """

    LATE = ("low", "high", "zero_point")

    low: int = _field(lambda c: signed(32), "lower clamp", -128)
    high: int = _field(lambda c: signed(32), "upper clamp", 127)
    zero_point: int = _field(lambda c: signed(8), "added after the shift")
    chained: bool = _field(lambda c: unsigned(1), "start behind the drain before, not behind a pass")
    idle: int = _field(lambda c: unsigned(5), "cycles that a chained drain waits first")
    residual: bool = _field(lambda c: unsigned(_residual_words(c) > 0), "read the residual memory, not a bank")
    bank: int = _field(lambda c: unsigned(1), "accumulator bank to read")
    row: int = _field(_bits(lambda c: max(c.accumulator_rows, _residual_words(c))), "first row to read")
    tiles: int = _field(_range(lambda c: c.accumulator_rows), "column tiles, at least 1", 1)
    pixels: int = _field(_range(lambda c: c.accumulator_rows), "rows per column tile, at least 1", 1)
    parameters: int = _field(_bits(lambda c: c.parameter_words), "first parameter word of the first tile")
    shared: bool = _field(lambda c: unsigned(1), "all tiles use the parameters of the first")
    raw: bool = _field(lambda c: unsigned(1), "take the low 32 bits of the product instead of requantising")
    destination: Destination = _field(lambda c: unsigned(2), "activation, output, accumulators, residual memory")
    wide: bool = _field(lambda c: unsigned(1), "write int32 instead of int8 (output memory)")
    address: int = _field(
        _bits(lambda c: max(_drain_words(c), c.accumulator_rows)),
        "first word written; for accumulators, first row",
    )
    stride: int = _field(_range(_drain_words), "words from pixel to pixel", 1)
    tile_stride: int = _field(_range(_drain_words), "words from a word's tiles to the next word's", 1)
    lane: int = _field(
        _bits(lambda c: c.tiles_per_word), "place of the first tile in its word, where columns divide rows"
    )
    into: int = _field(lambda c: unsigned(1), "bank that takes the results (destination accumulators)")
    fold: Fold = _field(lambda c: unsigned(2), "how accumulators take the results", Fold.SET)
    commit: bool = _field(lambda c: unsigned(1), "hand the half of the output memory to the link after the last write")


@dataclass(frozen=True, kw_only=True)
class Parameters(Instruction):
    """How one output channel is requantised: (x + bias) x multiplier x 2**(left - right - 31), rounded by contract."""

    bias: int = _field(lambda c: signed(32), "added to the accumulator, modulo 2**32")
    multiplier: int = _field(lambda c: unsigned(31), "fraction with its binary point at 31", 1)
    left: int = _field(lambda c: unsigned(5), "left shift, under `tflite-double` before the product")
    right: int = _field(lambda c: unsigned(5), "right shift after the product")


@dataclass(frozen=True, kw_only=True)
class RunCommand(Instruction):
    """What a RUN packet carries, one link word per field."""

    first_pass: int = _field(lambda c: unsigned(c.address_bits(c.passes)), "first pass")
    passes: int = _field(lambda c: unsigned(c.passes.bit_length()), "passes in the program, at least 1", 1)
    first_drain: int = _field(lambda c: unsigned(c.address_bits(c.drains)), "first drain")
    drains: int = _field(lambda c: unsigned(c.drains.bit_length()), "drains in the program, at least 1", 1)
    output_words: int = _field(
        lambda c: unsigned(c.output_words.bit_length()), "memory words sent for every committed half", 1
    )
    repeats: int = _field(lambda c: unsigned(32), "times the program runs, back to back, at least 1", 1)

    def words(self, config: Config) -> np.ndarray:
        """The memory words of a RUN packet."""
        self.encode(config)
        return pack([int(getattr(self, f.name)) for f in dataclasses.fields(self)], config.link_bits, config)


def machine_hash(config: Config) -> int:
    """CRC-32 of all that a program for a machine depends on: its parameters, and where fields of instructions lie."""
    layouts = [kind.layout(config) for kind in (Pass, Drain, Parameters, RunCommand)]
    fields = [[(str(name), field.offset, field.width) for name, field in layout] for layout in layouts]
    return zlib.crc32(json.dumps([config.to_dict(), fields], sort_keys=True).encode())


def pack(words: Iterable[int], bits: int, config: Config) -> np.ndarray:
    """Memory words of `bits` bits as link words, lowest bits first: uint32 of shape (words, chunks, link_bits / 32)."""
    size = chunks(bits, config) * config.link_bits // 8
    raw = b"".join(word.to_bytes(size, "little") for word in words)
    return np.frombuffer(raw, dtype="<u4").reshape(-1, chunks(bits, config), config.link_bits // 32)


def unpack(beats: np.ndarray, bits: int, config: Config) -> list[int]:
    """The memory words that `pack` laid out as link words."""
    size = chunks(bits, config) * config.link_bits // 8
    raw = np.ascontiguousarray(beats, dtype="<u4").tobytes()
    return [int.from_bytes(raw[i : i + size], "little") for i in range(0, len(raw), size)]


def packet(
    target: Target, words: np.ndarray, config: Config, *, address: int = 0, acquire: bool = False, commit: bool = False
) -> np.ndarray:
    """One packet for the incoming link: two header words, then `words` as `pack` laid them out.

    Returns uint32 of shape (link words, link_bits / 32).
    """
    count, lanes = len(words), config.link_bits // 32
    beats = np.zeros((HEADER_WORDS + words.size // lanes, lanes), dtype=np.uint32)
    beats[0, 0] = target | acquire << 4 | commit << 5 | address << 8
    beats[1, 0] = count
    beats[HEADER_WORDS:] = words.reshape(-1, lanes)
    return beats


def pack_bytes(values: np.ndarray, config: Config) -> np.ndarray:
    """Rows of bytes, (words, bytes), as memory words: uint32 of shape (words, chunks, link_bits / 32)."""
    size = chunks(8 * values.shape[1], config) * config.link_bits // 8
    if values.shape[1] == size:
        return np.ascontiguousarray(values).view("<u4").reshape(len(values), -1, config.link_bits // 32)
    padded = np.zeros((len(values), size), dtype=np.uint8)
    padded[:, : values.shape[1]] = values.view(np.uint8)
    return padded.view("<u4").reshape(len(values), -1, config.link_bits // 32)
