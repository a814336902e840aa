"""Boards with `Uart` for the tests: the Verilog as native code, or the gateware in Amaranth's simulator."""

from __future__ import annotations

import ctypes
import functools
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator
from support.compiled import shared_library

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa.config import Config
from etchnet.hdl.serial.framed_link import FramedLink
from etchnet.hdl.serial.framing import Identity
from etchnet.hdl.serial.uart import Uart
from etchnet.hdl.targets.verilog import generate

CLOCK, BAUD = 8_000_000, 1_000_000


@functools.cache
def library(config: Config, clock_hz: int = CLOCK, buffer_bytes: int = 1024) -> Path:
    """Return the compiled board, from the cache or built now."""
    wrapper = functools.partial(Uart, clock_hz=clock_hz, baud=BAUD, buffer_bytes=buffer_bytes)
    text = generate(config, wrapper=wrapper).verilog
    return shared_library({"etchnet.v": text}, top="etchnet_uart", prefix="Vboard", harness="uart_board.cpp")


class VerilatedBoard:
    """A compiled board, and the other end of its line, whose bit time is off by the factor `bit`.

    `path` is a library to use instead of the one that `library` returns.
    """

    def __init__(
        self, config: Config, *, bit: float = 1.0, idle: int = 400, path: Path | None = None, **options: Any
    ) -> None:
        self._library = ctypes.CDLL(str(path or library(config, **options)))
        self._library.board_new.restype = ctypes.c_void_p
        for function in ("board_run", "board_cycle", "board_broken"):
            getattr(self._library, function).restype = ctypes.c_int64
        cycles = options.get("clock_hz", CLOCK) / BAUD * bit
        self._board = ctypes.c_void_p(self._library.board_new(ctypes.c_double(cycles)))
        self._idle = idle
        self._out = ctypes.create_string_buffer(1 << 16)

    def __call__(self, data: bytes) -> bytes:
        """Send bytes to the board, and return what it sends until the line is idle."""
        count = self._library.board_run(
            self._board,
            data,
            ctypes.c_int64(len(data)),
            ctypes.c_int64(self._idle),
            self._out,
            ctypes.c_int64(len(self._out)),
        )
        return self._out.raw[:count]

    def reset(self) -> None:
        """Press the reset button."""
        self._library.board_reset(self._board)

    @property
    def cycle(self) -> int:
        return self._library.board_cycle(self._board)

    @property
    def broken(self) -> int:
        """The number of bytes from the board that lacked a stop bit."""
        return self._library.board_broken(self._board)

    @property
    def activity(self) -> bool:
        return bool(self._library.board_activity(self._board))

    def __del__(self) -> None:
        if hasattr(self, "_board"):
            self._library.board_delete(self._board)


class FramedBoard:
    """A `FramedLink`, without the bits of the line, and a machine, in Amaranth's simulator.

    Without a machine, a loopback of up to `depth` words takes its place, whose links are ready and valid in a share
    `willing` of all cycles. The line is always ready if `willing` is 1, and else in half of the cycles.
    """

    def __init__(
        self,
        config: Config,
        *,
        machine: Machine | None = None,
        willing: float = 1.0,
        depth: int = 4,
        buffer_bytes: int = 256,
        seed: int = 0,
        idle: int = 60,
    ) -> None:
        identity = Identity.of(config, buffer_bytes=buffer_bytes, clock_hz=CLOCK).encode()
        self._framed = FramedLink(link_bits=config.link_bits, identity=identity, buffer_bytes=buffer_bytes)
        self._random, self._willing, self._depth, self._idle = np.random.default_rng(seed), willing, depth, idle
        self._incoming: deque[int] = deque()
        self._out = bytearray()
        self._quiet = 0
        self.words: list[int] = []
        """link words that the machine has received since its last reset"""
        m = Module()
        m.submodules.framed = self._framed
        if machine is not None:
            submodule(m, None, "machine", machine, reset=self._framed.reset_machine)
            connect(m, self._framed.link_in, machine.link_in)
            connect(m, machine.link_out, self._framed.link_out)
        self._simulator = Simulator(m)
        self._simulator.add_clock(1e-8)
        self._simulator.add_testbench(functools.partial(self._drive, loop=machine is None), background=True)

    def _may(self, share: float) -> bool:
        return share == 1 or bool(self._random.random() < share)

    async def _drive(self, ctx: Any, *, loop: bool) -> None:
        framed, held = self._framed, deque[int]()
        line = 1.0 if self._willing == 1 else 0.5
        offering = False
        while True:
            await ctx.delay(2.5e-9)
            comes = bool(self._incoming) and self._may(line)
            ready, takes = self._may(line), len(held) < self._depth and self._may(self._willing)
            offering = bool(held) and (offering or self._may(self._willing))
            ctx.set(framed.rx_valid, comes)
            ctx.set(framed.rx, self._incoming[0] if comes else 0x7E)
            ctx.set(framed.tx.ready, ready)
            if loop:
                ctx.set(framed.link_in.ready, takes)
                ctx.set(framed.link_out.valid, offering)
                ctx.set(framed.link_out.payload, held[0] if offering else 0)
            *_, sends, byte, gives, word, taken, reset = await ctx.tick().sample(
                framed.tx.valid,
                framed.tx.payload,
                framed.link_in.valid,
                framed.link_in.payload,
                framed.link_out.ready,
                framed.reset_machine,
            )
            if comes:
                self._incoming.popleft()
            if sends and ready:
                self._out.append(byte)
            self._quiet = 0 if self._incoming or sends else self._quiet + 1
            if not loop:
                continue
            if offering and taken:
                held.popleft()
                offering = False
            if gives and takes:
                held.append(word)
                self.words.append(word)
            if reset:
                held.clear()
                self.words.clear()
                offering = False

    def __call__(self, data: bytes) -> bytes:
        """Send bytes to the board, and return what it sends until the line is quiet."""
        self._incoming.extend(data)
        self._quiet = 0
        while self._quiet < self._idle:
            self._simulator.advance()
        out = bytes(self._out)
        self._out.clear()
        return out
