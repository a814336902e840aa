"""Test bench of the UART's two halves, connected as an echo, against the UART of cocotbext-uart at the pins."""

from __future__ import annotations

import logging
import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, with_timeout
from cocotbext.uart import UartSink, UartSource

CLOCK_NS, BAUD = 50, 1_000_000


@cocotb.test()
@cocotb.parametrize(off=[1.0, 0.98, 1.02])
async def every_byte_comes_back(dut: Any, off: float) -> None:
    """Send bytes, back to back and with pauses, at a rate that is off by a factor."""
    source, sink = UartSource(dut.rx, baud=BAUD * off), UartSink(dut.tx, baud=BAUD)
    for one in (source, sink):
        one.log.setLevel(logging.WARNING)
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, CLOCK_NS, "ns").start())
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 50)
    shuffled = random.Random(3)
    data = bytes(shuffled.sample(range(256), 100))
    await source.write(data[:70])
    for byte in data[70:]:
        await source.wait()
        await ClockCycles(dut.clk, shuffled.randrange(17))
        await source.write([byte])
    received = bytearray()
    while len(received) < len(data):
        received += await with_timeout(sink.read(), 2, "ms")
    assert received == data
