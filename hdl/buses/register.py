"""A register on a bus and its fields, of which `etchnet.hdl.buses.registers` is made."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from etchnet.hdl.isa.config import Config

__all__ = ["ADDRESS_BITS", "REGISTER_BITS", "Access", "Field", "Register", "Source"]

REGISTER_BITS = 32
ADDRESS_BITS = 12
"""bits of a byte address: the registers occupy 4 KiB"""


class Access(enum.Enum):
    """The access of a bus master to a register, named as in CMSIS-SVD; any other access is answered with an error."""

    READ_ONLY = "read-only"
    WRITE_ONLY = "write-only"
    READ_WRITE = "read-write"


class Source(enum.Enum):
    """The origin of a field's value."""

    CONSTANT = "constant"
    """a constant of the machine, known when it is generated"""
    STATUS = "status"
    """a signal of the gateware in the cycle of the read"""
    STORED = "stored"
    """the value last written"""
    PULSE = "pulse"
    """writing 1 triggers an action once; the field cannot be read"""
    EVENT = "event"
    """set by the gateware, cleared by writing 1"""


_ACCESS = {
    Source.CONSTANT: Access.READ_ONLY,
    Source.STATUS: Access.READ_ONLY,
    Source.STORED: Access.READ_WRITE,
    Source.PULSE: Access.WRITE_ONLY,
    Source.EVENT: Access.READ_WRITE,
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """`bits` bits of a register, from bit `first` upwards.

    Bits of a register that belong to no field read as 0 and ignore writes. `value` gives the value of a constant field,
    and the reset value of a stored one; every other field is 0 after reset.
    """

    name: str
    first: int
    bits: int
    source: Source
    doc: str
    value: Callable[[Config], int] = lambda config: 0

    @property
    def mask(self) -> int:
        """The bits of the field, as ones in a register word."""
        return (1 << self.bits) - 1 << self.first

    def of(self, word: int) -> int:
        """Return the field's value in the register word `word`."""
        return (word & self.mask) >> self.first

    def into(self, value: int) -> int:
        """Return a register word that holds `value` in this field and 0 elsewhere; ValueError if it does not fit."""
        if not 0 <= value < 1 << self.bits:
            raise ValueError(f"{self.name} must be from 0 to {(1 << self.bits) - 1}, not {value!r}")
        return value << self.first


@dataclass(frozen=True, kw_only=True)
class Register:
    """A register of 32 bits at the byte address `offset`.

    Raises
    ------
    ValueError
        Fields overlap, leave the register, or differ in access; or the offset is outside the map or not aligned.
    """

    name: str
    offset: int
    doc: str
    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        taken = 0
        for f in self.fields:
            if f.mask & taken or f.mask >> REGISTER_BITS:
                raise ValueError(
                    f"{self.name}.{f.name} must not overlap another field, and must end below bit {REGISTER_BITS}"
                )
            taken |= f.mask
        if len({_ACCESS[f.source] for f in self.fields}) != 1:
            raise ValueError(f"{self.name} must have fields with the same access")
        if self.offset % 4 or not 0 <= self.offset < 1 << ADDRESS_BITS:
            raise ValueError(
                f"offset of {self.name} must be a multiple of 4 below {1 << ADDRESS_BITS}, not {self.offset!r}"
            )

    @property
    def access(self) -> Access:
        """The access that a bus master has."""
        return _ACCESS[self.fields[0].source]

    def __getitem__(self, name: str) -> Field:
        for f in self.fields:
            if f.name == name:
                return f
        raise KeyError(f"{self.name} has no field {name!r}")

    def reset(self, config: Config) -> int:
        """Return the register's value after reset, with 0 for every field that shows live status."""
        return sum(f.value(config) << f.first for f in self.fields)
