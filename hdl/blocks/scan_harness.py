"""A block between shift registers: how its own clock rate and area are measured on a device with few pins."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule

__all__ = ["ScanHarness"]


class ScanHarness(wiring.Component):
    """Feeds all inputs of `block` from registers, and registers all outputs.

    A shift register takes a bit a cycle from `scan_in`. In the cycle after `capture` the inputs get what it
    holds, and the outputs are taken whole; they leave by `scan_out`, a bit a cycle.
    """

    def __init__(self, block: wiring.Component) -> None:
        self.block = block
        super().__init__({"scan_in": In(1), "capture": In(1), "scan_out": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """Two shift registers and the block; inputs straight from one could be merged with the block's own delays."""
        m = Module()
        submodule(m, platform, "block", self.block)
        inputs: list[Any] = []
        outputs: list[Any] = []
        for _, member, value in self.block.signature.flatten(self.block):
            (inputs if member.flow is In else outputs).append(value)
        wide = Cat(*inputs)
        arriving, given = (Signal(len(wide), name=name, reset_less=True) for name in ("arriving", "given"))
        taken = Signal(len(Cat(*outputs)), reset_less=True)
        capture = Signal(reset_less=True)
        m.d.comb += [wide.eq(given), self.scan_out.eq(taken[0])]
        m.d.sync += [arriving.eq(Cat(self.scan_in, arriving)), capture.eq(self.capture), taken.eq(taken >> 1)]
        with m.If(capture):
            m.d.sync += [given.eq(arriving), taken.eq(Cat(*outputs))]
        return m
