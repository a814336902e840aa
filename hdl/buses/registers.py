"""The registers of a machine on a bus, laid out once.

Gateware, host driver, C header, SVD file and documentation are all made from `REGISTERS`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from amaranth.hdl import unsigned
from amaranth.lib import data

from etchnet.hdl.isa import COUNTER_BITS, Counter, machine_hash
from etchnet.hdl.isa.config import Config

__all__ = [
    "ADDRESS_BITS",
    "BY_NAME",
    "MAGIC",
    "REGISTERS",
    "REGISTER_BITS",
    "VERSION",
    "Access",
    "Field",
    "Register",
    "Source",
    "counter_registers",
    "field_layout",
    "member",
    "parameter_register",
]

REGISTER_BITS = 32
ADDRESS_BITS = 12
"""bits of a byte address: the registers have 4 KiB to themselves"""
MAGIC = int.from_bytes(b"ETCH", "big")
VERSION = (1, 0)
"""major and minor version of this map: another major one breaks drivers, another minor one only adds to it"""


class Access(enum.Enum):
    """What may be done to a register, by the names of CMSIS-SVD; anything else is answered with an error."""

    READ_ONLY = "read-only"
    WRITE_ONLY = "write-only"
    READ_WRITE = "read-write"


class Source(enum.Enum):
    """Where the value of a field comes from."""

    CONSTANT = "constant"
    """known when the machine is made"""
    STATUS = "status"
    """what the gateware says in the cycle of the read"""
    STORED = "stored"
    """what was written last"""
    PULSE = "pulse"
    """writing one makes something happen once; there is nothing to read"""
    EVENT = "event"
    """set by the gateware, cleared by writing one"""


_ACCESS = {
    Source.CONSTANT: Access.READ_ONLY,
    Source.STATUS: Access.READ_ONLY,
    Source.STORED: Access.READ_WRITE,
    Source.PULSE: Access.WRITE_ONLY,
    Source.EVENT: Access.READ_WRITE,
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """`bits` bits of a register from bit `first` on; bits that no field has read as zero, and writes ignore them.

    `value` is that of a constant, and what a stored field holds after reset; all others hold zero then.
    """

    name: str
    first: int
    bits: int
    source: Source
    doc: str
    value: Callable[[Config], int] = lambda config: 0

    @property
    def mask(self) -> int:
        """Ones where the field is."""
        return (1 << self.bits) - 1 << self.first

    def of(self, word: int) -> int:
        """The field's value in a register's."""
        return (word & self.mask) >> self.first

    def into(self, value: int) -> int:
        """A register's value with nothing but this field in it; raises ValueError for one that does not fit."""
        if not 0 <= value < 1 << self.bits:
            raise ValueError(f"{self.name} must be from 0 to {(1 << self.bits) - 1}, not {value!r}")
        return value << self.first


@dataclass(frozen=True, kw_only=True)
class Register:
    """A 32-bit register at byte `offset`."""

    name: str
    offset: int
    doc: str
    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        taken = 0
        for f in self.fields:
            if f.mask & taken or f.mask >> REGISTER_BITS:
                raise ValueError(f"{self.name}.{f.name} must have bits of its own below {REGISTER_BITS}")
            taken |= f.mask
        if len({_ACCESS[f.source] for f in self.fields}) != 1:
            raise ValueError(f"{self.name} must have fields of one kind of access")
        if self.offset % 4 or not 0 <= self.offset < 1 << ADDRESS_BITS:
            raise ValueError(f"{self.name} must lie at a multiple of 4 below {1 << ADDRESS_BITS}, not {self.offset!r}")

    @property
    def access(self) -> Access:
        """What may be done to it."""
        return _ACCESS[self.fields[0].source]

    def __getitem__(self, name: str) -> Field:
        for f in self.fields:
            if f.name == name:
                return f
        raise KeyError(f"{self.name} has no field {name!r}")

    def reset(self, config: Config) -> int:
        """Its value after reset, as far as that follows from the machine."""
        return sum(f.value(config) << f.first for f in self.fields)


def field_layout(source: Source) -> data.StructLayout:
    """All fields of one source, as register_field in lower case: how the gateware passes them around."""
    fields = [(r, f) for r in REGISTERS for f in r.fields if f.source is source]
    return data.StructLayout({member(r, f): unsigned(f.bits) for r, f in fields})


def member(register: Register, f: Field) -> str:
    """What a field is called in the layout of its source."""
    return f"{register.name}_{f.name}".lower()


def parameter_register(name: str) -> str:
    """The register of a parameter of `Config`."""
    return f"CONFIG_{name.upper()}"


def counter_registers(counter: Counter) -> tuple[str, str]:
    """The registers of a counter: its low 32 bits, and the rest."""
    return f"{counter.name}_LOW", f"{counter.name}_HIGH"


def _one(
    name: str,
    offset: int,
    source: Source,
    doc: str,
    *,
    bits: int = REGISTER_BITS,
    value: Callable[[Config], int] = lambda config: 0,
) -> Register:
    """A register with one field."""
    return Register(
        name=name,
        offset=offset,
        doc=doc,
        fields=(Field(name="VALUE", first=0, bits=bits, source=source, doc=doc, value=value),),
    )


def _flags(source: Source, first: int, flags: Mapping[str, str]) -> tuple[Field, ...]:
    return tuple(
        Field(name=name, first=bit, bits=1, source=source, doc=doc)
        for bit, (name, doc) in enumerate(flags.items(), first)
    )


