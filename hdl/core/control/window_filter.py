"""The selection of the sums of a depthwise pass that are those of windows, and are kept."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.isa import Pass, TileKind
from etchnet.hdl.isa.config import Config

__all__ = ["WindowFilter"]


class WindowFilter(wiring.Component):
    """Walks the first pixel of the window over the image, trailing the walk of the pass by `config.window_lead` pixels.

    `kept` belongs to the pixel issued in the same cycle: its sum is that of a window that is entirely within the walk,
    is not dropped at the end of a line, and is not skipped by a stride. It is 1 for all pixels of other passes.
    `Pass.kept` is the same rule in numpy. Only for machines with depthwise passes.

    ===========  =========  ================  ================================================
    port         direction  shape             meaning
    ===========  =========  ================  ================================================
    fields       in         `Pass`            the pass, constant from its first pixel to `end`
    columns      in         as `Pass.pixels`  pixels of a line
    pixels_done  in         as `Pass.pixels`  pixels of the pass issued before this cycle
    step         in         1                 a pixel is issued in this cycle
    end          in         1                 last cycle of the pass
    kept         out        1                 the sum of this cycle's pixel is kept
    ===========  =========  ================  ================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        layout = Pass.layout(config)
        super().__init__(
            {
                "fields": In(layout),
                "columns": In(layout["pixels"].shape),
                "pixels_done": In(layout["pixels"].shape),
                "step": In(1),
                "end": In(1),
                "kept": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Count columns and lines of windows, each modulo the stride."""
        m = Module()
        config, fields, columns = self._config, self.fields, self.columns
        column, leading, inside = Signal(fields.pixels.shape()), Signal(), Signal()
        # The lead is linear in the columns, with slope depthwise - 1; its constant part, window_lead(0), is negative.
        lead = columns * (config.depthwise - 1) + config.window_lead(0)
        m.d.comb += [
            leading.eq(self.pixels_done < lead),
            inside.eq(self.pixels_done + config.window_trail < fields.pixels),
        ]
        column_phase, line_phase = Signal(fields.skip_columns.shape()), Signal(fields.skip_lines.shape())
        with m.If(self.step & (fields.kind == TileKind.DEPTHWISE) & ~leading):
            m.d.sync += [
                column.eq(column + 1),
                column_phase.eq(Mux(column_phase == fields.skip_columns, 0, column_phase + 1)),
            ]
            with m.If(column == columns - 1):
                m.d.sync += [
                    column.eq(0),
                    column_phase.eq(0),
                    line_phase.eq(Mux(line_phase == fields.skip_lines, 0, line_phase + 1)),
                ]
        with m.If(self.end):
            m.d.sync += [counter.eq(0) for counter in (column, column_phase, line_phase)]
        in_window = Signal()
        m.d.comb += [
            in_window.eq(
                ~leading & inside & (column < columns - fields.dropped) & (column_phase == 0) & (line_phase == 0)
            ),
            self.kept.eq(Mux(fields.kind == TileKind.DEPTHWISE, in_window, 1)),
        ]
        return m
