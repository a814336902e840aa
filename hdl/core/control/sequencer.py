"""The sequencer: one pass after another, one pixel per cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.array.weights import WeightMemory
from etchnet.hdl.core.control import pass_lookahead
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.control.image_walk import ImageWalk
from etchnet.hdl.core.control.pass_timer import PassTimer
from etchnet.hdl.core.control.window_filter import WindowFilter
from etchnet.hdl.isa import Fold, Pass, Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.passes import is_stored

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Turns the stream of passes into reads, weight requests and folds.

    A pass first counts its idle cycles, then waits at its barriers, then issues one pixel per cycle and lasts at least
    rows / weight_rows cycles; the next pass may issue in the cycle after. A pixel appears on `pixel`, `request` and
    `fold` in the same cycle, `latency` cycles after the decision to issue it. There is no flow control after the
    barriers.

    =============  =========  =============================  ===========================================================
    port           direction  shape                          meaning
    =============  =========  =============================  ===========================================================
    passes         in         stream                         passes and derived values, each taken in its last cycle
    start          in         1                              a run starts
    done           in         1                              the last result of the run is written
    reading_last   in         1                              the output stage reads for drains of the last pass
    running        out        1                              from the cycle after `start` to that of `done`
    input_full     in         1                              the current half of the input memory is full
    input_release  out        1                              the pass gives the half back, with its last pixel
    output_free    in         1                              a half of the output memory is free
    output_take    out        1                              the pass takes it, with its first pixel
    weights_full   in         1                              there is a committed weights packet
    weights_take   out        1                              the pass takes it, with its first pixel
    pixel          out        `pixel_layout`                 the word to read
    request        out        `WeightMemory.request_layout`  the weight word to read
    fold           out        `fold_layout`                  the accumulator row that takes the pixel's sums
    classes        out        `PassTimer.classes_layout`     slot class of the cycle; exactly one is high with `running`
    useful         out        0 to `multipliers`             multiplications by weights of the network
    =============  =========  =============================  ===========================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "passes": In(InstructionMemory.stream_of(Pass, config, config.passes, pass_lookahead.layout(config))),
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
                "classes": Out(PassTimer.classes_layout()),
                "useful": Out(config.multipliers.bit_length()),
            }
        )

    @staticmethod
    def pixel_layout(config: Config) -> data.StructLayout:
        """Return the layout of a pixel to read.

        `valid`; `inside`, or else every byte is `pad`; `source`, `half` and `address` of its word; `windowed` for a
        pixel of a depthwise pass, and `line_delay`, how far its line buffers look back.
        """
        return data.StructLayout(
            {
                "valid": unsigned(1),
                "inside": unsigned(1),
                "pad": signed(8),
                "source": Source,
                "half": unsigned(1),
                "address": unsigned(Pass.layout(config)["address"].width - 1),
                "windowed": unsigned(1),
                "line_delay": unsigned(config.line_words.bit_length() if config.depthwise else 0),
            }
        )

    @staticmethod
    def fold_layout(config: Config) -> data.StructLayout:
        """Return the layout of a fold: `row` and `bank` that take a pixel's sums, and the releases of its pass.

        `release` and `release_last` come with its last pixel, `release_weights` with its last cycle.
        """
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
    def latency(config: Config) -> int:
        """Return the cycles from the decision to issue a pixel to its issue on `pixel`, `request` and `fold`."""
        return 1

    def elaborate(self, platform: Any) -> Module:
        """Decide, walk, and register the pixel, request and fold."""
        m = Module()
        config, head, derived = self._config, self.passes.payload.head, self.passes.payload.derived
        timer, walk = PassTimer(config), ImageWalk(config)
        submodule(m, platform, "timer", timer)
        submodule(m, platform, "walk", walk)
        kept = Signal()
        if config.depthwise:
            windows = WindowFilter(config)
            submodule(m, platform, "windows", windows)
            m.d.comb += [
                windows.fields.eq(head.fields),
                windows.columns.eq(derived.columns),
                windows.pixels_done.eq(timer.pixels_done),
                windows.step.eq(timer.pixel),
                windows.end.eq(timer.end),
                kept.eq(timer.pixel & windows.kept),
            ]
        else:
            m.d.comb += kept.eq(timer.pixel)
        m.d.comb += [
            timer.valid.eq(self.passes.valid),
            timer.fields.eq(head.fields),
            timer.derived.eq(derived),
            timer.input_full.eq(self.input_full),
            timer.output_free.eq(self.output_free),
            timer.weights_full.eq(self.weights_full),
            walk.fields.eq(head.fields),
            walk.derived.eq(derived),
            walk.step.eq(timer.pixel),
            walk.end.eq(timer.end),
            self.passes.ready.eq(timer.end),
            self.useful.eq(kept.replicate(len(self.useful)) & head.fields.useful),
            self.output_take.eq(timer.begin & head.fields.wait_output),
            self.weights_take.eq(timer.begin & head.fields.wait_weights),
            self.input_release.eq(timer.last_pixel & head.fields.release_input),
        ]
        self._follow_run(m, timer)
        self._issue_pixel(m, timer, walk)
        self._issue_request(m, timer)
        self._issue_fold(m, timer, kept)
        return m

    def _follow_run(self, m: Module, timer: PassTimer) -> None:
        """Track a run from its start to its last pass, and then its tail until the last result is written."""
        running, tail = Signal(), Signal()
        m.d.comb += [self.running.eq(running), timer.enable.eq(running & ~tail), self.classes.eq(timer.classes)]
        with m.If(timer.end & self.passes.payload.head.final):
            m.d.sync += tail.eq(1)
        with m.If(running & tail):
            m.d.comb += [self.classes.requantise.eq(self.reading_last), self.classes.fill_drain.eq(~self.reading_last)]
        with m.If(self.done):
            m.d.sync += [running.eq(0), tail.eq(0)]
        with m.If(self.start):
            m.d.sync += running.eq(1)

    def _issue_pixel(self, m: Module, timer: PassTimer, walk: ImageWalk) -> None:
        """Issue the address of the pixel; track the half of the input memory that is read."""
        config, fields, derived = self._config, self.passes.payload.head.fields, self.passes.payload.derived
        half = Signal()
        with m.If(self.input_release):
            m.d.sync += half.eq(~half)
        m.d.sync += [
            self.pixel.valid.eq(timer.pixel),
            self.pixel.inside.eq(walk.inside),
            self.pixel.pad.eq(fields.pad),
            self.pixel.windowed.eq(timer.pixel & (fields.kind == TileKind.DEPTHWISE) if config.depthwise else 0),
            self.pixel.line_delay.eq(derived.columns - config.depthwise),
            self.pixel.source.eq(fields.source),
            self.pixel.half.eq(half),
            self.pixel.address.eq(fields.address + walk.offset),
        ]

    def _issue_request(self, m: Module, timer: PassTimer) -> None:
        """Request the words of a stored tile one after the other, or the single word of another tile repeatedly."""
        fields = self.passes.payload.head.fields
        m.d.sync += [
            self.request.valid.eq(timer.load),
            self.request.first.eq(timer.begin),
            self.request.kind.eq(fields.kind),
            self.request.address.eq(fields.weights + Mux(is_stored(fields.kind), timer.loads_done, 0)),
        ]

    def _issue_fold(self, m: Module, timer: PassTimer, kept: Value) -> None:
        """Give each kept sum the next row, or fold all of them into one."""
        fields, final = self.passes.payload.head.fields, self.passes.payload.head.final
        kept_any, row_offset = Signal(), Signal(fields.row.shape())
        with m.If(kept):
            m.d.sync += kept_any.eq(1)
            with m.If(fields.hold == Fold.SET):
                m.d.sync += row_offset.eq(row_offset + 1)
        with m.If(timer.end):
            m.d.sync += [kept_any.eq(0), row_offset.eq(0)]
        held = kept_any & (fields.hold != Fold.SET)
        m.d.sync += [
            self.fold.row.valid.eq(kept),
            self.fold.row.row.eq(fields.row + row_offset),
            self.fold.row.held.eq(held),
            self.fold.row.fold.eq(Mux(held, fields.hold, fields.fold)),
            self.fold.bank.eq(fields.bank),
            self.fold.release.eq(timer.last_pixel & fields.release),
            self.fold.release_last.eq(timer.last_pixel & fields.release & final),
            self.fold.release_weights.eq(timer.end & fields.release_weights),
        ]