def _status(name: str, first: int, bits: int, doc: str) -> Field:
    return Field(name=name, first=first, bits=bits, source=Source.STATUS, doc=doc)


_EVENTS = {
    "RUN_DONE": "a run has written its last result, which may still have to be sent",
    "PARTIAL": "a link word came in that s_axis_tkeep did not call whole; it was taken as if it were",
}

_COUNTERS, _PARAMETERS = 0x80, 0x100


def _registers() -> list[Register]:
    registers = [
        _one("ID", 0x00, Source.CONSTANT, "the letters ETCH, the first in the highest byte", value=lambda c: MAGIC),
        Register(
            name="VERSION",
            offset=0x04,
            doc="version of this map",
            fields=(
                Field(
                    name="MINOR",
                    first=0,
                    bits=16,
                    source=Source.CONSTANT,
                    value=lambda c: VERSION[1],
                    doc="grows where something is added",
                ),
                Field(
                    name="MAJOR",
                    first=16,
                    bits=16,
                    source=Source.CONSTANT,
                    value=lambda c: VERSION[0],
                    doc="grows where a driver has to change",
                ),
            ),
        ),
        _one(
            "FINGERPRINT",
            0x08,
            Source.CONSTANT,
            "CRC-32 of all that a program for the machine depends on: its "
            "parameters, and where fields of instructions lie",
            value=machine_hash,
        ),
        Register(
            name="CONTROL",
            offset=0x10,
            doc="what holds until it is written again",
            fields=_flags(
                Source.STORED,
                0,
                {
                    "RESET": "hold the machine in reset; link words that come in meanwhile are taken and dropped",
                },
            ),
        ),
        Register(
            name="STATUS",
            offset=0x14,
            doc="the machine in the cycle of the read",
            fields=(
                *_flags(
                    Source.STATUS,
                    0,
                    {
                        "RUNNING": "a run goes on",
                        "RUN_PENDING": "a further run waits for it to end",
                        "COUNTERS_PENDING": "a COUNTERS packet waits for its turn, or is being answered",
                        "INPUT_WAITS": "s_axis offers a link word that the machine does not take",
                        "OUTPUT_WAITS": "m_axis offers a link word that is not taken",
                    },
                ),
                _status("INPUT_FREE", 8, 2, "halves of the input memory that an INPUT packet may take"),
                _status("INPUT_FULL", 10, 2, "halves of the input memory that were committed and not given back"),
                _status("OUTPUT_FREE", 12, 2, "halves of the output memory that a pass may take"),
                _status("OUTPUT_FULL", 14, 2, "halves of the output memory that were committed and are not read whole"),
                _status("WEIGHTS_FREE", 16, 8, "WEIGHTS packets that may acquire"),
                _status("WEIGHTS_FULL", 24, 8, "WEIGHTS packets that were committed and not waited for"),
            ),
        ),
        Register(
            name="INTERRUPT_STATUS",
            offset=0x18,
            doc="what has happened; writing a one clears it",
            fields=_flags(Source.EVENT, 0, _EVENTS),
        ),
        Register(
            name="INTERRUPT_ENABLE",
            offset=0x1C,
            doc="for which of these `irq` is high",
            fields=_flags(Source.STORED, 0, {name: f"`irq` is high while {name} is set" for name in _EVENTS}),
        ),
        Register(
            name="SNAPSHOT",
            offset=0x20,
            doc="what is read in one go",
            fields=_flags(Source.PULSE, 0, {"COUNTERS": "copy all counters to the registers below, in one cycle"}),
        ),
        Register(
            name="FRAME",
            offset=0x24,
            doc="where m_axis_tlast is",
            fields=(
                Field(
                    name="HALVES",
                    first=0,
                    bits=16,
                    source=Source.STORED,
                    value=lambda c: 1,
                    doc="with the last link word of every so many halves of the output memory, that is repeats; 0 "
                    "is as 1. The answer to a COUNTERS packet always ends with it",
                ),
            ),
        ),
    ]
    for counter in Counter:
        low, high = counter_registers(counter)
        offset = _COUNTERS + 8 * counter
        registers += [
            _one(low, offset, Source.STATUS, f"{counter.name} at the last snapshot, low 32 bits"),
            _one(
                high,
                offset + 4,
                Source.STATUS,
                f"{counter.name} at the last snapshot, the bits above",
                bits=COUNTER_BITS - REGISTER_BITS,
            ),
        ]
    for index, f in enumerate(dataclasses.fields(Config)):
        doc, name = f.metadata["doc"], f.name
        if choices := f.metadata.get("choices"):
            doc += ": " + ", ".join(f"{i} {choice}" for i, choice in enumerate(choices))
        value = functools.partial(_parameter, name=name, choices=choices)
        registers.append(_one(parameter_register(name), _PARAMETERS + 4 * index, Source.CONSTANT, doc, value=value))
    return registers


def _parameter(config: Config, *, name: str, choices: tuple[str, ...] | None) -> int:
    value = getattr(config, name)
    return choices.index(value) if choices else value


REGISTERS: tuple[Register, ...] = tuple(_registers())
"""all registers, by rising offset; any other offset is answered with an error"""
BY_NAME: Mapping[str, Register] = {r.name: r for r in REGISTERS}
