"""The register map (`etchnet.hdl.buses.registers`) as gateware."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import C, Cat, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.buses.register import ADDRESS_BITS, REGISTER_BITS, Access, Field, Register, Source
from etchnet.hdl.buses.registers import REGISTERS, field_layout, member
from etchnet.hdl.isa.config import Config

__all__ = ["RegisterFile", "write_layout"]

_WORD_BITS = ADDRESS_BITS - 2


def write_layout() -> data.StructLayout:
    """Return the layout of a write: the bytes of `data` that `strobes` enables, to the register at word `address`."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "address": unsigned(_WORD_BITS),
            "data": unsigned(REGISTER_BITS),
            "strobes": unsigned(REGISTER_BITS // 8),
        }
    )


class RegisterFile(wiring.Component):
    """All registers, with separate ports to read and to write.

    Reads and errors are combinational; a write takes effect in the next cycle. Bytes without a strobe keep their value.

    ============  =========  ================  =======================================================
    port          direction  shape             meaning
    ============  =========  ================  =======================================================
    read_address  in         10                word address to read
    read_data     out        32                value of the register there
    read_error    out        1                 there is no readable register there
    write         in         `write_layout`    a write
    write_error   out        1                 there is no writable register there; nothing is written
    status        in         fields of STATUS  live values to read
    stored        out        fields of STORED  values last written
    pulses        out        fields of PULSE   fields to which the write of this cycle writes 1
    happened      in         fields of EVENT   set these events, even in a cycle that clears them
    events        out        fields of EVENT   events that are set
    ============  =========  ================  =======================================================

    Fields are those of one `Source`, laid out by `field_layout`.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "read_address": In(_WORD_BITS),
                "read_data": Out(REGISTER_BITS),
                "read_error": Out(1),
                "write": In(write_layout()),
                "write_error": Out(1),
                "status": In(field_layout(Source.STATUS)),
                "stored": Out(field_layout(Source.STORED)),
                "pulses": Out(field_layout(Source.PULSE)),
                "happened": In(field_layout(Source.EVENT)),
                "events": Out(field_layout(Source.EVENT)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Create the fields, then connect reads and writes."""
        m = Module()
        values: dict[str, Any] = {}
        for register in REGISTERS:
            for f in register.fields:
                name = member(register, f)
                match f.source:
                    case Source.CONSTANT:
                        values[name] = C(f.value(self._config), f.bits)
                    case Source.STATUS:
                        values[name] = self.status[name]
                    case Source.STORED:
                        values[name] = Signal(f.bits, name=name, init=f.value(self._config))
                        m.d.comb += self.stored[name].eq(values[name])
                    case Source.EVENT:
                        values[name] = Signal(f.bits, name=name)
                        m.d.comb += self.events[name].eq(values[name])

        readable = [r for r in REGISTERS if r.access is not Access.WRITE_ONLY]
        writable = [r for r in REGISTERS if r.access is not Access.READ_ONLY]
        write, enabled = self.write, Signal(REGISTER_BITS)
        m.d.comb += [
            self.read_error.eq(~self.read_address.matches(*(r.offset // 4 for r in readable))),
            self.write_error.eq(~write.address.matches(*(r.offset // 4 for r in writable))),
            enabled.eq(Cat((strobe & write.valid).replicate(8) for strobe in write.strobes)),
        ]
        with m.Switch(self.read_address):
            for register in readable:
                with m.Case(register.offset // 4):
                    m.d.comb += self.read_data.eq(_word(register, values))

        for name, _ in field_layout(Source.EVENT):
            m.d.sync += values[name].eq(values[name] | self.happened[name])
        with m.Switch(write.address):
            for register in writable:
                with m.Case(register.offset // 4):
                    for f in register.fields:
                        self._write_field(m, f, member(register, f), values, enabled)
        return m

    def _write_field(self, m: Module, f: Field, name: str, values: dict[str, Any], enabled: Signal) -> None:
        bits = slice(f.first, f.first + f.bits)
        written, mask = self.write.data[bits], enabled[bits]
        match f.source:
            case Source.PULSE:
                m.d.comb += self.pulses[name].eq(written & mask)
            case Source.STORED:
                m.d.sync += values[name].eq(values[name] & ~mask | written & mask)
            case Source.EVENT:
                m.d.sync += values[name].eq(values[name] & ~(written & mask) | self.happened[name])


def _word(register: Register, values: Mapping[str, Any]) -> Any:
    """Return all fields of a register as one word: assigning each separately would make a multiplexer per bit."""
    parts: list[Any] = []
    for f in sorted(register.fields, key=lambda f: f.first):
        parts += [C(0, f.first - sum(map(len, parts))), values[member(register, f)]]
    return Cat(parts)
