"""The whole machine, from link to link: its parts and how they are connected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from amaranth.hdl import Cat, Module, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.array.array import SystolicArray
from etchnet.hdl.core.array.pixel_reader import PixelReader
from etchnet.hdl.core.array.weights import WeightMemory
from etchnet.hdl.core.control import pass_lookahead
from etchnet.hdl.core.control.counters import Counters
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.control.loader import Loader
from etchnet.hdl.core.control.runs import Runs
from etchnet.hdl.core.control.sender import Sender
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.core.control.tokens import TOKENS, Tokens
from etchnet.hdl.core.fold_router import FoldRouter
from etchnet.hdl.core.loadable_memory import LoadableMemory
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.core.result_memory import ResultMemory
from etchnet.hdl.core.row_reader import RowReader
from etchnet.hdl.isa import COUNTER_BITS, Counter, Drain, Pass, Target
from etchnet.hdl.isa.config import Config

__all__ = ["Machine"]


class Machine(wiring.Component):
    """Memories, sequencer, array, accumulators, output stage and both links of one machine.

    ========  =========  =====================  ============================================
    port      direction  shape                  meaning
    ========  =========  =====================  ============================================
    link_in   in         stream of `link_bits`  packets; see `Loader`
    link_out  out        stream of `link_bits`  results and counters; see `Sender`
    status    out        `status_layout`        the state of the machine, only with `status`
    ========  =========  =====================  ============================================

    The timing of a run follows from the latencies below, which are sums of the latencies of the parts.

    Parameters
    ----------
    config
        Parameters of the machine.
    init
        Initial contents of the memories of `Target.PASSES`, `Target.DRAINS`, `Target.PARAMETERS` and `Target.WEIGHTS`,
        each optional: one whole number per memory word.
    status
        Whether to add the port `status`, for wrappers that show the state of the machine.
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
            derived=pass_lookahead.layout(config),
            derive=pass_lookahead.derive,
            reset=pass_lookahead.reset(config),
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
        lanes = config.tiles_per_word
        self.activation = Ram(
            bits=8 * config.rows,
            depth=config.activation_words,
            lanes=lanes,
            name="activations",
            latency=config.memory_latency,
        )
        self.pixel_reader = PixelReader(config)
        self.weights = WeightMemory(config, init=init.get(Target.WEIGHTS, ()))
        self.array = SystolicArray(config)
        self.fold_router = FoldRouter(config)
        self.banks = [AccumulatorBank(config) for _ in range(2)]
        self.row_reader = RowReader(config)
        self.residual = None
        if config.residual_words:
            self.residual = Ram(
                bits=8 * config.rows, depth=config.residual_words, name="residual", latency=RowReader.latency(config)
            )
        self.output = OutputStage(
            config, parameters=init.get(Target.PARAMETERS, ()), drains=init.get(Target.DRAINS, ())
        )
        self.results = ResultMemory(config)
        self.loader = Loader(config)
        self.sender = Sender(config)
        self.tokens = Tokens()
        self.runs = Runs(config)
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
        """Return the layout of the machine's state, which does not depend on its inputs in the same cycle.

        `running`, `run_pending` and `counters_pending`: a run is in progress, a run waits, a `COUNTERS` packet waits.
        `run_done`: the last result of a run is written. `answer`: the word on `link_out` belongs to the counters.
        `last`: it is the last of the counters or of a half of the output memory. The other fields are the count of
        every token, and all counters.
        """
        return data.StructLayout(
            {
                **{name: unsigned(1) for name in ("running", "run_pending", "run_done", "counters_pending")},
                **{name: unsigned(1) for name in ("last", "answer")},
                **{name: unsigned(maximum.bit_length()) for name, (_, maximum) in TOKENS.items()},
                "counters": data.ArrayLayout(unsigned(COUNTER_BITS), len(Counter)),
            }
        )

    @property
    def config(self) -> Config:
        """The machine's parameters."""
        return self._config

    @staticmethod
    def read_latency(config: Config) -> int:
        """Return the cycles from the issue of a pixel to its vector at the array."""
        return PixelReader.latency(config)

    @staticmethod
    def commit_delay(config: Config) -> int:
        """Return the cycles from the output stage's last write of a half to the half's token."""
        return ResultMemory.commit_delay(config)

    @staticmethod
    def fold_delay(config: Config) -> int:
        """Return the cycles from the issue of a pixel to the naming of its accumulator row."""
        return FoldRouter.delay(config)

    @staticmethod
    def fold_visible(config: Config) -> int:
        """Return the cycles from the issue of a pixel until its accumulator row may be named again."""
        return Machine.fold_delay(config) + AccumulatorBank.latency(config) + 1

    @staticmethod
    def drain_delay(config: Config) -> int:
        """Return the cycles from the issue of a releasing pass's last pixel to the first read of its drain."""
        return Machine.fold_delay(config) + DrainWalk.start_delay(config)

    def elaborate(self, platform: Any) -> Module:
        """Add the parts and connect them, in the order in which data flow."""
        m = Module()
        self._add_parts(m, platform)
        self._connect_links(m)
        self._connect_loaded_memories(m)
        self._connect_tokens(m)
        self._connect_runs(m)
        self._connect_array(m)
        self._connect_accumulators(m)
        self._connect_results(m)
        self._connect_counters(m)
        if self.has_status:
            self._connect_status(m)
        return m

    def _add_parts(self, m: Module, platform: Any) -> None:
        """Add all parts as submodules."""
        for name in ("passes", "drains", "input"):
            submodule(m, platform, name, getattr(self, name), variant=name)
        for name in ("sequencer", "weights", "array", "output", "loader", "sender", "counters"):
            submodule(m, platform, name, getattr(self, name))
        for name in ("tokens", "runs", "pixel_reader", "fold_router", "row_reader", "activation", "results"):
            submodule(m, platform, name, getattr(self, name))
        for index, bank in enumerate(self.banks):
            submodule(m, platform, f"bank_{index}", bank)
        if self.residual is not None:
            submodule(m, platform, "residual", self.residual)

    def _connect_links(self, m: Module) -> None:
        """Connect the loader and the sender to the links."""
        wiring.connect(m, wiring.flipped(self.link_in), self.loader.link)
        wiring.connect(m, self.sender.link, wiring.flipped(self.link_out))

    def _connect_loaded_memories(self, m: Module) -> None:
        """Connect every loaded memory to the loader's bus and to its own write strobe."""
        config, loader, output = self._config, self.loader, self.output
        loaded: dict[Target, tuple[Any, str]] = {
            Target.PASSES: (self.passes, "write"),
            Target.DRAINS: (self.drains, "write"),
            Target.PARAMETERS: (output, "write_parameters"),
            Target.WEIGHTS: (self.weights, "write"),
            Target.INPUT: (self.input, "write"),
        }
        for target, (memory, strobe) in loaded.items():
            m.d.comb += [memory.bus.eq(loader.bus), getattr(memory, strobe).eq(loader.writes[target.name])]
        half_bits = config.address_bits(config.input_words)
        m.d.comb += [
            self.input.bus.address.eq(Cat(loader.bus.address[:half_bits], loader.input_half)),
            output.write_drains.eq(loader.writes[Target.DRAINS.name]),
        ]

    def _connect_tokens(self, m: Module) -> None:
        """Connect every semaphore to the parts that put and take its tokens; see `Tokens`."""
        tokens, loader, sequencer, sender = self.tokens, self.loader, self.sequencer, self.sender
        m.d.comb += [
            loader.input_free.eq(tokens.input_free.available),
            tokens.input_free.take.eq(loader.input_take),
            tokens.input_full.put.eq(loader.input_commit),
            sequencer.input_full.eq(tokens.input_full.available),
            tokens.input_full.take.eq(sequencer.input_release),
            tokens.input_free.put.eq(sequencer.input_release),
            sequencer.output_free.eq(tokens.output_free.available),
            tokens.output_free.take.eq(sequencer.output_take),
            tokens.output_full.put.eq(self.results.committed),
            sender.full.eq(tokens.output_full.available),
            tokens.output_full.take.eq(sender.half_read),
            tokens.output_free.put.eq(sender.half_sent),
            loader.weights_free.eq(tokens.weights_free.available),
            tokens.weights_free.take.eq(loader.weights_take),
            tokens.weights_full.put.eq(loader.weights_commit),
            sequencer.weights_full.eq(tokens.weights_full.available),
            tokens.weights_full.take.eq(sequencer.weights_take),
            tokens.weights_free.put.eq(self.fold_router.release_weights),
        ]

    def _connect_runs(self, m: Module) -> None:
        """Start the sequencer and both program memories in the same cycle, with the same command."""
        runs, sequencer, output = self.runs, self.sequencer, self.output
        m.d.comb += [
            runs.pending.eq(self.loader.run_pending),
            runs.requested.eq(self.loader.run),
            runs.running.eq(sequencer.running),
            runs.unsent.eq(self.tokens.output_free.count != TOKENS["output_free"][0]),
            self.loader.run_taken.eq(runs.start),
            sequencer.start.eq(runs.start),
            sequencer.done.eq(output.done),
            sequencer.reading_last.eq(output.reading_last),
        ]
        for memory, first, count in (
            (self.passes, runs.current.first_pass, runs.current.passes),
            (self.drains, runs.current.first_drain, runs.current.drains),
        ):
            m.d.comb += [
                memory.start.eq(runs.start),
                memory.first.eq(first),
                memory.count.eq(count),
                memory.repeats.eq(runs.current.repeats),
            ]
        wiring.connect(m, self.passes.instructions, sequencer.passes)
        wiring.connect(m, self.drains.instructions, output.drains)

    def _connect_array(self, m: Module) -> None:
        """Feed the array with pixels and weights; a tile arrives in the cycle before its first pixel."""
        reader = self.pixel_reader
        for port, memory in ((reader.input, self.input), (reader.activation, self.activation)):
            m.d.comb += [memory.address.eq(port.address), memory.enable.eq(port.enable), port.data.eq(memory.data)]
        m.d.comb += [
            reader.pixel.eq(self.sequencer.pixel),
            self.weights.request.eq(self.sequencer.request),
            self.array.activations.eq(reader.activations),
            self.array.windowed.eq(reader.windowed),
            self.array.line_delay.eq(reader.line_delay),
            self.array.weights.eq(self.weights.weights),
            self.array.load.eq(self.weights.load),
        ]

    def _connect_accumulators(self, m: Module) -> None:
        """Fold sums and fed-back results into the banks; let the output stage read rows."""
        router, rows, output = self.fold_router, self.row_reader, self.output
        m.d.comb += [
            router.issued.eq(self.sequencer.fold),
            router.sums.eq(self.array.sums),
            router.feedback.eq(output.fold),
            router.results.eq(output.values),
            output.start.eq(router.release),
            output.start_last.eq(router.release_last),
            rows.read.eq(output.read),
            output.accumulators.eq(rows.values),
        ]
        for bank, fold, read in zip(self.banks, router.banks, rows.banks, strict=True):
            m.d.comb += [
                bank.fold.eq(fold.fold),
                bank.values.eq(fold.values),
                bank.read.eq(read.enable),
                bank.read_row.eq(read.address),
                read.data.eq(bank.data),
            ]
        if self.residual is not None:
            m.d.comb += [
                self.residual.address.eq(rows.residual.address),
                self.residual.enable.eq(rows.residual.enable),
                rows.residual.data.eq(self.residual.data),
            ]

    def _connect_results(self, m: Module) -> None:
        """Write results to the activation, residual or output memory; let the sender read the output memory."""
        write, results, sender = self.output.write, self.results, self.sender
        m.d.comb += [
            self.activation.write_address.eq(write.address),
            self.activation.write_data.eq(write.data),
            self.activation.write_lanes.eq(write.lanes & write.activation.replicate(len(write.lanes))),
            results.write.eq(write),
            results.commit.eq(self.output.commit),
            results.output_words.eq(self.runs.held.output_words),
            results.read.address.eq(sender.address),
            results.read.enable.eq(sender.enable),
            sender.data.eq(results.read.data),
            sender.words.eq(results.words),
        ]
        if self.residual is not None:
            m.d.comb += [
                self.residual.write_address.eq(write.address),
                self.residual.write_data.eq(write.data),
                self.residual.write_lanes.eq(write.residual),
            ]

    def _connect_counters(self, m: Module) -> None:
        """Count; send the counters from the cycle after every run has ended and every result has been sent."""
        counters, sequencer, sender = self.counters, self.sequencer, self.sender
        m.d.comb += [
            counters.increments.CYCLES.eq(sequencer.running),
            counters.increments.USEFUL.eq(sequencer.useful),
            *(counters.increments[name.upper()].eq(sequencer.classes[name]) for name, _ in sequencer.classes.shape()),
            sender.counters.eq(self.loader.counters & self.runs.quiet),
            sender.totals.eq(counters.totals),
            counters.clear.eq(sender.counters_done),
            self.loader.counters_done.eq(sender.counters_done),
        ]

    def _connect_status(self, m: Module) -> None:
        """Show the state of the machine."""
        status: Any = self.status
        m.d.comb += [
            status.running.eq(self.sequencer.running),
            status.run_pending.eq(self.loader.run_pending),
            status.run_done.eq(self.output.done),
            status.counters_pending.eq(self.loader.counters),
            status.last.eq(self.sender.last),
            status.answer.eq(self.sender.counters),
            *(status[name].eq(getattr(self.tokens, name).count) for name in TOKENS),
            *(status.counters[c].eq(self.counters.totals[c]) for c in Counter if c is not Counter.CYCLES),
            status.counters[Counter.CYCLES].eq(self.counters.cycles_before),
        ]
