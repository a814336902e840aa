"""The output stage: drains accumulator rows through the requantisers and writes the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay, delay_line
from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.technology import technology_of
from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.loadable_memory import LoadableMemory, load_bus
from etchnet.hdl.core.output.requantiser import Requantiser
from etchnet.hdl.isa import Destination, Drain, Parameters, Target
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.packets import word_bits

__all__ = ["OutputStage"]


class OutputStage(wiring.Component):
    """Executes drains, one accumulator row every max(groups, memory words per row) cycles.

    `start` begins the drain at the head of `drains`: its first accumulator row is read `start_delay` cycles later.
    `start_last` comes with it where the run's last pass starts it. A `chained` drain begins by itself: its first row is
    read `chain_delay` + `idle` cycles after the last cycle of the drain before. A result is written `latency` cycles
    after its row was last read, one memory word a cycle. Drains must not overlap: the program's idle cycles see to it.

    A row of `columns` results is written as ceil(columns / rows) words, the last padded with zeros; where columns
    divide rows, `rows / columns` column tiles share a word. Wide results (int32, little endian) always start a word
    of their own.
    """

    def __init__(self, config: Config, *, parameters: Sequence[int] = (), drains: Sequence[int] = ()) -> None:
        self._config, self._init, self._init_drains = config, parameters, drains
        super().__init__(
            {
                "write_parameters": In(1),
                "write_drains": In(1),
                "bus": In(load_bus(config)),
                "start": In(1),
                "start_last": In(1),
                "drains": In(InstructionMemory.stream_of(Drain, config, config.drains, self.derived_layout(config))),
                "read": Out(self.read_layout(config)),
                "accumulators": In(data.ArrayLayout(signed(32), config.columns)),
                "fold": Out(self.fold_layout(config)),
                "values": Out(data.ArrayLayout(signed(32), config.columns)),
                "write": Out(self.write_layout(config)),
                "commit": Out(1),
                "reading_last": Out(1),
                "done": Out(1),
            }
        )

    @staticmethod
    def derived_layout(config: Config) -> data.StructLayout:
        """What the counters of a drain are compared with, worked out before it is at the head of the stream."""
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
        """The values of `derived_layout` for fields that are all 0."""
        pixels, tiles = (Drain.layout(config)[name].shape.width for name in ("pixels", "tiles"))
        return {
            "one_step": int(config.drain_cycles_per_row() == 1),
            "last_step": config.drain_cycles_per_row() - 1,
            "last_pixel": (1 << pixels) - 1,
            "last_tile": (1 << tiles) - 1,
        }

    @staticmethod
    def derive(config: Config, fields: Any) -> dict[str, Any]:
        """The values of `derived_layout` for the fields of a drain."""
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
    def write_layout(config: Config) -> data.StructLayout:
        """One memory word; `lanes` enables the column tiles that share it."""
        return data.StructLayout(
            {
                "activation": unsigned(1),
                "output": unsigned(1),
                "residual": unsigned(1),
                "address": Drain.layout(config)["address"].shape,
                "lanes": unsigned(config.tiles_per_word),
                "data": unsigned(8 * config.rows),
            }
        )

    @staticmethod
    def group_layout(config: Config) -> data.StructLayout:
        """What travels beside a group of `requantisers` values: its place in the row, and the drain's fields."""
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
                "destination": unsigned(2),
                "bank": unsigned(1),
                "fold": unsigned(2),
                "lane": drain["lane"].shape,
                "address": drain["address"].shape,
                "place": unsigned(config.address_bits(config.drains)),
            }
        )

    @staticmethod
    def read_layout(config: Config) -> data.StructLayout:
        """A row to read, of a bank or of the residual memory."""
        row = Drain.layout(config)["row"].shape
        return data.StructLayout({"valid": unsigned(1), "residual": unsigned(1), "bank": unsigned(1), "row": row})

    @staticmethod
    def fold_layout(config: Config) -> data.StructLayout:
        """The accumulator row that takes the results of a row."""
        row = unsigned(config.address_bits(config.accumulator_rows))
        return data.StructLayout({"valid": unsigned(1), "bank": unsigned(1), "row": row, "fold": unsigned(2)})

    @staticmethod
    def start_delay(config: Config) -> int:
        """Cycles from `start` to the first row's read: by then the last row folded in has been written."""
        return AccumulatorBank.latency(config) + 1

    @staticmethod
    def chain_delay(config: Config) -> int:
        """Cycles from the last cycle of a drain to the first read of a chained one that does not idle."""
        return 2

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from the last read of a row to the write of its first word."""
        return OutputStage.select_delay(config) + Requantiser.latency(config)

    @staticmethod
    def fold_latency(config: Config) -> int:
        """Cycles from the last read of a row to the naming of the accumulator row that takes its results."""
        return OutputStage.latency(config) - AccumulatorBank.read_latency(config)

    @staticmethod
    def select_delay(config: Config) -> int:
        """Cycles from the read of a row to its group at the requantisers: to read, and one to select."""
        return AccumulatorBank.read_latency(config) + 1

    @staticmethod
    def late_delays(config: Config) -> dict[str, int]:
        """Cycles from a group at the requantisers to the use of its late fields, by the memory that holds them."""
        return {"bounds": Requantiser.clamp_delay(config), "zero_points": Requantiser.zero_point_delay(config)}

    def elaborate(self, platform: Any) -> Module:
        """Step through rows and groups; select, requantise, assemble, write."""
        m = Module()
        config, groups = self._config, self._config.groups
        n = config.requantisers
        head = Signal(Drain.streamed(config))
        derived = Signal(self.derived_layout(config))
        m.d.comb += [head.eq(self.drains.payload.head.fields), derived.eq(self.drains.payload.derived)]

        # Offsets into the drain. They start from zero, so that one drain may follow another without a gap.
        active = Signal()
        step = Signal(range(config.drain_cycles_per_row(wide=True) + 1))
        row, pixel = Signal.like(head.row, name="row"), Signal.like(head.pixels, name="pixel")
        tile, parameter = Signal.like(head.tiles, name="tile"), Signal.like(head.parameters, name="parameter")
        word, pixel_word = (Signal.like(head.address, name=name) for name in ("word", "pixel_word"))
        lane_offset, lane = (Signal.like(head.lane, name=name) for name in ("lane_offset", "lane"))
        fresh = Signal(init=1)
        last_step_later, last_pixel_later, last_tile_later, last_later = (
            Signal(name=f"last{name}_later") for name in ("_step", "_pixel", "_tile", "")
        )
        # Those of the next cycle, if this one is the drain's and not its last.
        next_step, next_pixel, next_tile = (Signal(name=f"next_last_{name}") for name in ("step", "pixel", "tile"))
        last_step, last_pixel, last_tile, last = (
            Signal(name=name) for name in ("last_step", "last_pixel", "last_tile", "last")
        )
        m.d.comb += [
            # Compared a cycle ahead, but for a drain that has not begun.
            last_step.eq(Mux(fresh, derived.one_step, last_step_later)),
            last_pixel.eq(Mux(fresh, derived.one_pixel, last_pixel_later)),
            last_tile.eq(Mux(fresh, derived.one_tile, last_tile_later)),
            last.eq(active & Mux(fresh, derived.at_once, last_later)),
            next_step.eq(Mux(last_step, derived.one_step, step + 1 == derived.last_step)),
            next_pixel.eq(
                Mux(last_step, Mux(last_pixel, derived.one_pixel, pixel + 1 == derived.last_pixel), last_pixel)
            ),
            next_tile.eq(Mux(last_step & last_pixel, tile + 1 == derived.last_tile, last_tile)),
            lane.eq(head.lane + lane_offset),
            self.drains.ready.eq(last),
        ]
        # Behind the last pass only what it started counts as reading: what came before may have ended during a wait.
        begin, begin_last = (
            delay(m, start, self.start_delay(config) - 1, name=name)
            for start, name in ((self.start, "start"), (self.start_last, "start_last"))
        )
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
        m.d.sync += [active.eq((active & ~last) | begin | chain), idled.eq(Mux(waiting & ~chain, idled + 1, 0))]
        with m.If(active):
            m.d.sync += [
                step.eq(step + 1),
                fresh.eq(last),
                last_step_later.eq(next_step),
                last_pixel_later.eq(next_pixel),
                last_tile_later.eq(next_tile),
                last_later.eq(next_step & next_pixel & next_tile),
            ]
            with m.If(last_step):
                m.d.sync += [step.eq(0), row.eq(row + 1), pixel.eq(pixel + 1), pixel_word.eq(pixel_word + head.stride)]
                with m.If(last_pixel):
                    m.d.sync += [
                        pixel.eq(0),
                        pixel_word.eq(0),
                        tile.eq(tile + 1),
                        parameter.eq(Mux(head.shared, 0, parameter + groups)),
                        lane_offset.eq(lane_offset + 1),
                    ]
                    whole_words = head.wide | (head.destination == Destination.ACCUMULATORS)
                    with m.If((lane == config.tiles_per_word - 1) | whole_words):
                        m.d.sync += [lane_offset.eq(-head.lane), word.eq(word + head.tile_stride)]
        with m.If(last):
            m.d.sync += [row.eq(0), tile.eq(0), parameter.eq(0), word.eq(0), lane_offset.eq(0)]

        # What travels beside a group through the pipeline.
        group_layout = self.group_layout(config)
        group = Signal(group_layout)
        valid = Signal()
        m.d.comb += valid.eq(active & (step < groups))
        m.d.comb += [
            group.valid.eq(valid),
            group.index.eq(step),
            group.row_done.eq(valid & (step == groups - 1)),
            group.drain_done.eq(last_pixel & last_tile),
            group.final.eq(self.drains.payload.head.final),
            group.commit.eq(head.commit),
            group.raw.eq(head.raw),
            group.wide.eq(head.wide),
            group.destination.eq(head.destination),
            group.bank.eq(head.into),
            group.fold.eq(head.fold),
            group.lane.eq(Mux(head.wide, 0, lane)),
            group.address.eq(head.address + word + pixel_word),
            group.place.eq(self.drains.payload.head.place),
            self.read.valid.eq(valid),
            self.read.residual.eq(head.residual),
            self.read.bank.eq(head.bank),
            self.read.row.eq(head.row + row),
        ]
        latency = self.latency(config)
        stages = delay_line(m, group, latency, name="group", resets=False)
        # What of it has an effect by itself, and so has to go with a reset.
        live = delay_line(m, Cat(group.valid, group.row_done), latency, name="live")

        # Read, select, requantise.
        parameters = LoadableMemory(
            config,
            bits=word_bits(Target.PARAMETERS, config),
            depth=config.parameter_words,
            init=self._init,
            name="parameters",
            latency=AccumulatorBank.read_latency(config),
        )
        submodule(m, platform, "parameters", parameters, variant="parameters")
        m.d.comb += [
            parameters.write.eq(self.write_parameters),
            parameters.bus.eq(self.bus),
            parameters.address.eq(head.parameters + parameter + Mux(step < groups, step, 0)),
            parameters.enable.eq(valid),
        ]
        lanes = data.ArrayLayout(Parameters.layout(config), n)
        select = self.select_delay(config)
        selected = Signal(data.ArrayLayout(signed(32), n), reset_less=True)
        chosen = Signal(lanes, reset_less=True)
        indices = technology_of(platform).duplicate_register(
            m, stages[select - 2].index, stages[select - 1].index, n, name="index"
        )
        for lane_index in range(n):
            choices = Cat(*(self.accumulators[first + lane_index] for first in range(0, config.columns, n)))
            m.d.sync += selected[lane_index].eq(choices.word_select(indices[lane_index], 32))
        m.d.sync += chosen.eq(parameters.data)
        late = {
            memory: self._late(m, platform, memory, delay, stages) for memory, delay in self.late_delays(config).items()
        }
        results = Signal(data.ArrayLayout(signed(32), n))
        for lane_index in range(n):
            requantiser = Requantiser(config)
            submodule(m, platform, f"requantiser_{lane_index}", requantiser)
            m.d.comb += [
                requantiser.value.eq(selected[lane_index]),
                requantiser.parameters.eq(chosen[lane_index]),
                requantiser.raw.eq(stages[select].raw),
                requantiser.zero_point.eq(late["zero_points"].zero_point),
                requantiser.low.eq(late["bounds"].low),
                requantiser.high.eq(late["bounds"].high),
                results[lane_index].eq(requantiser.result),
            ]

        # Collect the groups of a row; the last comes straight from the requantisers.
        now, (now_valid, _) = stages[latency], live[latency]
        held = []
        for index in range(groups - 1):
            hold = Signal(data.ArrayLayout(signed(32), n), name=f"held_{index}", reset_less=True)
            with m.If(now_valid & (now.index == index)):
                m.d.sync += hold.eq(results)
            held.append(hold)
        values = Signal(data.ArrayLayout(signed(32), config.columns))
        early = stages[self.fold_latency(config)]
        m.d.comb += [
            values.eq(Cat(*held, results)),
            self.values.eq(values),
            self.fold.valid.eq(live[self.fold_latency(config)][1] & (early.destination == Destination.ACCUMULATORS)),
            self.fold.bank.eq(early.bank),
            self.fold.row.eq(early.address),
            self.fold.fold.eq(early.fold),
        ]

        # Cut the row into memory words: the first goes out at once, the others follow from a shift register.
        word_size = 8 * config.rows
        narrow_bits, wide_bits = (config.words_per_pixel(wide=w) * word_size for w in (False, True))
        narrow = Cat(*(value[:8] for value in values))
        if config.tiles_per_word > 1:
            narrow = narrow.replicate(config.tiles_per_word)
        whole = Signal(wide_bits)
        m.d.comb += whole.eq(
            Mux(now.wide, values.as_value(), Cat(narrow, C(0, max(0, narrow_bits - 8 * config.columns))))
        )
        # What ends with this cycle's word, or with the last of those that follow, is known a cycle ahead.
        soon, soon_row_done = stages[latency - 1], live[latency - 1][1]
        to_accumulators = soon.destination == Destination.ACCUMULATORS
        words_soon = Mux(soon.wide, config.words_per_pixel(wide=True), config.words_per_pixel())
        to_memory, ends_now, ends_rest = (Signal(name=name) for name in ("to_memory", "ends_now", "ends_rest"))
        to_memory_soon = soon_row_done & ~to_accumulators
        m.d.sync += [
            to_memory.eq(to_memory_soon),
            ends_now.eq(soon_row_done & soon.drain_done & (to_accumulators | (words_soon == 1))),
        ]
        writing = Signal(self.write_layout(config))
        extra = Signal(range(config.words_per_pixel(wide=True) + 1))
        rest = Signal(max(1, wide_bits - word_size), reset_less=True)
        rest_now = Signal(group_layout, reset_less=True)
        rest_address = Signal(head.address.shape())
        words = Mux(now.wide, config.words_per_pixel(wide=True), config.words_per_pixel())
        m.d.sync += ends_rest.eq(Mux(to_memory, now.drain_done & (words == 2), rest_now.drain_done & (extra == 2)))
        # Address and data are chosen without a look at whether anything is written.
        resting = Signal(name="resting")
        m.d.sync += resting.eq(Mux(to_memory, words != 1, extra > 1))
        destination = Mux(to_memory, now.destination, rest_now.destination)
        anything = to_memory | resting
        m.d.comb += [
            writing.activation.eq(anything & (destination == Destination.ACTIVATION)),
            writing.output.eq(anything & (destination == Destination.OUTPUT)),
            writing.residual.eq(to_memory & (now.destination == Destination.RESIDUAL)),
            writing.address.eq(Mux(to_memory, now.address, rest_address)),
            writing.lanes.eq(Mux(to_memory & ~now.wide, 1 << now.lane, C(-1, config.tiles_per_word))),
        ]
        # So they move on in every cycle, and nothing but the choice itself reaches all of them.
        choices = technology_of(platform).duplicate_register(
            m, to_memory_soon, to_memory, config.rows, name="to_memory"
        )
        shifted: list[Value] = []
        for first in range(0, wide_bits, 8):
            choice = choices[first // 8 % config.rows]
            shifted.append(Mux(choice, whole[first : first + 8], rest[first : first + 8]))
        m.d.comb += writing.data.eq(Cat(*shifted[: config.rows]))
        m.d.sync += [
            rest.eq(Cat(*shifted[config.rows :])),
            rest_address.eq(writing.address + 1),
            extra.eq(Mux(to_memory, words - 1, extra - resting)),
        ]
        with m.If(to_memory):
            m.d.sync += rest_now.eq(now)
        m.d.comb += [
            self.write.eq(writing),
            self.commit.eq((ends_now & now.commit) | (ends_rest & rest_now.commit)),
            self.done.eq((ends_now & now.final) | (ends_rest & rest_now.final)),
        ]
        return m

    def _late(self, m: Module, platform: Any, name: str, delay: int, stages: list[Any]) -> Any:
        """Late fields of the drains, `delay` cycles after the groups that they belong to are at the requantisers.

        They are looked up there, as a shift register for them would be longer than all others together.
        """
        config, latency = self._config, self._config.memory_latency
        layout = Drain.late_layout(config, name)
        memory = LoadableMemory(
            config,
            bits=layout.size,
            first=Drain.late_offset(config, name),
            depth=config.drains,
            init=self._init_drains,
            name=f"drain_{name}",
            latency=latency,
        )
        submodule(m, platform, name, memory, variant=name)
        found = Signal(layout, name=name)
        m.d.comb += [
            memory.write.eq(self.write_drains),
            memory.bus.eq(self.bus),
            memory.address.eq(stages[self.select_delay(config) + delay - latency].place),
            memory.enable.eq(1),
            found.eq(memory.data),
        ]
        return found
