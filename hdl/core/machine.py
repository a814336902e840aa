"""The whole machine, between two links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay, delay_line
from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.blocks.semaphore import Semaphore
from etchnet.hdl.blocks.technology import technology_of
from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.array.array import SystolicArray
from etchnet.hdl.core.array.weights import WeightMemory
from etchnet.hdl.core.control.counters import Counters
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.control.loader import Loader
from etchnet.hdl.core.control.sender import Sender
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.core.loadable_memory import LoadableMemory
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.isa import COUNTER_BITS, Counter, Drain, Pass, Source, Target
from etchnet.hdl.isa.config import Config

__all__ = ["WEIGHT_TOKENS", "Machine"]

WEIGHT_TOKENS = 255
"""committed weights packets, and released weights, that may be waiting at once"""
_TOKENS = {
    "input_free": (2, 2),
    "input_full": (0, 2),
    "output_free": (2, 2),
    "output_full": (0, 2),
    "weights_free": (0, WEIGHT_TOKENS),
    "weights_full": (0, WEIGHT_TOKENS),
}
"""how many of each there are after reset, and at most"""


class Machine(wiring.Component):
    """Memories, sequencer, array, accumulators, output stage and both links of one machine.

    Ports: `link_in` and `link_out`, streams of `link_bits`; see `Loader` and `Sender` for what they carry; and, where
    it is asked for, `status`. All timing of a run follows from the static methods below, which add up what the parts
    say of themselves.

    Parameters
    ----------
    config
        The machine.
    init
        Initial contents of its memories, as whole numbers per memory word: of `Target.PASSES`, `Target.DRAINS`,
        `Target.PARAMETERS` and `Target.WEIGHTS`, each optional.
    status
        Whether it has the port `status`, for wrappers that show how the machine is; see `status_layout`.
    """

    def __init__(
        self, config: Config, *, init: Mapping[Target, Sequence[int]] | None = None, status: bool = False
    ) -> None:
        self._config, self.has_status = config, status
        init = init or {}
        self.passes = InstructionMemory(
            Pass,
            config,
            depth=config.passes,
            init=init.get(Target.PASSES, ()),
            derived=Sequencer.derived_layout(config),
            derive=Sequencer.derive,
            reset=Sequencer.derived_reset(config),
        )
        self.drains = InstructionMemory(
            Drain,
            config,
            depth=config.drains,
            init=init.get(Target.DRAINS, ()),
            derived=DrainWalk.derived_layout(config),
            derive=partial(DrainWalk.derive, config),
            reset=DrainWalk.derived_reset(config),
        )
        self.sequencer = Sequencer(config)
        self.input = LoadableMemory(
            config, bits=8 * config.rows, depth=2 * config.input_words, name="input", latency=config.memory_latency
        )
        self.weights = WeightMemory(config, init=init.get(Target.WEIGHTS, ()))
        self.array = SystolicArray(config)
        self.banks = [AccumulatorBank(config) for _ in range(2)]
        self.output = OutputStage(
            config, parameters=init.get(Target.PARAMETERS, ()), drains=init.get(Target.DRAINS, ())
        )
        self.loader = Loader(config)
        self.sender = Sender(config)
        self.counters = Counters(config)
        super().__init__(
            {
                "link_in": In(stream.Signature(config.link_bits)),
                "link_out": Out(stream.Signature(config.link_bits)),
                **({"status": Out(self.status_layout())} if status else {}),
            }
        )

    @staticmethod
    def status_layout() -> data.StructLayout:
        """How the machine is in this cycle: nothing of it depends on its inputs in the same cycle.

        Runs and `COUNTERS` packets that go on or wait; `run_done` with the last write of a run; `last` and `answer`
        of the word on `link_out`: that it is the last of a half of the output memory or of the counters, and that it
        is one of the counters; the tokens that there are; and all counters.
        """
        return data.StructLayout(
            {
                **{name: unsigned(1) for name in ("running", "run_pending", "run_done", "counters_pending")},
                **{name: unsigned(1) for name in ("last", "answer")},
                **{name: unsigned(maximum.bit_length()) for name, (_, maximum) in _TOKENS.items()},
                "counters": data.ArrayLayout(unsigned(COUNTER_BITS), len(Counter)),
            }
        )

    @property
    def config(self) -> Config:
        """The machine's parameters."""
        return self._config

    @staticmethod
    def read_latency(config: Config) -> int:
        """Cycles from the issue of a pixel to its word at the array: read, then select."""
        return config.memory_latency + 1

    @staticmethod
    def commit_delay(config: Config) -> int:
        """Cycles from the write of a half's last word to its token: what is written waits as at the other memories."""
        return Ram.waits_of(config.memory_latency)

    @staticmethod
    def fold_delay(config: Config) -> int:
        """Cycles from the issue of a pixel to the naming of its accumulator row, read by when its sums arrive."""
        return Machine.read_latency(config) + SystolicArray.latency(config) - AccumulatorBank.read_latency(config)

    @staticmethod
    def fold_visible(config: Config) -> int:
        """Cycles from the issue of a pixel until its accumulator row can be named again."""
        return Machine.fold_delay(config) + AccumulatorBank.latency(config) + 1

    @staticmethod
    def drain_delay(config: Config) -> int:
        """Cycles from the issue of a releasing pass's last pixel to the first read of its drain."""
        return Machine.fold_delay(config) + DrainWalk.start_delay(config)

    def elaborate(self, platform: Any) -> Module:
        """Connect the parts, in the order in which data flow."""
        m = Module()
        config = self._config
        submodule(m, platform, "passes", self.passes, variant="passes")
        submodule(m, platform, "drains", self.drains, variant="drains")
        submodule(m, platform, "input", self.input, variant="input")
        for name in ("sequencer", "weights", "array", "output", "loader", "sender", "counters"):
            submodule(m, platform, name, getattr(self, name))
        for index, bank in enumerate(self.banks):
            submodule(m, platform, f"bank_{index}", bank)
        sequencer, output, loader, sender = self.sequencer, self.output, self.loader, self.sender

        # Links.
        m.d.comb += [
            loader.link.valid.eq(self.link_in.valid),
            loader.link.payload.eq(self.link_in.payload),
            self.link_in.ready.eq(loader.link.ready),
            self.link_out.valid.eq(sender.link.valid),
            self.link_out.payload.eq(sender.link.payload),
            sender.link.ready.eq(self.link_out.ready),
        ]
        loaded: dict[Target, tuple[Any, str]] = {
            Target.PASSES: (self.passes, "write"),
            Target.DRAINS: (self.drains, "write"),
            Target.PARAMETERS: (output, "write_parameters"),
            Target.WEIGHTS: (self.weights, "write"),
            Target.INPUT: (self.input, "write"),
        }
        for target, (memory, strobe) in loaded.items():
            m.d.comb += [memory.bus.eq(loader.bus), getattr(memory, strobe).eq(loader.writes[target.name])]
        half_bit = config.address_bits(config.input_words)
        m.d.comb += self.input.bus.address.eq(Cat(loader.bus.address[:half_bit], loader.input_half))

        # Tokens: full and free halves of the input and output memories, committed and released weights.
        tokens = {name: Semaphore(initial=initial, maximum=maximum) for name, (initial, maximum) in _TOKENS.items()}
        write, waits = output.write, self.commit_delay(config)
        commit = delay(m, output.commit, waits, name="commit")
        for name, semaphore in tokens.items():
            submodule(m, platform, name, semaphore, variant=semaphore.variant)
        m.d.comb += [
            loader.input_free.eq(tokens["input_free"].available),
            tokens["input_free"].take.eq(loader.input_take),
            tokens["input_full"].put.eq(loader.input_commit),
            sequencer.input_full.eq(tokens["input_full"].available),
            tokens["input_full"].take.eq(sequencer.input_release),
            tokens["input_free"].put.eq(sequencer.input_release),
            sequencer.output_free.eq(tokens["output_free"].available),
            tokens["output_free"].take.eq(sequencer.output_take),
            tokens["output_full"].put.eq(commit),
            sender.full.eq(tokens["output_full"].available),
            tokens["output_full"].take.eq(sender.half_read),
            tokens["output_free"].put.eq(sender.half_sent),
            loader.weights_free.eq(tokens["weights_free"].available),
            tokens["weights_free"].take.eq(loader.weights_take),
            tokens["weights_full"].put.eq(loader.weights_commit),
            sequencer.weights_full.eq(tokens["weights_full"].available),
            tokens["weights_full"].take.eq(sequencer.weights_take),
        ]

        # Runs. Fields of the command stay as they are while a run goes on: the next one waits in the loader.
        start = Signal()
        run = Signal.like(loader.run, reset_less=True)
        command = Signal.like(loader.run)
        m.d.comb += [
            start.eq(loader.run_pending & ~sequencer.running),
            loader.run_taken.eq(start),
            command.eq(Mux(start, loader.run, run)),
            sequencer.start.eq(start),
        ]
        with m.If(start):
            m.d.sync += run.eq(loader.run)
        for memory, first, count in (
            (self.passes, command.first_pass, command.passes),
            (self.drains, command.first_drain, command.drains),
        ):
            m.d.comb += [
                memory.start.eq(start),
                memory.first.eq(first),
                memory.count.eq(count),
                memory.repeats.eq(command.repeats),
            ]
        wiring.connect(m, self.passes.instructions, sequencer.passes)
        wiring.connect(m, self.drains.instructions, output.drains)

        # Pixels: read, select, enter the array. A cycle without a pixel enters zeros.
        word: dict[str, Any] = {"bits": 8 * config.rows, "lanes": config.tiles_per_word}
        activation = Ram(**word, depth=config.activation_words, name="activations", latency=config.memory_latency)
        submodule(m, platform, "activation", activation)
        pixel = sequencer.pixel
        read_pixel = delay(m, pixel, config.memory_latency, name="pixel", resets=False)
        from_input = pixel.source == Source.INPUT
        entering = Signal(8 * config.rows, reset_less=True)
        m.d.comb += [
            activation.address.eq(pixel.address),
            activation.enable.eq(pixel.valid & pixel.inside & ~from_input),
            self.input.address.eq(Cat(pixel.address[:half_bit], pixel.half)),
            self.input.enable.eq(pixel.valid & pixel.inside & from_input),
        ]
        chosen = Mux(read_pixel.source == Source.INPUT, self.input.data, activation.data)
        outside = Cat(read_pixel.pad.as_unsigned()).replicate(config.rows)
        m.d.sync += entering.eq(Mux(read_pixel.valid, Mux(read_pixel.inside, chosen, outside), 0))
        m.d.comb += self.array.activations.eq(entering)
        entered = delay(m, read_pixel, self.read_latency(config) - config.memory_latency, name="entered", resets=False)
        line_delay = Signal(len(self.array.line_delay))
        with m.If(entered.windowed):
            m.d.sync += line_delay.eq(entered.line_delay)
        m.d.comb += [self.array.windowed.eq(entered.windowed), self.array.line_delay.eq(line_delay)]

        # Weights: each tile arrives in the cycle before its first pixel.
        m.d.comb += [
            self.weights.request.eq(sequencer.request),
            self.array.weights.eq(self.weights.weights),
            self.array.load.eq(delay(m, sequencer.request.first, self.read_latency(config) - 1, name="first")),
        ]

        # Sums: folded into the bank that the pass names, or that the output stage names.
        fold = delay(m, sequencer.fold, self.fold_delay(config), name="fold", resets=False)
        # What of it has an effect by itself, and so has to go with a reset.
        issued = sequencer.fold
        effects = Cat(issued.row.valid, issued.release, issued.release_last, issued.release_weights)
        valid, release, release_last, release_weights = delay(m, effects, self.fold_delay(config), name="fold_live")
        technology = technology_of(platform)
        *_, named, fed_back = delay_line(m, output.fold, AccumulatorBank.read_latency(config), name="feedback")
        for index, bank in enumerate(self.banks):
            from_array = valid & (fold.bank == index)
            from_output = output.fold.valid & (output.fold.bank == index)
            from_drain = Signal(name=f"from_drain_{index}")
            m.d.comb += from_drain.eq(fed_back.valid & (fed_back.bank == index))
            feedback = technology.duplicate_register(
                m, named.valid & (named.bank == index), from_drain, config.columns, name=f"feedback_{index}"
            )
            m.d.comb += [
                bank.fold.valid.eq(from_array | from_output),
                bank.fold.row.eq(Mux(from_output, output.fold.row, fold.row.row)),
                bank.fold.fold.eq(Mux(from_output, output.fold.fold, fold.row.fold)),
                bank.fold.held.eq(fold.row.held & ~from_output),
                bank.read.eq(output.read.valid & ~output.read.residual & (output.read.bank == index)),
                bank.read_row.eq(output.read.row),
            ]
            for c in range(config.columns):
                m.d.comb += bank.values[c].eq(Mux(feedback[c], output.values[c], self.array.sums[c]))
        m.d.comb += [
            output.bus.eq(loader.bus),
            output.write_drains.eq(loader.writes[Target.DRAINS.name]),
            output.start.eq(release),
            output.start_last.eq(release_last),
            tokens["weights_free"].put.eq(release_weights),
        ]
        *_, asked, answered = delay_line(m, output.read, AccumulatorBank.read_latency(config), name="drain_read")
        reads = technology.duplicate_register(
            m, Cat(asked.bank, asked.residual), Cat(answered.bank, answered.residual), config.columns, name="drain_read"
        )
        rows = [Mux(reads[c][0], self.banks[1].data[c], self.banks[0].data[c]) for c in range(config.columns)]
        if config.residual_words:
            residual = Ram(
                bits=8 * config.rows,
                depth=config.residual_words,
                name="residual",
                latency=AccumulatorBank.read_latency(config),
            )
            submodule(m, platform, "residual", residual)
            m.d.comb += [
                residual.write_address.eq(output.write.address),
                residual.write_data.eq(output.write.data),
                residual.write_lanes.eq(output.write.residual),
                residual.address.eq(output.read.row),
                residual.enable.eq(output.read.valid & output.read.residual),
            ]
            kept = Signal(data.ArrayLayout(signed(8), config.columns))
            extended = Signal(data.ArrayLayout(signed(32), config.columns))
            m.d.comb += [kept.eq(residual.data), *(extended[c].eq(kept[c]) for c in range(config.columns))]
            rows = [Mux(reads[c][1], extended[c], rows[c]) for c in range(config.columns)]
        m.d.comb += [output.accumulators[c].eq(rows[c]) for c in range(config.columns)]

        # Results.
        results = Ram(**word, depth=2 * config.output_words, name="results")
        submodule(m, platform, "results", results)
        write_half = Signal()
        # A half is sent as the run that committed it says, though another may have begun.
        words = [Signal.like(run.output_words, name=f"words_{half}") for half in range(2)]
        result = delay(m, Cat(write.data, write.address), waits, name="result", resets=False)
        result_lanes = delay(m, write.lanes & write.output.replicate(config.tiles_per_word), waits, name="result_lanes")
        with m.If(commit):
            m.d.sync += write_half.eq(~write_half)
            with m.If(write_half):
                m.d.sync += words[1].eq(run.output_words)
            with m.Else():
                m.d.sync += words[0].eq(run.output_words)
        m.d.comb += sender.words.eq(Mux(sender.address[-1], words[1], words[0]))
        m.d.comb += [
            activation.write_address.eq(output.write.address),
            activation.write_data.eq(output.write.data),
            activation.write_lanes.eq(output.write.lanes & output.write.activation.replicate(config.tiles_per_word)),
            results.write_address.eq(
                Cat(result[len(write.data) :][: config.address_bits(config.output_words)], write_half)
            ),
            results.write_data.eq(result),
            results.write_lanes.eq(result_lanes),
            results.address.eq(sender.address),
            results.enable.eq(sender.enable),
            sender.data.eq(results.data),
        ]

        # The end of a run, and the counters: they leave in the cycle after the one in which all had been done and sent.
        quiet, cleared = Signal(name="quiet", init=1), Signal(name="cleared")
        m.d.sync += [
            quiet.eq(~loader.run_pending & ~sequencer.running & (tokens["output_free"].count == 2)),
            cleared.eq(sender.counters_done),
        ]
        m.d.comb += [
            sequencer.done.eq(output.done),
            sequencer.reading_last.eq(output.reading_last),
            self.counters.increments.CYCLES.eq(sequencer.running),
            self.counters.increments.USEFUL.eq(sequencer.useful),
            *(
                self.counters.increments[name.upper()].eq(sequencer.classes[name])
                for name, _ in sequencer.classes.shape()
            ),
            sender.counters.eq(loader.counters & quiet),
            sender.totals.eq(self.counters.totals),
            self.counters.clear.eq(cleared),
            loader.counters_done.eq(sender.counters_done),
        ]
        if self.has_status:
            m.d.comb += [
                self.status.running.eq(sequencer.running),
                self.status.run_pending.eq(loader.run_pending),
                self.status.run_done.eq(output.done),
                self.status.counters_pending.eq(loader.counters),
                self.status.last.eq(sender.last),
                self.status.answer.eq(sender.counters),
                *(self.status[name].eq(semaphore.count) for name, semaphore in tokens.items()),
                *(self.status.counters[c].eq(self.counters.totals[c]) for c in Counter if c is not Counter.CYCLES),
                self.status.counters[Counter.CYCLES].eq(self.counters.cycles_before),
            ]
        return m
