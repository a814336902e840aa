"""Masters and a sink of cocotbext-axi around a machine on AXI buses, and monitors of its channels."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from bench_accelerator import PATIENCE, ResetError, Setup
from cocotb.clock import Clock
from cocotb.task import resume
from cocotb.triggers import FallingEdge, RisingEdge, Timer
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamSink,
    AxiStreamSource,
)

from etchnet.hdl.buses.registers import BY_NAME
from etchnet.hdl.isa import Counter, Header, Target
from etchnet.host.driver.axi import AxiEngine, Bus
from etchnet.sim.engines.link import LinkError

PERIOD = 10


class Masters(Bus):
    """Everything that is connected to one machine."""

    def __init__(self, dut: Any, link_bits: int) -> None:
        self.dut, self._bytes = dut, link_bits // 8
        clocked = {"clock": dut.aclk, "reset": dut.aresetn, "reset_active_level": False}
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), **clocked)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), **clocked)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), **clocked)
        # It logs every byte of a frame that a reset cut short.
        self.source.log.setLevel("ERROR")
        self.frames: list[int] = []
        """link words of every frame received"""
        self.given_up = False
        """makes a transfer in progress raise ResetError"""

    @property
    def channels(self) -> list[Any]:
        write, read = self.lite.write_if, self.lite.read_if
        return [
            write.aw_channel,
            write.w_channel,
            write.b_channel,
            read.ar_channel,
            read.r_channel,
            self.source,
            self.sink,
        ]

    def pause(self, seed: int | None, most: float = 0.9) -> None:
        """Pause every channel at random, for up to a share `most` of the cycles; without a seed, end all pauses."""
        shares = random.Random(seed)
        for index, channel in enumerate(self.channels):
            channel.set_pause_generator(None if seed is None else pauses((seed, index), shares.random() * most))
            channel.pause = False

    def pause_streams(self, seed: int) -> None:
        """Pause both streams so often that the machine waits for them."""
        for stream in (self.source, self.sink):
            stream.set_pause_generator(pauses((seed, stream is self.sink), 2.0))

    async def reset(self, cycles: int = 1) -> None:
        """Reset by the pin, over that many rising edges."""
        await FallingEdge(self.dut.aclk)
        self.dut.aresetn.value = 0
        for _ in range(cycles):
            await FallingEdge(self.dut.aclk)
        self.forget()
        self.dut.aresetn.value = 1
        await RisingEdge(self.dut.aclk)

    def forget(self) -> None:
        """Reset the other ends of both streams, as a DMA is reset together with its machine."""
        for stream in (self.source, self.sink):
            stream.clear()
            stream.assert_reset()
        self.frames.clear()

    # Registers

    def read32(self, offset: int) -> int:
        return resume(self.read)(offset)

    def write32(self, offset: int, value: int) -> None:
        resume(self.write)(offset, value)

    async def read(self, offset: int) -> int:
        answer = await self.lite.read(offset, 4)
        if answer.resp != AxiResp.OKAY:
            raise LinkError(f"reading {offset:#x} was answered with {answer.resp.name}")
        return int.from_bytes(answer.data, "little")

    async def write(self, offset: int, value: int, size: int = 4) -> None:
        answer = await self.lite.write(offset, value.to_bytes(size, "little"))
        if answer.resp != AxiResp.OKAY:
            raise LinkError(f"writing {offset:#x} was answered with {answer.resp.name}")

    async def register(self, name: str) -> int:
        return await self.read(BY_NAME[name].offset)

    # The link

    def transfer(self, words: np.ndarray, count: int) -> np.ndarray:
        received = resume(self._transfer)(words.tobytes(), count * self._bytes)
        return np.frombuffer(received, dtype="<u4").reshape(count, self._bytes // 4)

    async def _transfer(self, sent: bytes, size: int) -> bytes:
        self.given_up = False
        await self.source.send(sent)
        received, idle = b"", 0
        while len(received) < size or not self.source.idle():
            await RisingEdge(self.dut.aclk)
            idle += 1
            while not self.sink.empty():
                frame = self.sink.recv_nowait()
                self.frames.append(len(frame.tdata) // self._bytes)
                received, idle = received + bytes(frame.tdata), 0
            if self.given_up:
                raise ResetError
            assert idle < PATIENCE, f"{len(received)} of {size} bytes arrived"
        assert len(received) == size
        return received


class Watched(AxiEngine):
    """An engine that reads the counters by register before they are read over the link, which clears them."""

    seen: dict[Counter, int]

    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        if Header.decode(int(words[0, 0]), self.config).target == Target.COUNTERS:
            self.seen = self.registers.counters()
        return super().exchange(words, count)


def pauses(seed: Any, share: float) -> Iterator[bool]:
    """Yield whether to pause, in bursts of varying density; `share` of all cycles on average."""
    source = random.Random(repr(seed))
    while True:
        now = min(1.0, 2 * share * source.random()) * 0.98
        for _ in range(50):
            yield source.random() < now


async def stays(dut: Any, valid: str, ready: str, *payload: str) -> None:
    """Check that an offer on a channel stays until it is accepted, unless the bus is reset."""
    waiting = None
    while True:
        await RisingEdge(dut.aclk)
        if not dut.aresetn.value:
            waiting = None
            continue
        offered = tuple(getattr(dut, name).value for name in payload) if getattr(dut, valid).value else None
        assert waiting is None or waiting == offered, f"{valid} fell, or what it offers changed"
        waiting = None if getattr(dut, ready).value else offered


async def answers(dut: Any, requests: tuple[str, ...], valid: str, latency: int) -> None:
    """Check that a response is offered `latency` cycles after the last channel of its request was accepted."""
    taken: dict[str, int] = {}
    cycle, offered = 0, None
    while True:
        await RisingEdge(dut.aclk)
        cycle += 1
        for channel in requests:
            if getattr(dut, f"{channel}valid").value and getattr(dut, f"{channel}ready").value:
                taken[channel] = cycle
        if getattr(dut, valid).value and offered is None:
            offered = cycle
            assert len(taken) == len(requests)
            assert cycle - max(taken.values()) == latency
            taken.clear()
        elif not getattr(dut, valid).value:
            offered = None


async def start(dut: Any) -> tuple[Setup, Masters]:
    setup = Setup.read()
    # Registers power up with arbitrary values, and one edge of reset must be enough.
    dut.aresetn.value = 1
    masters = Masters(dut, setup.config.link_bits)
    Clock(dut.aclk, PERIOD, unit="ns").start()
    await Timer(1, "ns")
    await masters.reset()
    for valid, ready, *payload in (
        ("s_axi_bvalid", "s_axi_bready", "s_axi_bresp"),
        ("s_axi_rvalid", "s_axi_rready", "s_axi_rdata", "s_axi_rresp"),
        ("m_axis_tvalid", "m_axis_tready", "m_axis_tdata", "m_axis_tlast", "m_axis_tkeep"),
    ):
        cocotb.start_soon(stays(dut, valid, ready, *payload))
    return setup, masters
