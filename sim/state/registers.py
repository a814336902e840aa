"""How registers are named, packed and followed back: what all parts of `etchnet.sim.state.machine` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

from etchnet.hdl.blocks.ram import Ram

__all__ = [
    "Layout",
    "Register",
    "Rows",
    "delayed",
    "late_rows",
    "memory_read",
    "memory_waits",
    "packed",
    "signed_value",
]

_REMEMBERED = 1 << 12
"""cycles of a wire that are kept"""

Wire = Callable[..., int]
"""what a wire holds in a cycle, from 0 on"""


@dataclass(frozen=True)
class Register:
    """One register: its value in any cycle, a whole number of its own sign."""

    value: Wire
    width: int
    signed: bool = False
    layout: Layout | None = None
    """its fields, where it has some"""

    def field(self, name: str) -> Register | None:
        """One of its fields, if it has that."""
        if (layout := self.layout) is None or name not in layout.fields:
            return None
        _, width, signed = layout.fields[name]
        return Register(lambda cycle: layout.get(self.value(cycle), name), width, signed)


@dataclass(frozen=True)
class Rows:
    """The contents of one memory: (row, cycle) to the word as the cycle begins."""

    word: Callable[..., int]
    depth: int
    width: int


class Layout:
    """A struct of the gateware as a whole number, and its fields, those of inner structs by dotted names."""

    def __init__(self, layout: data.StructLayout) -> None:
        self.width = layout.size
        self.fields: dict[str, tuple[int, int, bool]] = {}
        for name, first, shape in _leaves(layout, 0, ""):
            self.fields[name] = (first, shape.width, shape.signed)

    def pack(self, **values: Any) -> int:
        """The struct with some fields, double underscores for dots; the others are 0."""
        word = 0
        for name, value in values.items():
            first, width, _ = self.fields[name.replace("__", ".")]
            word |= (int(value) & (1 << width) - 1) << first
        return word

    def get(self, word: int, name: str) -> int:
        """One field."""
        first, width, signed = self.fields[name]
        value = word >> first & (1 << width) - 1
        return signed_value(value, width) if signed else value


def _leaves(layout: data.StructLayout, base: int, prefix: str) -> Iterator[tuple[str, int, Shape]]:
    for name, field in layout:
        if isinstance(field.shape, data.StructLayout):
            yield from _leaves(field.shape, base + field.offset, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", base + field.offset, Shape.cast(field.shape)


def signed_value(value: int, width: int) -> int:
    """The lowest bits of a number as a signed one."""
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) & 1 else value


def packed(values: np.ndarray) -> int:
    """Lanes of int8, uint8 or int32 as one whole number, the first lowest."""
    return int.from_bytes(values.astype(values.dtype.newbyteorder("<")).tobytes(), "little")


def delayed(wire: Wire, cycles: int) -> Wire:
    """A shift register's last stage: what the wire held some cycles ago, 0 before that."""
    return lambda cycle: wire(cycle - cycles) if cycle >= cycles else 0


def memory_read(name: str, wire: Wire, width: int, latency: int) -> dict[str, Register]:
    """The registers of a memory's read port: the last word read, and those behind it where reads take longer."""
    waits = memory_waits(latency)
    stages = {
        f"{name}.data_{stage}": Register(delayed(wire, stage + waits), width) for stage in range(1, latency - waits)
    }
    return {f"{name}.memory.read__data": Register(delayed(wire, waits), width), **stages}


def memory_waits(latency: int) -> int:
    """Cycles that reads and writes wait in front of a memory of a latency."""
    return Ram.waits_of(latency)


def late_rows(rows: Rows, latency: int) -> Rows:
    """The contents of a memory whose writes wait in front of it."""
    waits, word = memory_waits(latency), rows.word
    return Rows(lambda row, cycle: word(row, max(0, cycle - waits)), rows.depth, rows.width)


def remembered(wire: Callable[..., Any]) -> Any:
    """The same function with its last values kept."""
    return lru_cache(_REMEMBERED)(wire)
