"""The walk of a pass over an image, line by line."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.core.control import pass_lookahead
from etchnet.hdl.isa import Pass
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.walk import is_inside

__all__ = ["ImageWalk"]


class ImageWalk(wiring.Component):
    """Tracks the line and the column of the pixel to issue next, and its distance in words from pixel (0, 0).

    Outputs describe the current pixel, in the same cycle; `step` moves to the next pixel, and `end` back to the first.

    =======  =========  =======================  ================================================
    port     direction  shape                    meaning
    =======  =========  =======================  ================================================
    fields   in         `Pass`                   the pass, constant from its first pixel to `end`
    derived  in         `pass_lookahead.layout`  values derived from the pass
    step     in         1                        the pixel is issued in this cycle
    end      in         1                        last cycle of the pass
    offset   out        as `Pass.address`        line x `line` + column x `step` of the pass
    inside   out        1                        the pixel is inside the image
    =======  =========  =======================  ================================================
    """

    def __init__(self, config: Config) -> None:
        layout = Pass.layout(config)
        super().__init__(
            {
                "fields": In(layout),
                "derived": In(pass_lookahead.layout(config)),
                "step": In(1),
                "end": In(1),
                "offset": Out(layout["address"].shape),
                "inside": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Count columns and lines; accumulate strides, so that no multiplier is needed."""
        m = Module()
        fields = self.fields
        column, line = Signal(fields.pixels.shape()), Signal(fields.pixels.shape())
        offset, line_offset = Signal(fields.address.shape()), Signal(fields.address.shape())
        last_column = Signal()
        m.d.comb += [
            last_column.eq(column == self.derived.last_column),
            self.offset.eq(offset),
            self.inside.eq(is_inside(fields, line, column)),
        ]
        with m.If(self.step):
            m.d.sync += [column.eq(column + 1), offset.eq(offset + fields.step)]
            with m.If(last_column):
                m.d.sync += [
                    column.eq(0),
                    line.eq(line + 1),
                    offset.eq(line_offset + fields.line),
                    line_offset.eq(line_offset + fields.line),
                ]
        with m.If(self.end):
            m.d.sync += [counter.eq(0) for counter in (column, line, offset, line_offset)]
        return m
