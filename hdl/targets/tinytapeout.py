"""The machine on the pins of a Tiny Tapeout tile: both links as bytes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa.config import Config

__all__ = ["PINS", "ByteSink", "ByteSource", "TinyTapeout"]

IN_VALID, IN_READY, OUT_VALID, OUT_READY = range(4)
"""bits of the bidirectional pins"""

PINS = {
    "ui": [f"byte to the machine, bit {i}" for i in range(8)],
    "uo": [f"byte from the machine, bit {i}" for i in range(8)],
    "uio": [
        "in: byte to the machine is valid",
        "out: machine takes a byte",
        "out: byte from the machine is valid",
        "in: host takes a byte",
        "",
        "",
        "",
        "",
    ],
}
"""the meaning of each pin"""


class ByteSink(wiring.Component):
    """Assembles link words from bytes, lowest byte first.

    A byte is transferred in a cycle with both `valid` and `ready`. All outputs are registers, so that a word of n bytes
    takes at least n + 1 cycles.

    =====  =========  =====================  =========================
    port   direction  shape                  meaning
    =====  =========  =====================  =========================
    bytes  in         stream of 8            bytes from the pins
    words  out        stream of `link_bits`  link words to the machine
    =====  =========  =====================  =========================
    """

    def __init__(self, config: Config) -> None:
        self._bytes = config.link_bits // 8
        super().__init__({"bytes": In(stream.Signature(8)), "words": Out(stream.Signature(config.link_bits))})

    def elaborate(self, platform: Any) -> Module:
        """Shift the bytes, and count them."""
        m = Module()
        word, count, full = Signal.like(self.words.payload), Signal(range(self._bytes)), Signal()
        m.d.comb += [self.words.payload.eq(word), self.words.valid.eq(full), self.bytes.ready.eq(~full)]
        with m.If(full):
            with m.If(self.words.ready):
                m.d.sync += full.eq(0)
        with m.Elif(self.bytes.valid):
            m.d.sync += [word.eq(Cat(word[8:], self.bytes.payload)), count.eq(count + 1)]
            with m.If(count == self._bytes - 1):
                m.d.sync += [count.eq(0), full.eq(1)]
        return m


class ByteSource(wiring.Component):
    """Cuts link words into bytes, lowest byte first; timed as `ByteSink`.

    =====  =========  =====================  ===========================
    port   direction  shape                  meaning
    =====  =========  =====================  ===========================
    words  in         stream of `link_bits`  link words from the machine
    bytes  out        stream of 8            bytes to the pins
    =====  =========  =====================  ===========================
    """

    def __init__(self, config: Config) -> None:
        self._bytes = config.link_bits // 8
        super().__init__({"words": In(stream.Signature(config.link_bits)), "bytes": Out(stream.Signature(8))})

    def elaborate(self, platform: Any) -> Module:
        """Shift the bytes, and count them."""
        m = Module()
        word, count, full = Signal.like(self.words.payload), Signal(range(self._bytes)), Signal()
        m.d.comb += [self.bytes.payload.eq(word[:8]), self.bytes.valid.eq(full), self.words.ready.eq(~full)]
        with m.If(full):
            with m.If(self.bytes.ready):
                m.d.sync += [word.eq(word[8:]), count.eq(count + 1)]
                with m.If(count == self._bytes - 1):
                    m.d.sync += [count.eq(0), full.eq(0)]
        with m.Elif(self.words.valid):
            m.d.sync += [word.eq(self.words.payload), full.eq(1)]
        return m


class TinyTapeout(wiring.Component):
    """A machine on the pins of a tile; `PINS` gives the meaning of each pin.

    All pins are synchronous to `clk`, which the host generates or follows. Outputs are registers: a host that changes
    its pins well before a clock edge, and samples the tile's well after one, has no other timing to meet.

    =======  =========  =====  =========================================================================
    port     direction  shape  meaning
    =======  =========  =====  =========================================================================
    ui_in    in         8      dedicated inputs
    uo_out   out        8      dedicated outputs
    uio_in   in         8      inputs of the bidirectional pins
    uio_out  out        8      outputs of the bidirectional pins
    uio_oe   out        8      output enables of the bidirectional pins, constant
    ena      in         1      unused: the clock and inputs of a tile that is not selected do not change
    =======  =========  =====  =========================================================================
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        inputs = {"ui_in": In(8), "uio_in": In(8), "ena": In(1)}
        super().__init__(inputs | {"uo_out": Out(8), "uio_out": Out(8), "uio_oe": Out(8)})

    @property
    def config(self) -> Config:
        """The machine's parameters."""
        return self._machine.config

    def elaborate(self, platform: Any) -> Module:
        """Connect bytes to words, words to the machine, and back."""
        m = Module()
        machine, sink, source = self._machine, ByteSink(self.config), ByteSource(self.config)
        submodule(m, platform, "machine", machine)
        submodule(m, platform, "sink", sink)
        submodule(m, platform, "source", source)
        wiring.connect(m, sink.words, machine.link_in)
        wiring.connect(m, machine.link_out, source.words)
        m.d.comb += [
            sink.bytes.payload.eq(self.ui_in),
            sink.bytes.valid.eq(self.uio_in[IN_VALID]),
            self.uio_out[IN_READY].eq(sink.bytes.ready),
            self.uo_out.eq(source.bytes.payload),
            self.uio_out[OUT_VALID].eq(source.bytes.valid),
            source.bytes.ready.eq(self.uio_in[OUT_READY]),
            self.uio_oe.eq(Const(1 << IN_READY | 1 << OUT_VALID, 8)),
        ]
        return m
