"""Boards with `hdl.uart` for the tests: the Verilog as native code, or the gateware in Amaranth's simulator."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from amaranth.sim import Simulator

from etchnet.hdl.accelerator import Accelerator
from etchnet.hdl.config import Config
from etchnet.hdl.uart import Uart
from etchnet.hdl.verilog import generate
from etchnet.sim.verilated import _run, cache_folder, find_compiler, find_verilator

HARNESS = Path(__file__).with_name("uart_board.cpp")
CLOCK, BAUD = 8_000_000, 1_000_000


@functools.cache
def library(config: Config, clock_hz: int = CLOCK, buffer_bytes: int = 1024) -> Any:
    """The compiled board, from the cache or built now."""
    wrapper = functools.partial(Uart, clock_hz=clock_hz, baud=BAUD, buffer_bytes=buffer_bytes)
    text = generate(config, wrapper=wrapper).verilog
    verilator, include = find_verilator()
    key = hashlib.sha256(f"{text}{HARNESS.read_text()}{verilator}".encode()).hexdigest()[:24]
    path = cache_folder() / f"board-{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as name:
            folder = Path(name)
            (folder / "etchnet.v").write_text(text)
            _run([verilator, "--cc", "etchnet.v", "--top-module", "etchnet_uart", "--prefix", "Vboard", "--Mdir", "obj",
                  "--no-timing", "-Wno-fatal", "--x-initial", "unique"],
                 folder, {"VERILATOR_ROOT": str(include.parent)})  # fmt: skip
            sources = [*sorted((folder / "obj").glob("*.cpp")), include / "verilated.cpp",
                       include / "verilated_threads.cpp", HARNESS]  # fmt: skip
            _run([find_compiler(), "-std=c++17", "-O1", "-fPIC", "-shared", "-pthread", "-w", "-DVM_COVERAGE=0",
                  "-DVM_SC=0", "-DVM_TRACE=0", "-I", "obj", "-I", include, "-I", include / "vltstd", *sources,
                  "-o", "board.so"], folder)  # fmt: skip
            os.replace(folder / "board.so", path)
    found = ctypes.CDLL(str(path))
    found.board_new.restype = ctypes.c_void_p
    for function in ("board_run", "board_cycle", "board_broken"):
        getattr(found, function).restype = ctypes.c_int64
    return found


class VerilatedBoard:
    """A board, and the far end of its line, at a bit time that may be off by the factor `bit`."""

    def __init__(self, config: Config, *, bit: float = 1.0, idle: int = 400, **options: Any) -> None:
        self._library = library(config, **options)
        cycles = options.get("clock_hz", CLOCK) / BAUD * bit
        self._board = ctypes.c_void_p(self._library.board_new(ctypes.c_double(cycles)))
        self._idle = idle
        self._out = ctypes.create_string_buffer(1 << 16)

    def __call__(self, data: bytes) -> bytes:
        """Bytes to the board, and what it sends until the line is idle."""
        count = self._library.board_run(self._board, data, ctypes.c_int64(len(data)), ctypes.c_int64(self._idle),
                                        self._out, ctypes.c_int64(len(self._out)))  # fmt: skip
        return self._out.raw[:count]

    def reset(self) -> None:
        """The reset button."""
        self._library.board_reset(self._board)

    @property
    def cycle(self) -> int:
        return self._library.board_cycle(self._board)

    @property
    def broken(self) -> int:
        """Bytes from the board without a stop bit."""
        return self._library.board_broken(self._board)

    @property
    def activity(self) -> bool:
        return bool(self._library.board_activity(self._board))

    def __del__(self) -> None:
        if hasattr(self, "_board"):
            self._library.board_delete(self._board)


class SimulatedBoard:
    """The same in Amaranth's simulator, which needs no compiler and is slow; four cycles a bit."""

    DIVISOR = 4

    def __init__(self, config: Config, *, idle: int = 100) -> None:
        self._board = Uart(Accelerator(config), clock_hz=self.DIVISOR * BAUD, baud=BAUD)
        self._idle, self._quiet = idle, 0
        self._bits: list[int] = []
        self._out = bytearray()
        self._simulator = Simulator(self._board)
        self._simulator.add_clock(1e-8)
        self._simulator.add_testbench(self._drive, background=True)

    async def _drive(self, ctx: Any) -> None:
        sampled: list[int] | None = None
        since = 0
        while True:
            await ctx.delay(2.5e-9)
            self._quiet = 0 if self._bits or sampled is not None else self._quiet + 1
            ctx.set(self._board.rx, self._bits.pop() if self._bits else 1)
            *_, line = await ctx.tick().sample(self._board.tx)
            if sampled is None:
                if not line:
                    sampled, since = [], 0
                continue
            since += 1
            if since == len(sampled) * self.DIVISOR + self.DIVISOR // 2:
                sampled.append(line)
                if len(sampled) == 10:
                    assert (sampled[0], sampled[9]) == (0, 1)
                    self._out.append(sum(bit << i for i, bit in enumerate(sampled[1:9])))
                    sampled = None

    def __call__(self, data: bytes) -> bytes:
        bits = [bit for byte in data for bit in (0, *(byte >> i & 1 for i in range(8)), 1) for _ in range(self.DIVISOR)]
        self._bits[:0] = bits[::-1]
        self._quiet = 0
        while self._quiet < self._idle:
            self._simulator.advance()
        out = bytes(self._out)
        self._out.clear()
        return out
