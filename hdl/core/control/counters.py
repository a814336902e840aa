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
    """One `COUNTER_BITS`-bit total per `isa.Counter`; each adds its increment every cycle, until `clear` zeroes all.

    CYCLES adds it at once, the others a cycle later: what a cycle is spent on is known late in it. Nothing reads them
    that soon but snapshots of a running machine, whose cycles are `cycles_before`, those of the cycle before.

    Parameters
    ----------
    config
        Its multipliers bound the increment of USEFUL; every other counter adds 0 or 1.
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
        """One adder per counter."""
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
