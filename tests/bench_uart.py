"""Test bench of the UART's halves, back to back: a UART that nobody here wrote, at the pins. Runs in the simulator."""

from __future__ import annotations

import logging
import os
import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, with_timeout
from cocotbext.uart import UartSink, UartSource

CLOCK_NS, BAUD = 50, 1_000_000


@cocotb.test()
async def every_byte_comes_back(dut: Any) -> None:
    """All bytes, back to back and with pauses, from a sender whose rate is off."""
    source = UartSource(dut.rx, baud=BAUD * float(os.environ["UART_SOURCE"]))
    sink = UartSink(dut.tx, baud=BAUD)
    for one in (source, sink):
        one.log.setLevel(logging.WARNING)
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, CLOCK_NS, "ns").start())
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 50)
    sent, shuffled = bytearray(), random.Random(3)
    for pause in (0, 0, 17):
        data = bytes(shuffled.sample(range(256), 128))
        sent += data
        if pause:
            for byte in data[:40]:
                await source.write([byte])
                await source.wait()
                await ClockCycles(dut.clk, shuffled.randrange(pause))
            data = data[40:]
        await source.write(data)
        await source.wait()
    received = bytearray()
    while len(received) < len(sent):
        received += await with_timeout(sink.read(), 2, "ms")
    assert received == sent
