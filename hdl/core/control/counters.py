"""The machine's counters."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay_line
from etchnet.hdl.isa import COUNTER_BITS, Counter
from etchnet.hdl.isa.config import Config

__all__ = ["Counters"]


class Counters(wiring.Component):
    """A total of `COUNTER_BITS` bits for each `isa.Counter`, to which `increments` are added every cycle.

    CYCLES adds its increment in the same cycle, the others one cycle later, because the class of a cycle is decided
    late in the cycle. Snapshots of a running machine take `cycles_before`, which lags as the other totals do.

    =============  =========  ==========================  ==========================================================
    port           direction  shape                       meaning
    =============  =========  ==========================  ==========================================================
    increments     in         one field per `Counter`     amounts to add: 0 to `multipliers` for USEFUL, else 0 or 1
    clear          in         1                           set all totals to 0 at the end of the next cycle
    totals         out        `Counter` x `COUNTER_BITS`  the totals
    cycles_before  out        `COUNTER_BITS`              CYCLES of the cycle before
    =============  =========  ==========================  ==========================================================

    Parameters
    ----------
    config
        The machine.
    """

    def __init__(self, config: Config) -> None:
        useful = unsigned(config.multipliers.bit_length())
        super().__init__(
            {
                "increments": In(
                    data.StructLayout({c.name: useful if c is Counter.USEFUL else unsigned(1) for c in Counter})
                ),
                "clear": In(1),
                "totals": Out(data.ArrayLayout(unsigned(COUNTER_BITS), len(Counter))),
                "cycles_before": Out(COUNTER_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Add an adder per counter."""
        m = Module()
        clear = Signal(name="cleared")
        m.d.sync += clear.eq(self.clear)
        for counter in Counter:
            total = Signal(COUNTER_BITS, name=counter.name.lower())
            increment: Any = self.increments[counter.name]
            if counter is Counter.CYCLES:
                m.d.sync += self.cycles_before.eq(Mux(clear, 0, total))
            else:
                (_, increment) = delay_line(m, increment, 1, name=f"{counter.name.lower()}_increment")
            m.d.sync += total.eq(total + increment)
            with m.If(clear):
                m.d.sync += total.eq(0)
            m.d.comb += self.totals[counter].eq(total)
        return m
