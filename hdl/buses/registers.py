"""The register map of a machine on a bus.

Gateware, host driver, C header, SVD file and documentation are all generated from `REGISTERS`. Every offset is an ABI:
a change to the map must raise `VERSION`, and a test compares the map with the one recorded for that version.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping

from amaranth.hdl import unsigned
from amaranth.lib import data

from etchnet.hdl.buses.register import REGISTER_BITS, Field, Register, Source
from etchnet.hdl.isa import CONTRACT_NUMBERS, COUNTER_BITS, Counter, machine_hash
from etchnet.hdl.isa.config import Config

__all__ = [
    "BY_NAME",
    "MAGIC",
    "REGISTERS",
    "VERSION",
    "counter_registers",
    "field_layout",
    "member",
    "parameter_register",
]

MAGIC = int.from_bytes(b"ETCH", "big")
VERSION = (1, 0)
"""major and minor version of the map: a new major version breaks drivers, a new minor version only adds registers"""

_COUNTERS = 0x80
"""offset of counter 0; each counter takes 8 bytes, in the order of their numbers"""
_PARAMETERS = {
    "rows": 0x100,
    "columns": 0x104,
    "weight_rows": 0x108,
    "requantisers": 0x10C,
    "weight_tiles": 0x110,
    "activation_words": 0x114,
    "input_words": 0x118,
    "output_words": 0x11C,
    "accumulator_rows": 0x120,
    "passes": 0x124,
    "drains": 0x128,
    "parameter_tiles": 0x12C,
    "residual_words": 0x130,
    "depthwise": 0x134,
    "line_words": 0x138,
    "link_bits": 0x13C,
    "multiplier_latency": 0x140,
    "memory_latency": 0x144,
    "product_latency": 0x148,
    "contract": 0x14C,
}
"""offset of each parameter of `Config`; a new parameter takes the next free offset"""
_EVENTS = {
    "RUN_DONE": "a run has written its last result, which may still wait to be sent",
    "PARTIAL": "a link word arrived whose s_axis_tkeep was not all ones; it was accepted as a whole word",
}


def _register(
    name: str,
    offset: int,
    source: Source,
    doc: str,
    *,
    bits: int = REGISTER_BITS,
    value: Callable[[Config], int] = lambda config: 0,
) -> Register:
    """Return a register with one field, VALUE."""
    only = Field(name="VALUE", first=0, bits=bits, source=source, doc=doc, value=value)
    return Register(name=name, offset=offset, doc=doc, fields=(only,))


def _flags(source: Source, flags: Mapping[str, str]) -> tuple[Field, ...]:
    """Return fields of one bit each from bit 0 upwards, given as name to meaning."""
    return tuple(
        Field(name=name, first=bit, bits=1, source=source, doc=doc) for bit, (name, doc) in enumerate(flags.items())
    )


def _status(name: str, first: int, bits: int, doc: str) -> Field:
    return Field(name=name, first=first, bits=bits, source=Source.STATUS, doc=doc)


def _version_field(name: str, first: int, value: int, doc: str) -> Field:
    return Field(name=name, first=first, bits=16, source=Source.CONSTANT, value=lambda c: value, doc=doc)


_IDENTITY = (
    _register("ID", 0x00, Source.CONSTANT, "the letters ETCH, the first in the highest byte", value=lambda c: MAGIC),
    Register(
        name="VERSION",
        offset=0x04,
        doc="version of this map",
        fields=(
            _version_field("MINOR", 0, VERSION[1], "raised when registers are added"),
            _version_field("MAJOR", 16, VERSION[0], "raised when existing drivers must change"),
        ),
    ),
    _register(
        "FINGERPRINT",
        0x08,
        Source.CONSTANT,
        "CRC-32 of everything that a program depends on: the parameters, and the layout of the instructions",
        value=machine_hash,
    ),
)
"""registers that identify the machine"""

_STATUS = Register(
    name="STATUS",
    offset=0x14,
    doc="state of the machine in the cycle of the read",
    fields=(
        *_flags(
            Source.STATUS,
            {
                "RUNNING": "a run is in progress",
                "RUN_PENDING": "another run waits for the current one to end",
                "COUNTERS_PENDING": "a COUNTERS packet is waiting, or is being answered",
                "INPUT_WAITS": "s_axis offers a link word that the machine does not accept",
                "OUTPUT_WAITS": "m_axis offers a link word that the receiver does not accept",
            },
        ),
        _status("INPUT_FREE", 8, 2, "halves of the input memory that an INPUT packet may take"),
        _status("INPUT_FULL", 10, 2, "halves of the input memory that are committed and not yet released"),
        _status("OUTPUT_FREE", 12, 2, "halves of the output memory that a pass may take"),
        _status("OUTPUT_FULL", 14, 2, "halves of the output memory that are committed and not yet read completely"),
        _status("WEIGHTS_FREE", 16, 8, "WEIGHTS packets with `acquire` that are permitted"),
        _status("WEIGHTS_FULL", 24, 8, "WEIGHTS packets that are committed and that no pass has taken yet"),
    ),
)

_CONTROL = (
    Register(
        name="CONTROL",
        offset=0x10,
        doc="control of the machine; keeps its value until it is written again",
        fields=_flags(
            Source.STORED,
            {"RESET": "hold the machine in reset; link words that arrive meanwhile are accepted and dropped"},
        ),
    ),
    _STATUS,
    Register(
        name="INTERRUPT_STATUS",
        offset=0x18,
        doc="events that have happened; writing 1 clears an event",
        fields=_flags(Source.EVENT, _EVENTS),
    ),
    Register(
        name="INTERRUPT_ENABLE",
        offset=0x1C,
        doc="events for which `irq` is high",
        fields=_flags(Source.STORED, {name: f"`irq` is high while {name} is set" for name in _EVENTS}),
    ),
    Register(
        name="SNAPSHOT",
        offset=0x20,
        doc="triggers of snapshots",
        fields=_flags(Source.PULSE, {"COUNTERS": "copy all counters to their registers, all in one cycle"}),
    ),
    Register(
        name="FRAME",
        offset=0x24,
        doc="frames on m_axis, whose last words m_axis_tlast marks",
        fields=(
            Field(
                name="HALVES",
                first=0,
                bits=16,
                source=Source.STORED,
                value=lambda c: 1,
                doc="m_axis_tlast marks the last link word of every HALVES halves of the output memory, one half "
                "per repeat; 0 acts as 1. It always marks the last word of the answer to a COUNTERS packet",
            ),
        ),
    ),
)
"""registers for the state of the machine, its control and its interrupts"""


def counter_registers(counter: Counter) -> tuple[str, str]:
    """Return the names of a counter's two registers: its low 32 bits, and the bits above."""
    return f"{counter.name}_LOW", f"{counter.name}_HIGH"


