"""Records whose fields are bits of a memory word, declared once for gateware, assembler and documentation."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError

__all__ = ["Instruction", "InstructionError", "address_shape", "count_shape", "field", "signed_address_shape"]


class InstructionError(EtchnetError, ValueError):
    """A value that does not fit its field on a machine; the message names the field, the value and the range."""


def field(shape: Callable[[Config], Any], doc: str, default: Any = 0) -> Any:
    """Declare a field of an `Instruction`: its shape on a machine, its meaning, and its default value."""
    return dataclasses.field(default=default, metadata={"shape": shape, "doc": doc})


def address_shape(words: Callable[[Config], int]) -> Callable[[Config], Shape]:
    """Return a field's shape: the address of one of `words` words."""
    return lambda c: unsigned(c.address_bits(words(c)))


def count_shape(top: Callable[[Config], int]) -> Callable[[Config], Shape]:
    """Return a field's shape: a number from 0 to `top`."""
    return lambda c: unsigned(top(c).bit_length())


def signed_address_shape(words: Callable[[Config], int]) -> Callable[[Config], Shape]:
    """Return a field's shape: a signed address, which may lie as far below word 0 as the last word lies above it."""
    return lambda c: signed(c.address_bits(words(c)) + 1)


class Instruction:
    """A frozen record whose fields, in order from bit 0, make up a memory word."""

    LATE: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """leading fields that the gateware reads long after the others, by the name of the memory that stores them"""

    @classmethod
    @functools.cache
    def layout(cls, config: Config) -> data.StructLayout:
        """Return the layout of the record in the gateware of `config`."""
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        return data.StructLayout({f.name: Shape.cast(f.metadata["shape"](config)) for f in fields})

    @classmethod
    @functools.cache
    def streamed(cls, config: Config) -> data.StructLayout:
        """Return the layout of the fields that are not late."""
        late = {name for names in cls.LATE.values() for name in names}
        return data.StructLayout({name: f.shape for name, f in cls.layout(config) if name not in late})

    @classmethod
    @functools.cache
    def late_layout(cls, config: Config, memory: str) -> data.StructLayout:
        """Return the layout of the late fields that `memory` stores."""
        return data.StructLayout({name: cls.layout(config)[name].shape for name in cls.LATE[memory]})

    @classmethod
    def late_offset(cls, config: Config, memory: str) -> int:
        """Return the first bit, within the instruction, of the late fields that `memory` stores."""
        return cls.layout(config)[cls.LATE[memory][0]].offset

    @classmethod
    @functools.cache
    def _bounds(cls, config: Config) -> list[tuple[str, int, int, int, int]]:
        """Return name, minimum, maximum, mask and first bit of every field."""
        found = []
        for name, f in cls.layout(config):
            width, is_signed = f.width, Shape.cast(f.shape).signed
            low, high = (-(1 << width - 1), (1 << width - 1) - 1) if is_signed else (0, (1 << width) - 1)
            found.append((str(name), low, high, (1 << width) - 1, f.offset))
        return found

    @classmethod
    def describe(cls, config: Config) -> list[tuple[str, int, int, str]]:
        """Return name, first bit, number of bits and meaning of every field."""
        layout, docs = cls.layout(config), {f.name: f.metadata["doc"] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        return [(name, f.offset, f.width, docs[str(name)]) for name, f in layout]

    def encode(self, config: Config) -> int:
        """Return the record as one whole number; raise InstructionError for a value that does not fit its field."""
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
        """Return the record that `encode` turned into `word`."""
        values = {}
        for name, f in cls.layout(config):
            value = word >> f.offset & (1 << f.width) - 1
            if Shape.cast(f.shape).signed and value >> f.width - 1:
                value -= 1 << f.width
            values[name] = value
        return cls(**values)
