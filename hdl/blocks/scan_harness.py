"""A block wrapped in shift registers, so that its clock rate and area can be measured on a device with few pins."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule

__all__ = ["ScanHarness"]


class ScanHarness(wiring.Component):
    """A wrapper with three pins that feeds all inputs of `block` from registers, and registers all its outputs.

    ========  =========  =====  =============================================================
    port      direction  shape  meaning
    ========  =========  =====  =============================================================
    scan_in   in         1      a bit of the next inputs, highest bit of the last input first
    capture   in         1      load the inputs, this last bit included, and take the outputs
    scan_out  out        1      a bit of the outputs, lowest bit of the first output first
    ========  =========  =====  =============================================================
    """

    def __init__(self, block: wiring.Component) -> None:
        self.block = block
        super().__init__({"scan_in": In(1), "capture": In(1), "scan_out": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """Add both shift registers, and input registers that keep the block's own delay lines apart from the first."""
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
