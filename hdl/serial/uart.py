"""The machine with a UART, for boards whose only interface is a serial port."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.serial.framed_link import FramedLink
from etchnet.hdl.serial.framing import BUFFER_BYTES, DEFAULT_BAUD, Identity
from etchnet.hdl.serial.receiver import UartReceiver
from etchnet.hdl.serial.transmitter import UartTransmitter

__all__ = ["TOLERANCE", "Uart", "baud_divisor"]

TOLERANCE = 0.02
"""largest relative error of a board's baud rate"""
_FASTEST = 4
"""minimum cycles per bit, which the receiver needs"""


def baud_divisor(clock_hz: float, baud: float) -> int:
    """Return the clock cycles per bit, rounded to the nearest whole number.

    Raises
    ------
    ValueError
        The rate is too high for the clock, or the nearest divisor misses it by more than `TOLERANCE`.
    """
    if not clock_hz > 0 or not baud > 0:
        raise ValueError(f"clock_hz and baud must be positive, not {clock_hz!r} and {baud!r}")
    divisor = round(clock_hz / baud)
    if divisor < _FASTEST:
        raise ValueError(
            f"baud must be at most {clock_hz / _FASTEST:,.0f} ({_FASTEST} cycles per bit) at a clock of "
            f"{clock_hz:,.0f} Hz, not {baud:,.0f}"
        )
    reached = clock_hz / divisor
    if abs(reached / baud - 1) > TOLERANCE:
        raise ValueError(
            f"baud must be within {TOLERANCE:.0%} of what a clock of {clock_hz:,.0f} Hz divides to, such as "
            f"{reached:,.0f}, not {baud:,.0f}"
        )
    return divisor


class Uart(wiring.Component):
    """The machine with a UART: `rx` and `tx`, idle high, one start bit, eight data bits, no parity, one stop bit.

    The protocol is that of `etchnet.hdl.serial.framing`. A HELLO frame resets the machine as `rst` does; memories keep
    their contents.

    ========  =========  =====  ===================================================================================
    port      direction  shape  meaning
    ========  =========  =====  ===================================================================================
    rx        in         1      line from the host
    tx        out        1      line to the host
    activity  out        1      for an LED: high during a session with a host, except while an answer is being sent
    ========  =========  =====  ===================================================================================

    Parameters
    ----------
    machine
        The machine.
    clock_hz, baud
        The clock, and bits per second on the line; ValueError if `baud_divisor` finds no divisor.
    buffer_bytes
        Size of each of two buffers, in block RAM: one of `BUFFER_BYTES`. Larger buffers allow longer frames, which use
        the line better.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        clock_hz: float,
        baud: float = DEFAULT_BAUD,
        buffer_bytes: int = BUFFER_BYTES[-1],
    ) -> None:
        config = machine.config
        self.divisor = baud_divisor(clock_hz, baud)
        self.machine = machine
        self.receiver, self.transmitter = UartReceiver(self.divisor), UartTransmitter(self.divisor)
        identity = Identity.of(config, buffer_bytes=buffer_bytes, clock_hz=round(clock_hz))
        self.framed_link = FramedLink(
            link_bits=config.link_bits,
            identity=identity.encode(),
            buffer_bytes=buffer_bytes,
            latency=min(2, config.memory_latency),
        )
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "activity": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """Connect the line to frames, and frames to the links."""
        m = Module()
        receiver, framed, transmitter = self.receiver, self.framed_link, self.transmitter
        submodule(m, platform, "receiver", receiver)
        submodule(m, platform, "framed_link", framed)
        submodule(m, platform, "transmitter", transmitter)
        submodule(m, platform, "machine", self.machine, reset=framed.reset_machine)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            framed.rx.eq(receiver.data),
            framed.rx_valid.eq(receiver.valid),
            self.tx.eq(transmitter.tx),
            self.activity.eq(framed.session & ~framed.answering),
        ]
        wiring.connect(m, framed.tx, transmitter.bytes)
        wiring.connect(m, framed.link_in, self.machine.link_in)
        wiring.connect(m, self.machine.link_out, framed.link_out)
        return m
