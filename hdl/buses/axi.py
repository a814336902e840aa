"""The machine on AXI buses: its link as two AXI4-Streams, its registers as an AXI4-Lite slave."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockDomain, Module, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.buses.register import ADDRESS_BITS, REGISTER_BITS, Source
from etchnet.hdl.buses.register_file import RegisterFile, write_layout
from etchnet.hdl.buses.registers import counter_registers, field_layout
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import Counter

__all__ = ["Axi", "AxiLite", "Response"]


class Response(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What a slave answers, of AXI's codes for it."""

    OKAY = 0
    SLVERR = 2


def _lite_ports() -> dict[str, wiring.Member]:
    """An AXI4-Lite slave of 32-bit registers."""
    return {
        "awaddr": In(ADDRESS_BITS),
        "awprot": In(3),
        "awvalid": In(1),
        "awready": Out(1),
        "wdata": In(REGISTER_BITS),
        "wstrb": In(REGISTER_BITS // 8),
        "wvalid": In(1),
        "wready": Out(1),
        "bresp": Out(Response),
        "bvalid": Out(1),
        "bready": In(1),
        "araddr": In(ADDRESS_BITS),
        "arprot": In(3),
        "arvalid": In(1),
        "arready": Out(1),
        "rdata": Out(REGISTER_BITS),
        "rresp": Out(Response),
        "rvalid": Out(1),
        "rready": In(1),
    }


class AxiLite(wiring.Component):
    """An AXI4-Lite slave in front of a `RegisterFile`.

    Each of the channels AW, W and AR has a register: what arrives waits there, in any order, until the other half of a
    write is there too and the answer before has gone, or goes in that cycle. Answers are registers as well, so that no
    output depends on an input in the same cycle. `bvalid` and `rvalid` rise two cycles after what they answer was
    accepted; a write and a read can be accepted every two cycles, and do not wait for each other.

    The lowest two bits of addresses, and `awprot` and `arprot`, mean nothing.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                **_lite_ports(),
                "read_address": Out(ADDRESS_BITS - 2),
                "read_data": In(REGISTER_BITS),
                "read_error": In(1),
                "write": Out(write_layout()),
                "write_error": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Writes, then reads: take, do, answer."""
        m = Module()
        have_address = Signal()
        have_data = Signal()
        address = Signal(ADDRESS_BITS, reset_less=True)
        data = Signal(REGISTER_BITS, reset_less=True)
        strobes = Signal(REGISTER_BITS // 8, reset_less=True)
        answered = Signal()
        result = Signal(Response, reset_less=True)
        m.d.comb += [
            self.awready.eq(~have_address),
            self.wready.eq(~have_data),
            self.write.valid.eq(have_address & have_data & (~answered | self.bready)),
            self.write.address.eq(address[2:]),
            self.write.data.eq(data),
            self.write.strobes.eq(strobes),
            self.bvalid.eq(answered),
            self.bresp.eq(result),
        ]
        with m.If(self.awvalid & self.awready):
            m.d.sync += [have_address.eq(1), address.eq(self.awaddr)]
        with m.If(self.wvalid & self.wready):
            m.d.sync += [have_data.eq(1), data.eq(self.wdata), strobes.eq(self.wstrb)]
        with m.If(self.bready):
            m.d.sync += answered.eq(0)
        with m.If(self.write.valid):
            m.d.sync += [have_address.eq(0), have_data.eq(0), answered.eq(1)]
            m.d.sync += result.eq(Response.OKAY)
            with m.If(self.write_error):
                m.d.sync += result.eq(Response.SLVERR)

        have_read = Signal()
        read_address = Signal(ADDRESS_BITS, reset_less=True)
        delivered = Signal()
        value = Signal(REGISTER_BITS, reset_less=True)
        read_result = Signal(Response, reset_less=True)
        m.d.comb += [
            self.arready.eq(~have_read),
            self.read_address.eq(read_address[2:]),
            self.rvalid.eq(delivered),
            self.rdata.eq(value),
            self.rresp.eq(read_result),
        ]
        with m.If(self.arvalid & self.arready):
            m.d.sync += [have_read.eq(1), read_address.eq(self.araddr)]
        with m.If(self.rready):
            m.d.sync += delivered.eq(0)
        with m.If(have_read & (~delivered | self.rready)):
            m.d.sync += [have_read.eq(0), delivered.eq(1), value.eq(self.read_data)]
            m.d.sync += read_result.eq(Response.OKAY)
            with m.If(self.read_error):
                m.d.sync += read_result.eq(Response.SLVERR)
        return m


class Axi(wiring.Component):
    """A machine whose link is `s_axis` and `m_axis` and whose registers are at `s_axi`.

    Ports have the names of the AXI specification: clock `aclk`, reset `aresetn` (active low, taken at the rising edge
    of `aclk`), and a level `irq`, active high. Streams have `link_bits` bits; the first byte is the lowest.

    A link word passes `s_axis` in the cycle in which the machine takes it, and has one register stage before `m_axis`.
    No output depends on an input in the same cycle.

    Every word on `s_axis` is taken whole: a `tkeep` that says otherwise only sets the event PARTIAL. There is no
    `tlast`, as packets tell their own length. On `m_axis`, `tlast` marks the last word of every FRAME.HALVES halves of
    the output memory, and of an answer to a COUNTERS packet; `tkeep` is all ones.

    CONTROL.RESET holds the machine in reset, but neither the bus nor what `m_axis` offers already. Words that come in
    meanwhile are dropped.

    Parameters
    ----------
    machine
        An `Machine` with its `status`.
    """

    def __init__(self, machine: Machine) -> None:
        if not machine.has_status:
            raise ValueError("machine must be a Machine with status=True")
        self._machine = machine
        bits = machine.config.link_bits
        super().__init__(
            {
                "aclk": In(1),
                "aresetn": In(1),
                **{f"s_axi_{name}": port for name, port in _lite_ports().items()},
                "s_axis_tdata": In(bits),
                "s_axis_tkeep": In(bits // 8),
                "s_axis_tvalid": In(1),
                "s_axis_tready": Out(1),
                "m_axis_tdata": Out(bits),
                "m_axis_tkeep": Out(bits // 8),
                "m_axis_tlast": Out(1),
                "m_axis_tvalid": Out(1),
                "m_axis_tready": In(1),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Clocks, registers, the two streams."""
        m = Module()
        machine, lite, registers = self._machine, AxiLite(), RegisterFile(self._machine.config)
        stored, status = registers.stored, machine.status

        # The clock is the very port: no assignment delays it.
        domain = ClockDomain("sync", local=True)
        domain.clk = self.aclk
        m.domains += domain
        m.d.comb += domain.rst.eq(~self.aresetn)
        submodule(m, platform, "machine", machine, reset=stored.control_reset)
        submodule(m, platform, "lite", lite)
        submodule(m, platform, "registers", registers)

        # Registers.
        for name, port in _lite_ports().items():
            outer, inner = getattr(self, f"s_axi_{name}"), getattr(lite, name)
            m.d.comb += inner.eq(outer) if port.flow is In else outer.eq(inner)
        m.d.comb += [
            registers.read_address.eq(lite.read_address),
            lite.read_data.eq(registers.read_data),
            lite.read_error.eq(registers.read_error),
            registers.write.eq(lite.write),
            lite.write_error.eq(registers.write_error),
        ]
        latched = Signal.like(status.counters)
        with m.If(registers.pulses.snapshot_counters):
            m.d.sync += latched.eq(status.counters)
        for counter in Counter:
            low, high = (getattr(registers.status, f"{name}_value".lower()) for name in counter_registers(counter))
            m.d.comb += Cat(low, high).eq(latched[counter])
        for name in (
            "running",
            "run_pending",
            "counters_pending",
            "input_free",
            "input_full",
            "output_free",
            "output_full",
            "weights_free",
            "weights_full",
        ):
            m.d.comb += registers.status[f"status_{name}"].eq(status[name])

        # In. A machine that is held in reset is ready for a header, and what it takes is lost.
        taken = Signal()
        m.d.comb += [
            machine.link_in.payload.eq(self.s_axis_tdata),
            machine.link_in.valid.eq(self.s_axis_tvalid),
            self.s_axis_tready.eq(machine.link_in.ready),
            taken.eq(self.s_axis_tvalid & self.s_axis_tready),
            registers.status.status_input_waits.eq(self.s_axis_tvalid & ~self.s_axis_tready),
        ]

        # Out: a word that is offered stays until it is taken, even when the machine is reset.
        offered = Signal()
        word = Signal(len(self.m_axis_tdata), reset_less=True)
        last = Signal(reset_less=True)
        halves = Signal(len(stored.frame_halves))
        frame_ends = Signal()
        m.d.comb += [
            machine.link_out.ready.eq(~offered | self.m_axis_tready),
            frame_ends.eq(status.last & (status.answer | (halves + 1 >= stored.frame_halves))),
            self.m_axis_tvalid.eq(offered),
            self.m_axis_tdata.eq(word),
            self.m_axis_tlast.eq(last),
            self.m_axis_tkeep.eq(~0),
            registers.status.status_output_waits.eq(offered & ~self.m_axis_tready),
        ]
        with m.If(machine.link_out.ready):
            m.d.sync += [offered.eq(machine.link_out.valid), word.eq(machine.link_out.payload), last.eq(frame_ends)]
            with m.If(machine.link_out.valid & status.last):
                m.d.sync += halves.eq(halves + 1)
                with m.If(frame_ends):
                    m.d.sync += halves.eq(0)
        with m.If(stored.control_reset):
            m.d.sync += halves.eq(0)

        # Interrupts.
        m.d.comb += [
            registers.happened.interrupt_status_run_done.eq(status.run_done),
            registers.happened.interrupt_status_partial.eq(taken & ~self.s_axis_tkeep.all()),
        ]
        enabled = Cat(
            registers.events[name] & stored[name.replace("status", "enable")] for name, _ in field_layout(Source.EVENT)
        )
        interrupt = Signal()
        m.d.sync += interrupt.eq(enabled.any())
        m.d.comb += self.irq.eq(interrupt)
        return m
