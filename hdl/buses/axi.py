"""The machine on AXI buses: its links as two AXI4-Streams, its registers as an AXI4-Lite slave."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.buses.axi_lite import AxiLite, lite_ports
from etchnet.hdl.buses.register import Source
from etchnet.hdl.buses.register_file import RegisterFile
from etchnet.hdl.buses.registers import counter_registers, field_layout
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import Counter

__all__ = ["Axi"]


_STATUS = (
    "running",
    "run_pending",
    "counters_pending",
    "input_free",
    "input_full",
    "output_free",
    "output_full",
    "weights_free",
    "weights_full",
)
"""fields of STATUS that the machine itself reports, by their names in `Machine.status_layout`"""


class Axi(wiring.Component):
    """A machine whose links are the streams `s_axis` and `m_axis`, and whose registers are at `s_axi`.

    Ports have the names of the AXI specification. No output depends on an input in the same cycle.

    ===========  =========  ============  ===================================================================
    port         direction  shape         meaning
    ===========  =========  ============  ===================================================================
    aclk         in         1             clock
    aresetn      in         1             reset, active low, sampled at the rising edge of `aclk`
    s_axi_...    both       `lite_ports`  AXI4-Lite slave: the registers
    s_axis_t...  both       `link_bits`   AXI4-Stream slave: link words to the machine, the first byte lowest
    m_axis_t...  both       `link_bits`   AXI4-Stream master: link words from the machine
    irq          out        1             interrupt, level-sensitive, active high: an enabled event is set
    ===========  =========  ============  ===================================================================

    A link word passes `s_axis` in the cycle in which the machine accepts it, and has one register stage before
    `m_axis`. Every word on `s_axis` is accepted as a whole: a `tkeep` that is not all ones only sets the event PARTIAL.
    There is no `s_axis_tlast`, as packets carry their own length. On `m_axis`, `tlast` marks the last word of every
    FRAME.HALVES halves of the output memory, and of an answer to a COUNTERS packet; `tkeep` is all ones.

    CONTROL.RESET holds the machine in reset, but neither the bus nor a word that `m_axis` already offers. Words that
    arrive meanwhile are dropped.

    Parameters
    ----------
    machine
        A `Machine` with its port `status`.

    Raises
    ------
    ValueError
        `machine` has no `status`.
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
                **{f"s_axi_{name}": port for name, port in lite_ports().items()},
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
        """Connect the clock, the registers, the two streams and the interrupt."""
        m = Module()
        machine, lite, registers = self._machine, AxiLite(), RegisterFile(self._machine.config)

        # The port itself is the clock of the domain: no assignment delays it.
        domain = ClockDomain("sync", local=True)
        domain.clk = self.aclk
        m.domains += domain
        m.d.comb += domain.rst.eq(~self.aresetn)
        submodule(m, platform, "machine", machine, reset=registers.stored.control_reset)
        submodule(m, platform, "lite", lite)
        submodule(m, platform, "registers", registers)

        for name, port in lite_ports().items():
            outer, inner = getattr(self, f"s_axi_{name}"), getattr(lite, name)
            m.d.comb += inner.eq(outer) if port.flow is In else outer.eq(inner)
        m.d.comb += [
            registers.read_address.eq(lite.read_address),
            lite.read_data.eq(registers.read_data),
            lite.read_error.eq(registers.read_error),
            registers.write.eq(lite.write),
            lite.write_error.eq(registers.write_error),
        ]
        self._show_status(m, registers)
        self._stream_in(m, registers)
        self._stream_out(m, registers)
        self._interrupt(m, registers)
        return m

    def _show_status(self, m: Module, registers: RegisterFile) -> None:
        """Connect the machine's status to its registers, the counters through a snapshot."""
        status: Any = self._machine.status
        latched = Signal.like(status.counters)
        with m.If(registers.pulses.snapshot_counters):
            m.d.sync += latched.eq(status.counters)
        for counter in Counter:
            low, high = (getattr(registers.status, f"{name}_value".lower()) for name in counter_registers(counter))
            m.d.comb += Cat(low, high).eq(latched[counter])
        for name in _STATUS:
            m.d.comb += registers.status[f"status_{name}"].eq(status[name])

    def _stream_in(self, m: Module, registers: RegisterFile) -> None:
        """Pass link words to the machine, which in reset is ready for a header, and drops whatever it accepts."""
        machine, accepted = self._machine, Signal()
        m.d.comb += [
            machine.link_in.payload.eq(self.s_axis_tdata),
            machine.link_in.valid.eq(self.s_axis_tvalid),
            self.s_axis_tready.eq(machine.link_in.ready),
            accepted.eq(self.s_axis_tvalid & self.s_axis_tready),
            registers.status.status_input_waits.eq(self.s_axis_tvalid & ~self.s_axis_tready),
            registers.happened.interrupt_status_partial.eq(accepted & ~self.s_axis_tkeep.all()),
        ]

    def _stream_out(self, m: Module, registers: RegisterFile) -> None:
        """Offer link words of the machine, each until it is accepted, even when the machine is reset meanwhile."""
        link, status, stored = self._machine.link_out, self._machine.status, registers.stored
        offered = Signal()
        word = Signal(len(self.m_axis_tdata), reset_less=True)
        last = Signal(reset_less=True)
        halves = Signal(len(stored.frame_halves))
        frame_ends = Signal()
        m.d.comb += [
            link.ready.eq(~offered | self.m_axis_tready),
            frame_ends.eq(status.last & (status.answer | (halves + 1 >= stored.frame_halves))),
            self.m_axis_tvalid.eq(offered),
            self.m_axis_tdata.eq(word),
            self.m_axis_tlast.eq(last),
            self.m_axis_tkeep.eq(~0),
            registers.status.status_output_waits.eq(offered & ~self.m_axis_tready),
        ]
        with m.If(link.ready):
            m.d.sync += [offered.eq(link.valid), word.eq(link.payload), last.eq(frame_ends)]
            with m.If(link.valid & status.last):
                m.d.sync += halves.eq(halves + 1)
                with m.If(frame_ends):
                    m.d.sync += halves.eq(0)
        with m.If(stored.control_reset):
            m.d.sync += halves.eq(0)

    def _interrupt(self, m: Module, registers: RegisterFile) -> None:
        """Raise `irq` while an enabled event is set."""
        m.d.comb += registers.happened.interrupt_status_run_done.eq(self._machine.status.run_done)
        enabled = Cat(
            registers.events[name] & registers.stored[name.replace("status", "enable")]
            for name, _ in field_layout(Source.EVENT)
        )
        interrupt = Signal()
        m.d.sync += interrupt.eq(enabled.any())
        m.d.comb += self.irq.eq(interrupt)
