"""The sending half of a UART."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["UartTransmitter"]


class UartTransmitter(wiring.Component):
    """A UART transmitter: one start bit, eight data bits, lowest first, one stop bit.

    A byte takes 10 x `divisor` cycles, plus one to be accepted.

    =====  =========  ===========  ========================================
    port   direction  shape        meaning
    =====  =========  ===========  ========================================
    bytes  in         stream of 8  bytes to send
    tx     out        1            the line, high between bytes; a register
    =====  =========  ===========  ========================================

    Parameters
    ----------
    divisor
        Cycles per bit, at least 2.
    """

    def __init__(self, divisor: int) -> None:
        if divisor < 2:
            raise ValueError(f"divisor must be at least 2, not {divisor!r}")
        self._divisor = divisor
        super().__init__({"bytes": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: Any) -> Module:
        """Time the bits, and shift them out."""
        m = Module()
        left, timer, shift = Signal(range(10)), Signal(range(self._divisor)), Signal(9)
        busy = Signal()
        m.d.comb += self.bytes.ready.eq(~busy)
        with m.If(~busy):
            with m.If(self.bytes.valid):
                m.d.sync += [
                    busy.eq(1),
                    self.tx.eq(0),
                    shift.eq(Cat(self.bytes.payload, 1)),
                    left.eq(9),
                    timer.eq(self._divisor - 1),
                ]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self._divisor - 1), left.eq(left - 1), shift.eq(shift >> 1)]
            with m.If(left == 0):
                m.d.sync += busy.eq(0)
            with m.Else():
                m.d.sync += self.tx.eq(shift[0])
        return m
