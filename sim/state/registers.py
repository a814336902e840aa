"""Registers and memories as functions of the cycle, and how they are named and packed, for all modules of the state."""

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
    "MemoryView",
    "Register",
    "Wire",
    "as_signed",
    "cached",
    "delayed",
    "delayed_view",
    "pack_lanes",
    "read_registers",
]

_CACHED = 1 << 12
"""cycles of a wire that are cached"""

Wire = Callable[..., int]
"""the value of a wire in a cycle, from 0 on"""


@dataclass(frozen=True)
class Register:
    """One register as a function of the cycle; signed if the gateware's signal is signed."""

    value: Wire
    width: int
    signed: bool = False
    layout: Layout | None = None
    """the register's fields if it is a struct"""

    def field(self, name: str) -> Register | None:
        """Return one field of the register as a register; None if it has no such field."""
        if (layout := self.layout) is None or name not in layout.fields:
            return None
        _, width, signed = layout.fields[name]
        return Register(lambda cycle: layout.get(self.value(cycle), name), width, signed)


@dataclass(frozen=True)
class MemoryView:
    """One memory as a function ``word(row, cycle)``: the word at the start of a cycle."""

    word: Callable[..., int]
    depth: int
    width: int


class Layout:
    """A struct of the gateware as a whole number.

    Attributes
    ----------
    width
        Bits of the struct.
    fields
        The first bit of each field, its width, and whether it is signed; fields of inner structs have dotted names.
    """

    def __init__(self, layout: data.StructLayout) -> None:
        self.width = layout.size
        self.fields: dict[str, tuple[int, int, bool]] = {}
        for name, first, shape in _leaves(layout, 0, ""):
            self.fields[name] = (first, shape.width, shape.signed)

    def pack(self, **values: Any) -> int:
        """Return the struct with the given fields, the others 0; ``inner__field`` names the field ``inner.field``."""
        word = 0
        for name, value in values.items():
            first, width, _ = self.fields[name.replace("__", ".")]
            word |= (int(value) & (1 << width) - 1) << first
        return word

    def get(self, word: int, name: str) -> int:
        """Return one field of a packed struct."""
        first, width, signed = self.fields[name]
        value = word >> first & (1 << width) - 1
        return as_signed(value, width) if signed else value


def _leaves(layout: data.StructLayout, base: int, prefix: str) -> Iterator[tuple[str, int, Shape]]:
    for name, field in layout:
        if isinstance(field.shape, data.StructLayout):
            yield from _leaves(field.shape, base + field.offset, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", base + field.offset, Shape.cast(field.shape)


def as_signed(value: int, width: int) -> int:
    """Return the lowest bits of a number, read as two's complement."""
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) & 1 else value


def pack_lanes(values: np.ndarray) -> int:
    """Return lanes of int8, uint8 or int32 as one whole number, the first lane lowest."""
    return int.from_bytes(values.astype(values.dtype.newbyteorder("<")).tobytes(), "little")


def delayed(wire: Wire, cycles: int) -> Wire:
    """Return a wire delayed by `cycles` cycles, and 0 before: the last stage of a shift register."""
    return lambda cycle: wire(cycle - cycles) if cycle >= cycles else 0


def read_registers(name: str, wire: Wire, width: int, latency: int) -> dict[str, Register]:
    """Return the registers of a `Ram`'s read port, by name: the word read last, and the pipeline stages after it.

    Parameters
    ----------
    name
        Path of the component that the memory is in.
    wire
        The word returned by the latest read before a cycle, as if reads took one cycle.
    width
        Bits of a word.
    latency
        Latency of the `Ram`.
    """
    waits = Ram.waits_of(latency)
    stages = {
        f"{name}.data_{stage}": Register(delayed(wire, stage + waits), width) for stage in range(1, latency - waits)
    }
    return {f"{name}.memory.read__data": Register(delayed(wire, waits), width), **stages}


def delayed_view(view: MemoryView, latency: int) -> MemoryView:
    """Return the contents of a memory inside a `Ram` of that latency: registers in front of its ports delay writes."""
    waits, word = Ram.waits_of(latency), view.word
    return MemoryView(lambda row, cycle: word(row, max(0, cycle - waits)), view.depth, view.width)


def cached(wire: Callable[..., Any]) -> Any:
    """Return the same function with its latest values cached."""
    return lru_cache(_CACHED)(wire)
