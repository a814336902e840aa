"""The timing of a pass: when it begins, and in which cycles it issues pixels."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.core.control import pass_lookahead
from etchnet.hdl.isa import Pass
from etchnet.hdl.isa.config import Config

__all__ = ["PassTimer"]


class PassTimer(wiring.Component):
    """Counts the idle cycles of a pass, waits at its barriers, then issues one pixel per cycle.

    A pass lasts at least rows / weight_rows cycles from its first pixel on, because its weights take that long to load.
    The next pass may begin in the cycle after `end`. All outputs belong to the same cycle as the inputs.

    ============  =========  =======================  ==========================================================
    port          direction  shape                    meaning
    ============  =========  =======================  ==========================================================
    enable        in         1                        a run is in progress and its last pass has not ended
    valid         in         1                        a pass is present, and stays until `end`
    fields        in         `Pass`                   fields of the pass
    derived       in         `pass_lookahead.layout`  values derived from the pass
    input_full    in         1                        the barrier of `wait_input` is open
    output_free   in         1                        the barrier of `wait_output` is open
    weights_full  in         1                        the barrier of `wait_weights` is open
    begin         out        1                        the first pixel is issued, the first weight word requested
    pixel         out        1                        a pixel is issued
    load          out        1                        a weight word is requested
    last_pixel    out        1                        the last pixel is issued
    end           out        1                        last cycle of the pass
    pixels_done   out        as `Pass.pixels`         pixels issued before this cycle
    loads_done    out        0 to `load_cycles`       weight words requested before this cycle
    classes       out        `classes_layout`         slot class of the cycle; all 0 without `enable`
    ============  =========  =======================  ==========================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        layout = Pass.layout(config)
        super().__init__(
            {
                **{name: In(1) for name in ("enable", "valid")},
                "fields": In(layout),
                "derived": In(pass_lookahead.layout(config)),
                **{name: In(1) for name in ("input_full", "output_free", "weights_full")},
                **{name: Out(1) for name in ("begin", "pixel", "load", "last_pixel", "end")},
                "pixels_done": Out(layout["pixels"].shape),
                "loads_done": Out(range(config.load_cycles + 1)),
                "classes": Out(self.classes_layout()),
            }
        )

    @staticmethod
    def classes_layout() -> data.StructLayout:
        """Return the layout of the slot classes, named after their counters in `isa.Counter`."""
        names = ("issue", "wait_in", "wait_out", "weight_load", "requantise", "fill_drain")
        return data.StructLayout({name: unsigned(1) for name in names})

    def elaborate(self, platform: Any) -> Module:
        """Begin the pass, then count its pixels and weight words."""
        m = Module()
        busy = Signal()
        self._wait(m, busy)
        self._count(m, busy)
        m.d.comb += [self.classes.issue.eq(self.pixel), self.classes.weight_load.eq(busy & ~self.pixel)]
        return m

    def _wait(self, m: Module, busy: Signal) -> None:
        """Idle, wait, begin; classify every cycle until then."""
        fields, derived, classes = self.fields, self.derived, self.classes
        # The comparison is made a cycle ahead, so that the decision to begin depends on single bits.
        fresh, idle_over_later, idle_over = Signal(init=1), Signal(), Signal()
        idled = Signal(derived.idle_end.shape())
        m.d.comb += idle_over.eq(Mux(fresh, derived.no_idle, idle_over_later))
        with m.If(self.enable & ~busy):
            with m.If(~self.valid):
                m.d.comb += classes.fill_drain.eq(1)
            with m.Elif(~idle_over):
                m.d.sync += [idled.eq(idled + 1), fresh.eq(0), idle_over_later.eq(idled + 1 == derived.idle_end)]
                with m.If(idled < fields.idle_requantise):
                    m.d.comb += classes.requantise.eq(1)
                with m.Else():
                    m.d.comb += classes.fill_drain.eq(1)
            with m.Elif((fields.wait_input & ~self.input_full) | (fields.wait_weights & ~self.weights_full)):
                m.d.comb += classes.wait_in.eq(1)
            with m.Elif(fields.wait_output & ~self.output_free):
                m.d.comb += classes.wait_out.eq(1)
            with m.Else():
                m.d.comb += self.begin.eq(1)
        with m.If(self.end):
            m.d.sync += [fresh.eq(1), idled.eq(0)]

    def _count(self, m: Module, busy: Signal) -> None:
        """Issue pixels and request weight words until both are done."""
        derived, begin, end, load_cycles = self.derived, self.begin, self.end, self._config.load_cycles
        pixels_done, loads_done = Signal.like(self.pixels_done), Signal.like(self.loads_done)
        more_pixels, more_loads = Signal(), Signal()
        # Compared a cycle ahead; in the first cycle of a pass, which has no cycle before it, `derived` has the answer.
        last_pixel_later, last_load_later = Signal(), Signal()
        m.d.comb += [
            self.pixels_done.eq(pixels_done),
            self.loads_done.eq(loads_done),
            self.pixel.eq(begin | more_pixels),
            self.load.eq(begin | more_loads),
            self.last_pixel.eq((begin & derived.one_pixel) | (more_pixels & last_pixel_later)),
            # Computed separately for the first cycle of a pass and for later ones, to keep `begin` off the critical
            # path.
            end.eq(
                (begin & derived.one_pixel & (load_cycles == 1))
                | (busy & (last_pixel_later | ~more_pixels) & (last_load_later | ~more_loads))
            ),
        ]
        m.d.sync += [
            busy.eq((begin | busy) & ~end),
            more_pixels.eq(self.pixel & ~self.last_pixel),
            more_loads.eq((begin & (load_cycles > 1)) | (more_loads & ~last_load_later)),
            last_pixel_later.eq(pixels_done == derived.before_last),
            last_load_later.eq(loads_done == max(0, load_cycles - 2)),
        ]
        with m.If(self.pixel):
            m.d.sync += pixels_done.eq(pixels_done + 1)
        with m.If(self.load):
            m.d.sync += loads_done.eq(loads_done + 1)
        with m.If(end):
            m.d.sync += [pixels_done.eq(0), loads_done.eq(0)]
