"""The receiving half of a UART."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver"]


class UartReceiver(wiring.Component):
    """A UART receiver: one start bit, eight data bits, lowest first, one stop bit.

    Every bit is sampled once, in its middle, timed from the falling edge of the start bit. A start bit that is high
    again by its middle is ignored as noise. A byte without a stop bit is dropped, as is everything until the line is
    high again. There is no flow control.

    =====  =========  =====  ==========================================================
    port   direction  shape  meaning
    =====  =========  =====  ==========================================================
    rx     in         1      the line, asynchronous, high when idle
    data   out        8      the byte received last
    valid  out        1      high for one cycle per byte, in the middle of its stop bit
    =====  =========  =====  ==========================================================

    Parameters
    ----------
    divisor
        Cycles per bit, at least 4.
    """

    def __init__(self, divisor: int) -> None:
        if divisor < 4:
            raise ValueError(f"divisor must be at least 4, not {divisor!r}")
        self._divisor = divisor
        super().__init__({"rx": In(1), "data": Out(8), "valid": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """Synchronise the line, time its bits, and shift them in."""
        m = Module()
        last = 9  # the stop bit; the start bit is 0
        settling, line, before = Signal(init=1), Signal(init=1), Signal(init=1)
        busy, timer, bit = Signal(), Signal(range(self._divisor)), Signal(range(last + 1))
        m.d.sync += [settling.eq(self.rx), line.eq(settling), before.eq(line), self.valid.eq(0)]
        with m.If(~busy):
            m.d.sync += [busy.eq(before & ~line), timer.eq(self._divisor // 2 - 1), bit.eq(0)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self._divisor - 1), bit.eq(bit + 1)]
            with m.If(bit == 0):
                m.d.sync += busy.eq(~line)
            with m.Elif(bit == last):
                # Half a bit before the stop bit ends, so that the start bit of a slightly faster sender is not missed.
                m.d.sync += [busy.eq(0), self.valid.eq(line)]
            with m.Else():
                m.d.sync += self.data.eq(Cat(self.data[1:], line))
        return m
