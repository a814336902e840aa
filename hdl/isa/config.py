"""Parameters of a machine, validated once and shared by gateware, assembler, simulators and docs."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from amaranth.utils import ceil_log2

from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.hdl.isa.html import html_table
from etchnet.hdl.isa.numbers import ceil_div

__all__ = ["Config", "ConfigError", "sum_width"]


class ConfigError(EtchnetError, ValueError):
    """A parameter that no machine can have; the message names the parameter, its value and the valid range."""


def sum_width(terms: int) -> int:
    """Return the width in bits of a signed sum of `terms` int8 x int8 products; `terms` is at least 1.

    A product is in [-16256, 16384], so a sum needs 16 + floor(log2(terms)) bits.
    """
    return 15 + terms.bit_length()


def _parameter(default: int | None, low: int, high: int, doc: str, **checks: bool) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "doc": doc, **checks})


def _choice(choices: tuple[str, ...], doc: str) -> Any:
    return field(default=choices[0], metadata={"choices": choices, "doc": doc})


@dataclass(frozen=True, kw_only=True)
class Config:
    """One machine: the size of its array, its output stage, its memories and its link.

    Every field is a whole number, except `contract`, which is a name. The array multiplies vectors of `rows` int8
    values by tiles of `rows` x `columns` int8 weights. Memory sizes are given in the units of their contents: words of
    `rows` bytes for activations, inputs and outputs, tiles for weights, instructions for programs.

    Raises
    ------
    ConfigError
        A value has the wrong type or is out of range, or two values contradict each other.
    """

    rows: int = _parameter(16, 1, 64, "rows of the array: int8 inputs taken per cycle")
    columns: int = _parameter(16, 1, 64, "columns of the array: sums delivered per cycle")
    weight_rows: int = _parameter(1, 1, 64, "weight rows loaded per cycle (W); divides `rows`")
    requantisers: int = _parameter(None, 1, 64, "requantisers in the output stage (n); divides `columns`, the default")
    weight_tiles: int = _parameter(
        1152, 1, 1 << 18, "weight tiles of rows x columns bytes that the weight memory holds"
    )
    activation_words: int = _parameter(4096, 2, 1 << 20, "words of `rows` bytes in the activation memory")
    input_words: int = _parameter(
        1024, 2, 1 << 20, "words of `rows` bytes in each of the two halves of the input memory", power=True
    )
    output_words: int = _parameter(
        1024, 2, 1 << 20, "words of `rows` bytes in each of the two halves of the output memory", power=True
    )
    accumulator_rows: int = _parameter(256, 4, 1 << 12, "rows of `columns` int32 in each of the two accumulator banks")
    passes: int = _parameter(2048, 2, 1 << 20, "passes that the pass program holds")
    drains: int = _parameter(512, 2, 1 << 20, "drains that the drain program holds")
    parameter_tiles: int = _parameter(128, 1, 1 << 18, "column tiles whose requantisation parameters fit the machine")
    residual_words: int = _parameter(
        None,
        0,
        1 << 16,
        "words of `rows` bytes in the residual memory, which holds an operand of residual additions; must be 0 unless "
        "rows = columns, and is then 4 x `accumulator_rows` by default",
    )
    depthwise: int = _parameter(
        None,
        0,
        8,
        "side of the window of a depthwise pass in taps, or 0 for no depthwise passes; needs rows = columns, and rows "
        "at least its square; 3 by default where possible, else 0",
    )
    line_words: int = _parameter(
        512, 16, 1 << 12, "longest delay, in pixels, of a line buffer for depthwise passes", power=True
    )
    link_bits: int = _parameter(32, 32, 512, "width of each link in bits; a multiple of 32")
    multiplier_latency: int = _parameter(1, 1, 8, "register stages in the multiplier of a processing element")
    memory_latency: int = _parameter(
        1, 1, 4, "read latency, in cycles, of every memory except the output memory and the line buffers"
    )
    product_latency: int = _parameter(1, 1, 5, "register stages in the multiplication of a requantiser")
    contract: str = _choice(CONTRACTS, "rounding contract of the output stage")

    def __post_init__(self) -> None:
        square = self.rows == self.columns
        for name, value in self._derived_defaults().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for f in dataclasses.fields(self):
            value, meta = getattr(self, f.name), f.metadata
            if "choices" in meta:
                if value not in meta["choices"]:
                    raise ConfigError(f"{f.name} must be one of {', '.join(meta['choices'])}, not {value!r}")
                continue
            if type(value) is not int or not meta["low"] <= value <= meta["high"]:
                raise ConfigError(
                    f"{f.name} must be a whole number from {meta['low']} to {meta['high']}, not {value!r}"
                )
            if meta.get("power") and value & (value - 1):
                raise ConfigError(f"{f.name} must be a power of two, not {value!r}")
        for part, whole in (("weight_rows", "rows"), ("requantisers", "columns")):
            if getattr(self, whole) % getattr(self, part):
                raise ConfigError(f"{part} must divide {whole} ({getattr(self, whole)}), not {getattr(self, part)!r}")
        for name in ("residual_words", "depthwise"):
            if getattr(self, name) and not square:
                raise ConfigError(
                    f"{name} must be 0 unless rows ({self.rows}) equals columns ({self.columns}), "
                    f"not {getattr(self, name)!r}"
                )
        if self.depthwise == 1 or self.depthwise**2 > self.rows:
            raise ConfigError(
                f"depthwise must be 0, or at least 2 with its square at most rows ({self.rows}), not {self.depthwise!r}"
            )
        if self.link_bits % 32:
            raise ConfigError(f"link_bits must be a multiple of 32, not {self.link_bits!r}")

    def _derived_defaults(self) -> dict[str, int]:
        """Return the defaults that follow from other parameters."""
        square = self.rows == self.columns
        return {
            "requantisers": self.columns,
            "residual_words": 4 * self.accumulator_rows if square else 0,
            "depthwise": 3 if square and self.rows >= 9 else 0,
        }

    def __repr__(self) -> str:
        defaults = {f.name: f.default for f in dataclasses.fields(self)} | self._derived_defaults()
        changed = (f"{name}={value!r}" for name, value in self.to_dict().items() if value != defaults[name])
        return f"Config({', '.join(changed)})"

    def _repr_html_(self) -> str:
        rows = [[f.name, getattr(self, f.name), f.metadata["doc"]] for f in dataclasses.fields(self)]
        return html_table(["parameter", "value", "meaning"], rows, repr(self))

    # The array and its weights

    @property
    def load_cycles(self) -> int:
        """Cycles to load one weight tile (R / W), and the minimum time between the first pixels of two passes."""
        return self.rows // self.weight_rows

    def pass_cycles(self, pixels: int) -> int:
        """Return the cycles that a pass of `pixels` pixels occupies: one per pixel, and at least `load_cycles`."""
        return max(pixels, self.load_cycles)

    @property
    def weight_words(self) -> int:
        """Number of words, of weight_rows x columns bytes, in the weight memory."""
        return self.weight_tiles * self.load_cycles

    @property
    def multipliers(self) -> int:
        """Number of processing elements, each of which multiplies and adds once per cycle."""
        return self.rows * self.columns

    # The output stage

    @property
    def groups(self) -> int:
        """Cycles to requantise one accumulator row: columns / requantisers."""
        return self.columns // self.requantisers

    @property
    def parameter_words(self) -> int:
        """Number of words in the parameter memory, each with the parameters of `requantisers` channels."""
        return self.parameter_tiles * self.groups

    @property
    def tiles_per_word(self) -> int:
        """Column tiles stored side by side in one activation word: rows / columns if that is a whole number, else 1."""
        return max(1, self.rows // self.columns) if self.rows % self.columns == 0 else 1

    def words_per_pixel(self, *, wide: bool = False) -> int:
        """Return the memory words that one pixel's results in a column tile fill: int8, or int32 if `wide`."""
        return ceil_div(self.columns * (4 if wide else 1), self.rows)

    def drain_cycles_per_row(self, *, wide: bool = False) -> int:
        """Return the output stage's cycles per accumulator row: to requantise or to write, whichever is longer."""
        return max(self.groups, self.words_per_pixel(wide=wide))

    @property
    def pass_pixels(self) -> int:
        """Maximum number of pixels that a pass may walk.

        A depthwise pass of a full bank of windows also walks their borders and the pixels that a stride skips.
        """
        return 4 * self.accumulator_rows if self.depthwise else self.accumulator_rows

    # Depthwise passes

    @property
    def shortest_line(self) -> int:
        """Minimum pixels per line of a depthwise pass: the window's side plus the line buffers' minimum delay, 2."""
        return self.depthwise + 2

    @property
    def longest_line(self) -> int:
        """Maximum pixels per line of a depthwise pass: the line buffers delay by up to depthwise - 1 lines."""
        return self.depthwise + self.line_words // max(1, self.depthwise - 1)

    sample_delay = 1
    """cycles from a skewed vector to its samples at the elements of the last line of a depthwise window"""

    def window_lead(self, line_pixels: int) -> int:
        """Return the cycles from the first vector of a depthwise window to the vector that its sum starts with.

        The sum must meet the first tap of the last line when that tap's sample arrives: depthwise - 1 lines after the
        first vector, less the rows of the array above that tap.
        """
        return self.sample_delay + (self.depthwise - 1) * (line_pixels - self.depthwise)

    @property
    def window_trail(self) -> int:
        """Cycles from the vector that the sum of a depthwise window starts with to the last vector of the window."""
        return self.depthwise**2 - 1 - self.sample_delay

    # Addresses

    def address_bits(self, words: int) -> int:
        """Return the bits of an address of a memory of `words` words, at least 1."""
        return max(1, ceil_log2(words))

    # Files

    def to_dict(self) -> dict[str, int | str]:
        """Return all fields by name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """Return the machine that `to_dict` described; raise ConfigError for an unknown name."""
        return cls(**values)

    def to_toml(self) -> str:
        """Return the fields as TOML, the format of `--config` files."""
        lines = (
            f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"
            for name, value in self.to_dict().items()
        )
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """Return the fields as one line of JSON, the same for equal machines."""
        return json.dumps(self.to_dict(), sort_keys=True)


def _named(init: Callable[..., None]) -> Callable[..., None]:
    """Return the constructor of `Config` with errors that name the nearest parameter."""
    known = sorted(f.name for f in dataclasses.fields(Config))

    @functools.wraps(init)
    def named(self: Config, *args: Any, **values: Any) -> None:
        if args:
            raise ConfigError(f"parameters of a Config are given by name, such as rows={args[0]!r}")
        if unknown := sorted(set(values) - set(known)):
            nearest = difflib.get_close_matches(unknown[0], known, n=1)
            guess = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise ConfigError(f"unknown config parameter {unknown[0]!r}: {guess}known are {', '.join(known)}")
        init(self, **values)

    return named


Config.__init__ = _named(Config.__init__)  # type: ignore[method-assign]
