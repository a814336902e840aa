"""Boards: their devices and pins, and the top module that puts a machine on one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.technology import technology_of
from etchnet.hdl.serial.framing import BUFFER_BYTES
from etchnet.hdl.targets.devices import GW1NR_9, ICE40_UP5K, LFE5U_85F, Device

__all__ = ["BOARDS", "Board", "BoardTop", "Pin"]


@dataclass(frozen=True)
class Pin:
    """The pin of one port of the top module."""

    port: str
    site: str
    """the pin, as the device's package names it"""
    attributes: Mapping[str, str]
    """electrical settings, such as the voltage"""


@dataclass(frozen=True)
class Board:
    """A board: its device, its pins, and the machine that suits it."""

    name: str
    device: Device
    platform: str
    """the platform of amaranth-boards that has its pins, as module:class"""
    clock: float
    """default clock of the machine in MHz, which a PLL derives from the board's oscillator"""
    buffer_bytes: int = BUFFER_BYTES[-1]
    """size of each of the two buffers of its serial port"""
    led: str = "led"
    """resource of the platform that shows activity"""
    options: Mapping[str, str] = field(default_factory=dict)
    """options of the tools that depend on the device's package and speed grade"""
    machine: Mapping[str, int] = field(default_factory=dict)
    """default parameters of the machine on this board"""

    def pins(self) -> tuple[list[Pin], float]:
        """Return the pins of the ports of `BoardTop`, and the frequency of the oscillator in MHz.

        Raises
        ------
        ImportError
            amaranth-boards is not installed.
        """
        module, _, name = self.platform.partition(":")
        platform = getattr(importlib.import_module(module), name)()

        def pin(port: str, resource: str, subsignal: str | None = None) -> Pin:
            found = platform.resources[resource, 0]
            ios = [io for io in found.ios if subsignal is None or io.name == subsignal]
            pins = ios[0].ios[0] if subsignal else ios[0]
            attributes = {**found.attrs, **(ios[0].attrs if subsignal else {})}
            return Pin(port, pins.names[0], {k: str(v) for k, v in attributes.items() if isinstance(v, str)})

        oscillator = platform.default_clk
        found = [pin("clock", oscillator), pin("rx", "uart", "rx"), pin("tx", "uart", "tx"), pin("led", self.led)]
        return found, platform.resources[oscillator, 0].clock.frequency / 1e6


_FAST = {"multiplier_latency": 3, "memory_latency": 4, "product_latency": 5}
"""latencies with which a machine reaches the clock rates of an ECP5's multipliers"""

BOARDS = {
    board.name: board
    for board in (
        Board(
            "ulx3s-85f",
            LFE5U_85F,
            platform="amaranth_boards.ulx3s:ULX3S_85F_Platform",
            clock=100.0,
            options={"package": "CABGA381", "speed": "6"},
            machine={"rows": 8, "columns": 8, "requantisers": 4} | _FAST,
        ),
        Board(
            "icebreaker",
            ICE40_UP5K,
            platform="amaranth_boards.icebreaker:ICEBreakerPlatform",
            clock=18.0,
            buffer_bytes=BUFFER_BYTES[0],
            options={"package": "sg48"},
            # Every memory has its smallest size: registers and lookup tables of the control fill the device.
            machine={
                "rows": 2,
                "columns": 1,
                "requantisers": 1,
                "depthwise": 0,
                "residual_words": 0,
                "weight_tiles": 64,
                "activation_words": 64,
                "input_words": 32,
                "output_words": 32,
                "accumulator_rows": 8,
                "passes": 32,
                "drains": 16,
                "parameter_tiles": 1,
            },
        ),
        Board(
            "tang-nano-9k",
            GW1NR_9,
            platform="amaranth_boards.tang_nano_9k:TangNano9kPlatform",
            clock=40.5,
            options={"part": "GW1NR-LV9QN88PC6/I5", "pll": "GW1NR-9 C6/I5"},
            machine={
                "rows": 2,
                "columns": 2,
                "requantisers": 1,
                "depthwise": 0,
                "residual_words": 0,
                "weight_tiles": 512,
                "activation_words": 512,
                "input_words": 128,
                "output_words": 128,
                "accumulator_rows": 64,
                "passes": 64,
                "drains": 16,
                "parameter_tiles": 16,
            },
        ),
    )
}
"""all boards, by name"""

_PLL_PORTS = {
    "ecp5": ("clkin", "clkout0", "locked"),
    "ice40": ("clock_in", "clock_out", "locked"),
    "gowin": ("clock_in", "clock_out", "locked"),
}
"""names of the input clock, output clock and lock of the module that each family's PLL tool writes"""


class BoardTop(wiring.Component):
    """A board's top module: a PLL, a clock that starts when the PLL has locked, and a machine with a serial port.

    =====  =========  =====  =======================================
    port   direction  shape  meaning
    =====  =========  =====  =======================================
    clock  in         1      the oscillator
    rx     in         1      serial line from the host, asynchronous
    tx     out        1      serial line to the host
    led    out        1      high while a host has a session
    =====  =========  =====  =======================================

    All ports are wires to the inner component: the module adds no latency.

    Parameters
    ----------
    inner
        A component with ports `rx`, `tx` and `activity`, such as `etchnet.hdl.serial.uart.Uart`.
    family
        The family of the board's device, which determines the names of the PLL's ports.
    """

    PLL = "etchnet_pll"
    """name of the PLL's module, which is in a file of its own"""

    def __init__(self, inner: wiring.Component, *, family: str) -> None:
        self.inner, self._family = inner, family
        super().__init__({"clock": In(1), "rx": In(1, init=1), "tx": Out(1, init=1), "led": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """Connect the PLL, the start of its clock, and the machine."""
        m = Module()
        clock, locked = Signal(), Signal()
        into, out, lock = _PLL_PORTS[self._family]
        m.submodules.pll = Instance(self.PLL, **{f"i_{into}": self.clock, f"o_{out}": clock, f"o_{lock}": locked})
        technology_of(platform).start(m, clock, locked)
        submodule(m, platform, "inner", self.inner)
        inner: Any = self.inner
        # The receiver synchronises `rx`, which is asynchronous to this clock.
        m.d.comb += [inner.rx.eq(self.rx), self.tx.eq(inner.tx), self.led.eq(inner.activity)]
        return m