def _counters() -> Iterator[Register]:
    """Yield the two registers of every counter, which hold what SNAPSHOT copied."""
    for counter in Counter:
        (low, high), offset = counter_registers(counter), _COUNTERS + 8 * counter
        yield _register(low, offset, Source.STATUS, f"{counter.name} at the last snapshot, low 32 bits")
        doc = f"{counter.name} at the last snapshot, upper bits"
        yield _register(high, offset + 4, Source.STATUS, doc, bits=COUNTER_BITS - REGISTER_BITS)


def parameter_register(name: str) -> str:
    """Return the name of the register that holds a parameter of `Config`."""
    return f"CONFIG_{name.upper()}"


def _parameters() -> Iterator[Register]:
    """Yield the register of every parameter."""
    for f in dataclasses.fields(Config):
        doc, name = f.metadata["doc"], f.name
        if name == "contract":
            doc += ": " + ", ".join(f"{number} {contract}" for contract, number in CONTRACT_NUMBERS.items())
        value = functools.partial(_parameter, name=name)
        yield _register(parameter_register(name), _PARAMETERS[name], Source.CONSTANT, doc, value=value)


def _parameter(config: Config, *, name: str) -> int:
    return CONTRACT_NUMBERS[config.contract] if name == "contract" else int(getattr(config, name))


REGISTERS: tuple[Register, ...] = tuple(
    sorted((*_IDENTITY, *_CONTROL, *_counters(), *_parameters()), key=lambda register: register.offset)
)
"""all registers in ascending order of offsets; an access to any other offset is answered with an error"""
BY_NAME: Mapping[str, Register] = {r.name: r for r in REGISTERS}


def member(register: Register, f: Field) -> str:
    """Return the name of a field in the layout of its source."""
    return f"{register.name}_{f.name}".lower()


def field_layout(source: Source) -> data.StructLayout:
    """Return a layout of all fields of one source, named register_field in lower case, for ports of gateware."""
    fields = [(r, f) for r in REGISTERS for f in r.fields if f.source is source]
    return data.StructLayout({member(r, f): unsigned(f.bits) for r, f in fields})
