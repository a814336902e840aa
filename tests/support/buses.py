"""The machine behind each bus as native code, with the cycles in which words move on its own links."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.back import verilog
from amaranth.hdl import Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from support.compiled import shared_library
from support.serial_line import MemoryPort
from support.sessions import Session
from support.uart_board import BAUD, CLOCK, VerilatedBoard

from etchnet.hdl.blocks.hierarchy import port_name
from etchnet.hdl.buses.axi import Axi
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa.config import Config
from etchnet.hdl.serial.uart import Uart
from etchnet.hdl.targets.tinytapeout import IN_READY, IN_VALID, OUT_READY, OUT_VALID, ByteSink, ByteSource, TinyTapeout
from etchnet.host.driver.serial import SerialEngine
from etchnet.sim.engines.link import LinkTrace
from etchnet.sim.engines.verilated import VerilatorEngine

_PROBES = {"probe_in": Out(1), "probe_out": Out(1), "probe_reset": Out(1)}


def _links(config: Config) -> dict[str, Any]:
    words = stream.Signature(config.link_bits)
    return {"link_in": In(words), "link_out": Out(words), **_PROBES}


def _probe(m: Module, top: Any, machine: Machine) -> None:
    m.d.comb += [
        top.probe_in.eq(machine.link_in.valid & machine.link_in.ready),
        top.probe_out.eq(machine.link_out.valid & machine.link_out.ready),
    ]


class AxiTop(wiring.Component):
    """The streams of `Axi` as the two links of a machine; nothing happens on its registers."""

    def __init__(self, config: Config) -> None:
        self.machine = Machine(config, status=True)
        super().__init__({"clk": In(1), "rst": In(1), **_links(config)})

    def elaborate(self, platform: Any) -> Module:
        """Connect the streams."""
        m = Module()
        m.submodules.axi = axi = Axi(self.machine)
        m.d.comb += [
            axi.aclk.eq(self.clk),
            axi.aresetn.eq(~self.rst),
            axi.s_axis_tdata.eq(self.link_in.payload),
            axi.s_axis_tkeep.eq(~0),
            axi.s_axis_tvalid.eq(self.link_in.valid),
            self.link_in.ready.eq(axi.s_axis_tready),
            self.link_out.payload.eq(axi.m_axis_tdata),
            self.link_out.valid.eq(axi.m_axis_tvalid),
            axi.m_axis_tready.eq(self.link_out.ready),
        ]
        _probe(m, self, self.machine)
        return m


class TileTop(wiring.Component):
    """The pins of `TinyTapeout` as the two links of a machine: the host's side also makes bytes of words, and back."""

    def __init__(self, config: Config) -> None:
        self.machine = Machine(config)
        super().__init__(_links(config))

    def elaborate(self, platform: Any) -> Module:
        """Connect the pins."""
        m, config = Module(), self.machine.config
        m.submodules.tile = tile = TinyTapeout(self.machine)
        m.submodules.source, m.submodules.sink = source, sink = ByteSource(config), ByteSink(config)
        wiring.connect(m, wiring.flipped(self.link_in), source.words)
        wiring.connect(m, sink.words, wiring.flipped(self.link_out))
        m.d.comb += [
            tile.ui_in.eq(source.bytes.payload),
            tile.uio_in[IN_VALID].eq(source.bytes.valid),
            source.bytes.ready.eq(tile.uio_out[IN_READY]),
            sink.bytes.payload.eq(tile.uo_out),
            sink.bytes.valid.eq(tile.uio_out[OUT_VALID]),
            tile.uio_in[OUT_READY].eq(sink.bytes.ready),
        ]
        _probe(m, self, self.machine)
        return m


class UartTop(wiring.Component):
    """The pins of `Uart`."""

    def __init__(self, config: Config) -> None:
        self.machine = Machine(config)
        super().__init__({"rx": In(1, init=1), "tx": Out(1), "activity": Out(1), **_PROBES})

    def elaborate(self, platform: Any) -> Module:
        """Connect the pins."""
        m = Module()
        m.submodules.uart = uart = Uart(self.machine, clock_hz=CLOCK, baud=BAUD, buffer_bytes=1024)
        m.d.comb += [
            uart.rx.eq(self.rx),
            self.tx.eq(uart.tx),
            self.activity.eq(uart.activity),
            self.probe_reset.eq(uart.framed_link.reset_machine),
        ]
        _probe(m, self, self.machine)
        return m


@functools.cache
def _library(kind: Callable[[Config], Any], config: Config) -> Path:
    """Return a compiled top, from the cache or built now."""
    top = kind(config)
    ports = {port_name(path): Value.cast(value) for path, _, value in top.signature.flatten(top)}
    text = verilog.convert(
        top, name="etchnet", emit_src=False, ports={name: (value, None) for name, value in ports.items()}
    )
    prefix, harness = ("Vboard", "probed_board.cpp") if kind is UartTop else ("Vetchnet", "probed_bus.cpp")
    flags = [f"-DLINK_BITS={config.link_bits}"]
    return shared_library({"etchnet.v": text}, top="etchnet", prefix=prefix, harness=harness, level="-O0", flags=flags)


def _probed(library: Any, pointer: Any) -> LinkTrace:
    """Return the cycles in which words moved on the links of the machine inside a bus."""
    library.probe.restype = ctypes.c_int64
    ways = []
    for way in range(2):
        cycles = np.zeros(library.probe(pointer, way, None), np.int64)
        library.probe(pointer, way, cycles.ctypes.data_as(ctypes.c_void_p))
        ways.append(cycles.tolist())
    return LinkTrace.recorded(*ways)


def over_bus(bus: str, session: Session) -> tuple[list[np.ndarray], LinkTrace]:
    """Run a session over a bus; return the words of each exchange, and the record of the machine's own links.

    On `axi` and `tinytapeout` the links of the host stall as in the session; a serial line has no stalls.
    """
    config = session.config
    if bus == "uart":
        path = _library(UartTop, config)
        board = VerilatedBoard(config, path=path)
        engine = SerialEngine(config, port=MemoryPort(board), baud=BAUD, latency=0.01)
        words = [engine.exchange(e.words, e.count).copy() for e in session.exchanges]
        return words, _probed(board._library, board._board)
    path = _library({"axi": AxiTop, "tinytapeout": TileTop}[bus], config)
    bench = VerilatorEngine(config, trace=session.trace, library=path, patience=100_000)
    words = [bench.exchange(e.words, e.count).copy() for e in session.exchanges]
    record = _probed(bench._library, bench._machine)
    bench.close()
    return words, record
