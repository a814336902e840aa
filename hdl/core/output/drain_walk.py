"""The walk of a drain: which row is read, with which parameters, and where its results go, cycle by cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay
from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.isa import Destination, Drain, Fold
from etchnet.hdl.isa.config import Config

__all__ = ["DrainWalk"]


class DrainWalk(wiring.Component):
    """The control of drains: counts through steps, pixels and tiles, and describes one group in every cycle.

    A *group* is the `requantisers` results of one step, a part of a row. A row takes max(groups, memory words per row)
    steps; steps after the last group read nothing.

    `start` begins the drain at the head of `drains`; its first row is read `start_delay` cycles later. A `chained`
    drain begins by itself: its first row is read `chain_delay` + `idle` cycles after the last step of the preceding
    drain. Drains must not overlap; the idle cycles of the program ensure it. The head of `drains` is taken in the last
    step of the drain.

    ==============  =========  ===============================  ===============================================
    port            direction  shape                            meaning
    ==============  =========  ===============================  ===============================================
    start           in         1                                a pass with `release` begins the next drain
    start_last      in         1                                with `start`: that pass is the last of the run
    drains          in         stream of `InstructionMemory`    the drains in order
    group           out        `group_layout`                   the group of this cycle
    read            out        `read_layout`                    the row that the group is read from
    parameter_word  out        address of the parameter memory  address of the word with the group's parameters
    reading_last    out        1                                the drain that `start_last` began is reading
    ==============  =========  ===============================  ===============================================

    All outputs except `reading_last` depend only on registers and on the head of `drains` in the same cycle.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "start_last": In(1),
                "drains": In(InstructionMemory.stream_of(Drain, config, config.drains, self.derived_layout(config))),
                "group": Out(self.group_layout(config)),
                "read": Out(self.read_layout(config)),
                "parameter_word": Out(range(config.parameter_words)),
                "reading_last": Out(1),
            }
        )
        self._head = head = Signal(Drain.streamed(config), name="head")
        self._derived = Signal(self.derived_layout(config), name="derived")
        # Offsets into the drain. They start from zero, so that one drain may follow another without a gap.
        self._active = Signal(name="active")
        self._step = Signal(range(config.drain_cycles_per_row(wide=True) + 1), name="step")
        self._row, self._pixel = Signal.like(head.row, name="row"), Signal.like(head.pixels, name="pixel")
        self._tile, self._parameter = (
            Signal.like(head.tiles, name="tile"),
            Signal.like(head.parameters, name="parameter"),
        )
        self._word, self._pixel_word = (Signal.like(head.address, name=name) for name in ("word", "pixel_word"))
        self._lane_offset, self._lane = (Signal.like(head.lane, name=name) for name in ("lane_offset", "lane"))
        # Whether this cycle is in the last step of a row, in the last row of a tile, in the last tile; or the last of
        # the drain.
        self._last_step, self._last_pixel, self._last_tile, self._last = (
            Signal(name=name) for name in ("last_step", "last_pixel", "last_tile", "last")
        )

    @staticmethod
    def derived_layout(config: Config) -> data.StructLayout:
        """Return the layout of the values that counters are compared with, computed before a drain heads the stream."""
        layout = Drain.layout(config)
        return data.StructLayout(
            {
                "at_once": unsigned(1),
                "one_step": unsigned(1),
                "one_pixel": unsigned(1),
                "one_tile": unsigned(1),
                "last_step": unsigned(config.drain_cycles_per_row(wide=True).bit_length()),
                "last_pixel": layout["pixels"].shape,
                "last_tile": layout["tiles"].shape,
            }
        )

    @staticmethod
    def derived_reset(config: Config) -> dict[str, int]:
        """Return the values of `derived_layout` for fields that are all 0."""
        pixels, tiles = (Drain.layout(config)[name].shape.width for name in ("pixels", "tiles"))
        return {
            "one_step": int(config.drain_cycles_per_row() == 1),
            "last_step": config.drain_cycles_per_row() - 1,
            "last_pixel": (1 << pixels) - 1,
            "last_tile": (1 << tiles) - 1,
        }

    @staticmethod
    def derive(config: Config, fields: Any) -> dict[str, Any]:
        """Return the values of `derived_layout` for the fields of a drain."""
        wide, narrow = (config.drain_cycles_per_row(wide=w) - 1 for w in (True, False))
        one_step = Mux(fields.wide, int(wide == 0), int(narrow == 0))
        return {
            "at_once": one_step & (fields.pixels == 1) & (fields.tiles == 1),
            "one_step": one_step,
            "one_pixel": fields.pixels == 1,
            "one_tile": fields.tiles == 1,
            "last_step": Mux(fields.wide, wide, narrow),
            "last_pixel": fields.pixels - 1,
            "last_tile": fields.tiles - 1,
        }

    @staticmethod
    def group_layout(config: Config) -> data.StructLayout:
        """Return the layout of a group: its index in the row, what ends with it, and fields of its drain."""
        drain = Drain.layout(config)
        return data.StructLayout(
            {
                "valid": unsigned(1),
                "index": unsigned(config.address_bits(config.groups)),
                "row_done": unsigned(1),
                "drain_done": unsigned(1),
                "final": unsigned(1),
                "commit": unsigned(1),
                "raw": unsigned(1),
                "wide": unsigned(1),
                "destination": Destination,
                "bank": unsigned(1),
                "fold": Fold,
                "lane": drain["lane"].shape,
                "address": drain["address"].shape,
                "place": unsigned(config.address_bits(config.drains)),
            }
        )

    @staticmethod
    def read_layout(config: Config) -> data.StructLayout:
        """Return the layout of a read: a row of an accumulator bank or of the residual memory."""
        row = Drain.layout(config)["row"].shape
        return data.StructLayout({"valid": unsigned(1), "residual": unsigned(1), "bank": unsigned(1), "row": row})

    @staticmethod
    def start_delay(config: Config) -> int:
        """Return the cycles from `start` to the first row's read: by then the last row folded in has been written."""
        return AccumulatorBank.latency(config) + 1

    @staticmethod
    def chain_delay(config: Config) -> int:
        """Return the cycles from the last step of a drain to the first read of a chained drain that does not idle."""
        return 2

    def elaborate(self, platform: Any) -> Module:
        """Begin drains, find their last steps, count, and describe the group of the cycle."""
        m = Module()
        m.d.comb += [
            self._head.eq(self.drains.payload.head.fields),
            self._derived.eq(self.drains.payload.derived),
            self.drains.ready.eq(self._last),
        ]
        self._begin(m)
        self._find_last(m)
        self._count(m)
        self._describe(m)
        return m

    def _begin(self, m: Module) -> None:
        """Begin a drain that a pass starts, or that is chained to the preceding drain."""
        head, active = self._head, self._active
        begin, begin_last = (
            delay(m, start, self.start_delay(self._config) - 1, name=name)
            for start, name in ((self.start, "start"), (self.start_last, "start_last"))
        )
        # Once the last pass has issued, only the drains that it started count as reading: earlier ones may have ended
        # during a wait.
        reading_last = Signal()
        m.d.comb += self.reading_last.eq(active & reading_last)
        with m.If(begin):
            m.d.sync += reading_last.eq(begin_last)
        idled, chain = Signal.like(head.idle, name="idled"), Signal()
        waiting = Signal()
        m.d.comb += [
            waiting.eq(self.drains.valid & head.chained & ~active),
            chain.eq(waiting & (idled == head.idle)),
        ]
        m.d.sync += [active.eq((active & ~self._last) | begin | chain), idled.eq(Mux(waiting & ~chain, idled + 1, 0))]

    def _find_last(self, m: Module) -> None:
        """Compare the counters with their last values, a cycle ahead except in the first cycle of a drain."""
        derived, last_step, last_pixel, last_tile = self._derived, self._last_step, self._last_pixel, self._last_tile
        fresh = Signal(init=1)
        last_step_later, last_pixel_later, last_tile_later, last_later = (
            Signal(name=f"last{name}_later") for name in ("_step", "_pixel", "_tile", "")
        )
        # The comparisons of the next cycle, if this one belongs to a drain and is not its last.
        next_step, next_pixel, next_tile = (Signal(name=f"next_last_{name}") for name in ("step", "pixel", "tile"))
        next_last_pixel = Mux(last_pixel, derived.one_pixel, self._pixel + 1 == derived.last_pixel)
        m.d.comb += [
            last_step.eq(Mux(fresh, derived.one_step, last_step_later)),
            last_pixel.eq(Mux(fresh, derived.one_pixel, last_pixel_later)),
            last_tile.eq(Mux(fresh, derived.one_tile, last_tile_later)),
            self._last.eq(self._active & Mux(fresh, derived.at_once, last_later)),
            next_step.eq(Mux(last_step, derived.one_step, self._step + 1 == derived.last_step)),
            next_pixel.eq(Mux(last_step, next_last_pixel, last_pixel)),
            next_tile.eq(Mux(last_step & last_pixel, self._tile + 1 == derived.last_tile, last_tile)),
        ]
        with m.If(self._active):
            m.d.sync += [
                fresh.eq(self._last),
                last_step_later.eq(next_step),
                last_pixel_later.eq(next_pixel),
                last_tile_later.eq(next_tile),
                last_later.eq(next_step & next_pixel & next_tile),
            ]

    def _count(self, m: Module) -> None:
        """Count steps, pixels and tiles, with the offsets of rows, parameters and words that follow from them."""
        config, head = self._config, self._head
        pixel, pixel_word, parameter = self._pixel, self._pixel_word, self._parameter
        m.d.comb += self._lane.eq(head.lane + self._lane_offset)
        with m.If(self._active):
            m.d.sync += self._step.eq(self._step + 1)
            with m.If(self._last_step):
                m.d.sync += [
                    self._step.eq(0),
                    self._row.eq(self._row + 1),
                    pixel.eq(pixel + 1),
                    pixel_word.eq(pixel_word + head.stride),
                ]
                with m.If(self._last_pixel):
                    m.d.sync += [
                        pixel.eq(0),
                        pixel_word.eq(0),
                        self._tile.eq(self._tile + 1),
                        parameter.eq(Mux(head.shared, 0, parameter + config.groups)),
                        self._lane_offset.eq(self._lane_offset + 1),
                    ]
                    whole_words = head.wide | (head.destination == Destination.ACCUMULATORS)
                    with m.If((self._lane == config.tiles_per_word - 1) | whole_words):
                        m.d.sync += [self._lane_offset.eq(-head.lane), self._word.eq(self._word + head.tile_stride)]
        with m.If(self._last):
            offsets = (self._row, self._tile, parameter, self._word, self._lane_offset)
            m.d.sync += [offset.eq(0) for offset in offsets]

    def _describe(self, m: Module) -> None:
        """Output the group of this cycle, its row, and the address of its parameters."""
        groups, head, group, step = self._config.groups, self._head, self.group, self._step
        valid = Signal()
        m.d.comb += [
            valid.eq(self._active & (step < groups)),
            group.valid.eq(valid),
            group.index.eq(step),
            group.row_done.eq(valid & (step == groups - 1)),
            group.drain_done.eq(self._last_pixel & self._last_tile),
            group.final.eq(self.drains.payload.head.final),
            group.commit.eq(head.commit),
            group.raw.eq(head.raw),
            group.wide.eq(head.wide),
            group.destination.eq(head.destination),
            group.bank.eq(head.into),
            group.fold.eq(head.fold),
            group.lane.eq(Mux(head.wide, 0, self._lane)),
            group.address.eq(head.address + self._word + self._pixel_word),
            group.place.eq(self.drains.payload.head.place),
            self.read.valid.eq(valid),
            self.read.residual.eq(head.residual),
            self.read.bank.eq(head.bank),
            self.read.row.eq(head.row + self._row),
            self.parameter_word.eq(head.parameters + self._parameter + Mux(step < groups, step, 0)),
        ]
