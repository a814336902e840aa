"""The sequencer: one pass after another, a pixel a cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.array.weights import WeightMemory
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.isa import Fold, Pass, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.passes import is_stored
from etchnet.hdl.isa.walk import is_inside

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Turns the stream of passes into reads, weight requests and folds.

    A pass first counts its idle cycles, then waits at its barriers, then issues a pixel a cycle and stays for at least
    rows / weight_rows cycles; the next pass may issue in the very next cycle. What it issues appears on `pixel`,
    `request` and `fold` `latency` cycles after the decision, all in the same cycle. Exactly one class of
    `classes` is high in every cycle with `running`.

    Of a pass that is walked, `pixel` names the word, or says that it lies outside; of a depthwise pass, `fold` is valid
    only for the sums that are kept.

    `running` rises the cycle after `start`, and falls the cycle after `done`, which the output stage raises
    with the last write of the final drain. `reading_last` says that the output stage reads for drains that the last
    pass started.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "passes": In(InstructionMemory.stream_of(Pass, config, config.passes, self.derived_layout(config))),
                "start": In(1),
                "done": In(1),
                "reading_last": In(1),
                "running": Out(1),
                "input_full": In(1),
                "input_release": Out(1),
                "output_free": In(1),
                "output_take": Out(1),
                "weights_full": In(1),
                "weights_take": Out(1),
                "pixel": Out(self.pixel_layout(config)),
                "request": Out(WeightMemory.request_layout(config)),
                "fold": Out(self.fold_layout(config)),
                "classes": Out(self.classes_layout()),
                "useful": Out(config.multipliers.bit_length()),
            }
        )

    @staticmethod
    def pixel_layout(config: Config) -> data.StructLayout:
        """One word to read, or `pad` where it is not `inside`; and how a depthwise pass looks back on it."""
        return data.StructLayout(
            {
                "valid": unsigned(1),
                "inside": unsigned(1),
                "pad": signed(8),
                "source": unsigned(1),
                "half": unsigned(1),
                "address": unsigned(Pass.layout(config)["address"].width - 1),
                "windowed": unsigned(1),
                "line_delay": unsigned(config.line_words.bit_length() if config.depthwise else 0),
            }
        )

    @staticmethod
    def fold_layout(config: Config) -> data.StructLayout:
        """What becomes of one pixel's sums, and what its pass releases behind it."""
        return data.StructLayout(
            {
                "row": AccumulatorBank.fold_layout(config),
                "bank": unsigned(1),
                "release": unsigned(1),
                "release_last": unsigned(1),
                "release_weights": unsigned(1),
            }
        )

    @staticmethod
    def classes_layout() -> data.StructLayout:
        """What a cycle was spent on."""
        names = ("issue", "wait_in", "wait_out", "weight_load", "requantise", "fill_drain")
        return data.StructLayout({name: unsigned(1) for name in names})

    @staticmethod
    def derived_layout(config: Config) -> data.StructLayout:
        """What the sequencer compares its counters with, worked out before a pass is at the head of the stream."""
        layout = Pass.layout(config)
        idle, pixels = layout["idle"].width + 1, layout["pixels"].shape
        return data.StructLayout(
            {
                "no_idle": unsigned(1),
                "idle_end": unsigned(idle),
                "one_pixel": unsigned(1),
                "before_last": pixels,
                "columns": pixels,
                "last_column": pixels,
            }
        )

    @staticmethod
    def derived_reset(config: Config) -> dict[str, int]:
        """The values of `derived_layout` for fields that are all 0."""
        pixels = Pass.layout(config)["pixels"].shape.width
        return {"no_idle": 1, "before_last": (1 << pixels) - 2, "last_column": (1 << pixels) - 1}

    @staticmethod
    def derive(fields: Any) -> dict[str, Any]:
        """The values of `derived_layout` for the fields of a pass."""
        columns = Mux(fields.columns == 0, fields.pixels, fields.columns)
        return {
            "no_idle": (fields.idle_requantise == 0) & (fields.idle == 0),
            "idle_end": fields.idle_requantise + fields.idle,
            "one_pixel": fields.pixels == 1,
            "before_last": fields.pixels - 2,
            "columns": columns,
            "last_column": columns - 1,
        }

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from the decision to issue to the issue on `pixel`, `request` and `fold`."""
        return 1

    def elaborate(self, platform: Any) -> Module:
        """Decide, step the counters of the pass, register what is issued."""
        m = Module()
        config = self._config
        head = Signal(Pass.layout(config))
        running, tail, half = Signal(), Signal(), Signal()
        derived = Signal(self.derived_layout(config))
        m.d.comb += [
            head.eq(self.passes.payload.head.fields),
            derived.eq(self.passes.payload.derived),
            self.running.eq(running),
        ]

        # The pass being issued: its fields stay at the head of the stream until its last cycle.
        busy = Signal()
        # Comparisons are made a cycle ahead, so that the decision to issue depends on single bits.
        fresh, idle_over_later, last_pixel_later, last_load_later = Signal(init=1), Signal(), Signal(), Signal()
        idle_over, more_pixels, more_loads = Signal(), Signal(), Signal()
        idled = Signal(derived.idle_end.shape())
        pixels_done = Signal(head.pixels.shape())
        loads_done = Signal(range(config.load_cycles + 1))
        columns = Signal(head.pixels.shape())
        column, line = Signal(head.pixels.shape()), Signal(head.pixels.shape())
        offset, line_offset = Signal(head.address.shape()), Signal(head.address.shape())
        inside, last_column = Signal(), Signal()
        kept, kept_any = Signal(), Signal()
        row_offset = Signal(head.row.shape())
        m.d.comb += [idle_over.eq(Mux(fresh, derived.no_idle, idle_over_later)), columns.eq(derived.columns)]

        begin, pixel, load, last_pixel, end = (
            Signal(name=name) for name in ("begin", "pixel_now", "load", "last_pixel", "end")
        )
        with m.If(running & ~tail & ~busy):
            with m.If(~self.passes.valid):
                m.d.comb += self.classes.fill_drain.eq(1)
            with m.Elif(~idle_over):
                m.d.sync += [
                    idled.eq(idled + 1),
                    fresh.eq(0),
                    idle_over_later.eq(idled + 1 == derived.idle_end),
                ]
                with m.If(idled < head.idle_requantise):
                    m.d.comb += self.classes.requantise.eq(1)
                with m.Else():
                    m.d.comb += self.classes.fill_drain.eq(1)
            with m.Elif((head.wait_input & ~self.input_full) | (head.wait_weights & ~self.weights_full)):
                m.d.comb += self.classes.wait_in.eq(1)
            with m.Elif(head.wait_output & ~self.output_free):
                m.d.comb += self.classes.wait_out.eq(1)
            with m.Else():
                m.d.comb += begin.eq(1)
        m.d.comb += [
            pixel.eq(begin | more_pixels),
            load.eq(begin | more_loads),
            last_pixel.eq((begin & derived.one_pixel) | (more_pixels & last_pixel_later)),
            # Said twice, so that little follows the decision to begin: of that cycle, and of those behind it.
            end.eq(
                (begin & derived.one_pixel & (config.load_cycles == 1))
                | (busy & (last_pixel_later | ~more_pixels) & (last_load_later | ~more_loads))
            ),
            self.passes.ready.eq(end),
            self.classes.issue.eq(pixel),
            self.classes.weight_load.eq(busy & ~pixel),
            self.useful.eq(kept.replicate(len(self.useful)) & head.useful),
            self.output_take.eq(begin & head.wait_output),
            self.weights_take.eq(begin & head.wait_weights),
            self.input_release.eq(last_pixel & head.release_input),
        ]
        m.d.sync += [
            busy.eq((begin | busy) & ~end),
            more_pixels.eq(pixel & ~last_pixel),
            more_loads.eq((begin & (config.load_cycles > 1)) | (more_loads & ~last_load_later)),
            last_pixel_later.eq(pixels_done == derived.before_last),
            last_load_later.eq(loads_done == max(0, config.load_cycles - 2)),
        ]
        m.d.comb += [
            last_column.eq(column == derived.last_column),
            inside.eq(is_inside(head, line, column)),
        ]
        with m.If(pixel):
            m.d.sync += [pixels_done.eq(pixels_done + 1), column.eq(column + 1), offset.eq(offset + head.step)]
            with m.If(last_column):
                m.d.sync += [
                    column.eq(0),
                    line.eq(line + 1),
                    offset.eq(line_offset + head.line),
                    line_offset.eq(line_offset + head.line),
                ]
        m.d.comb += kept.eq(pixel & self._is_kept(m, head, columns, pixels_done, pixel, end))
        with m.If(kept):
            m.d.sync += kept_any.eq(1)
            with m.If(head.hold == Fold.SET):
                m.d.sync += row_offset.eq(row_offset + 1)
        with m.If(load):
            m.d.sync += loads_done.eq(loads_done + 1)
        with m.If(end):
            m.d.sync += [
                fresh.eq(1),
                *(counter.eq(0) for counter in (idled, pixels_done, loads_done)),
                *(counter.eq(0) for counter in (column, line, offset, line_offset, kept_any, row_offset)),
            ]
        with m.If(self.input_release):
            m.d.sync += half.eq(~half)

        # Behind the last pass, until the last result is written.
        with m.If(end & self.passes.payload.head.final):
            m.d.sync += tail.eq(1)
        with m.If(running & tail):
            m.d.comb += [
                self.classes.requantise.eq(self.reading_last),
                self.classes.fill_drain.eq(~self.reading_last),
            ]
        with m.If(self.done):
            m.d.sync += [running.eq(0), tail.eq(0)]
        with m.If(self.start):
            m.d.sync += running.eq(1)

        word = Signal.like(head.weights)
        with m.If(is_stored(head.kind)):
            m.d.comb += word.eq(head.weights + loads_done)
        with m.Else():
            m.d.comb += word.eq(head.weights)
        issued = Cat(self.pixel.valid, self.request.valid, self.request.first, self.fold.row.valid)
        m.d.sync += [
            issued.eq(Cat(pixel, load, begin, kept)),
            self.pixel.inside.eq(inside),
            self.pixel.pad.eq(head.pad),
            self.pixel.windowed.eq(pixel & (head.kind == TileKind.DEPTHWISE) if config.depthwise else 0),
            self.pixel.line_delay.eq(columns - config.depthwise),
            self.pixel.source.eq(head.source),
            self.pixel.half.eq(half),
            self.pixel.address.eq(head.address + offset),
            self.request.kind.eq(head.kind),
            self.request.address.eq(word),
            self.fold.row.row.eq(head.row + row_offset),
            self.fold.row.held.eq(kept_any & (head.hold != Fold.SET)),
            self.fold.row.fold.eq(Mux(kept_any & (head.hold != Fold.SET), head.hold, head.fold)),
            self.fold.bank.eq(head.bank),
            self.fold.release.eq(last_pixel & head.release),
            self.fold.release_last.eq(last_pixel & head.release & self.passes.payload.head.final),
            self.fold.release_weights.eq(end & head.release_weights),
        ]
        return m

    def _is_kept(self, m: Module, head: Any, columns: Any, pixels_done: Any, pixel: Any, end: Any) -> Any:
        """Whether the sum of this cycle's pixel is that of a window: a second walk, `window_lead` behind the first."""
        config = self._config
        if not config.depthwise:
            return C(1)
        column, leading, inside = Signal(head.pixels.shape()), Signal(), Signal()
        # The lead grows by depthwise - 1 with every column; window_lead(0) is what is constant in it, and negative.
        first = columns * (config.depthwise - 1) + config.window_lead(0)
        m.d.comb += [
            leading.eq(pixels_done < first),
            inside.eq(pixels_done + config.window_trail < head.pixels),
        ]
        column_phase, line_phase = Signal(head.skip_columns.shape()), Signal(head.skip_lines.shape())
        kept = Signal()
        with m.If(pixel & (head.kind == TileKind.DEPTHWISE)):
            with m.If(~leading):
                m.d.sync += [
                    column.eq(column + 1),
                    column_phase.eq(Mux(column_phase == head.skip_columns, 0, column_phase + 1)),
                ]
                with m.If(column == columns - 1):
                    m.d.sync += [
                        column.eq(0),
                        column_phase.eq(0),
                        line_phase.eq(Mux(line_phase == head.skip_lines, 0, line_phase + 1)),
                    ]
        with m.If(end):
            m.d.sync += [counter.eq(0) for counter in (column, column_phase, line_phase)]
        m.d.comb += kept.eq(
            ~leading & inside & (column < columns - head.dropped) & (column_phase == 0) & (line_phase == 0)
        )
        return Mux(head.kind == TileKind.DEPTHWISE, kept, 1)
