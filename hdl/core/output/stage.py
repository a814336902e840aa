"""The output stage: drains accumulator rows through the requantisers and writes the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay_line
from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.loadable_memory import load_bus
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.core.output.operands import OperandSelect
from etchnet.hdl.core.output.requantiser_bank import RequantiserBank
from etchnet.hdl.core.output.row_collector import RowCollector
from etchnet.hdl.core.output.row_writer import RowWriter
from etchnet.hdl.isa import Destination, Drain, Fold
from etchnet.hdl.isa.config import Config

__all__ = ["OutputStage"]


class OutputStage(wiring.Component):
    """Executes drains: reads rows, requantises them, and writes the results to a memory or to the accumulators.

    The parts, in the order in which data flow: `DrainWalk` decides, `OperandSelect` reads, `RequantiserBank` computes,
    `RowCollector` and `RowWriter` write. A group of `requantisers` results takes `latency` cycles from the read of its
    row to the write of the row's first word; a row takes max(groups, memory words per row) cycles, and follows the
    previous row without a gap. There is no flow control: drains must not overlap, which the program's idle cycles
    ensure.

    ================  =========  =============================  =====================================================
    port              direction  shape                          meaning
    ================  =========  =============================  =====================================================
    write_parameters  in         1                              `bus` carries parameters
    write_drains      in         1                              `bus` carries drains
    bus               in         `load_bus`                     from the loader
    start             in         1                              begin the next drain; see `DrainWalk`
    start_last        in         1                              with `start`: the last pass of a run begins it
    drains            in         stream of `InstructionMemory`  the drains in order
    read              out        `DrainWalk.read_layout`        a row to read
    accumulators      in         `columns` x signed(32)         that row, `AccumulatorBank.read_latency` cycles later
    fold              out        `fold_layout`                  accumulator row that takes the results, if any
    values            out        `columns` x signed(32)         these results, `read_latency` cycles after `fold`
    write             out        `RowWriter.write_layout`       a memory word to write
    commit            out        1                              the last write of a drain with `commit`
    reading_last      out        1                              a drain that `start_last` began is reading
    done              out        1                              the last write of a run
    ================  =========  =============================  =====================================================

    Parameters
    ----------
    config
        The machine.
    parameters, drains
        Initial words of the memories of parameters and of drains.
    """

    def __init__(self, config: Config, *, parameters: Sequence[int] = (), drains: Sequence[int] = ()) -> None:
        self._config = config
        self.walk = DrainWalk(config)
        self.operands = OperandSelect(config, init=parameters)
        self.requantisers = RequantiserBank(config, init=drains)
        self.collector = RowCollector(config)
        self.writer = RowWriter(config)
        derived = DrainWalk.derived_layout(config)
        super().__init__(
            {
                "write_parameters": In(1),
                "write_drains": In(1),
                "bus": In(load_bus(config)),
                "start": In(1),
                "start_last": In(1),
                "drains": In(InstructionMemory.stream_of(Drain, config, config.drains, derived)),
                "read": Out(DrainWalk.read_layout(config)),
                "accumulators": In(data.ArrayLayout(signed(32), config.columns)),
                "fold": Out(self.fold_layout(config)),
                "values": Out(data.ArrayLayout(signed(32), config.columns)),
                "write": Out(RowWriter.write_layout(config)),
                "commit": Out(1),
                "reading_last": Out(1),
                "done": Out(1),
            }
        )

    @staticmethod
    def fold_layout(config: Config) -> data.StructLayout:
        """Return the layout of an accumulator row that takes results, and how it folds them."""
        row = unsigned(config.address_bits(config.accumulator_rows))
        return data.StructLayout({"valid": unsigned(1), "bank": unsigned(1), "row": row, "fold": Fold})

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from the last read of a row to the write of its first word."""
        return OperandSelect.latency(config) + RequantiserBank.latency(config)

    @staticmethod
    def fold_latency(config: Config) -> int:
        """Return the cycles from the last read of a row to the naming of the accumulator row that takes its results."""
        return OutputStage.latency(config) - AccumulatorBank.read_latency(config)

    def elaborate(self, platform: Any) -> Module:
        """Connect the parts, each to the group at its stage of the pipeline."""
        m = Module()
        config, latency = self._config, self.latency(self._config)
        walk, operands, requantisers = self.walk, self.operands, self.requantisers
        for name in ("walk", "operands", "requantisers", "collector", "writer"):
            submodule(m, platform, name, getattr(self, name))

        wiring.connect(m, wiring.flipped(self.drains), walk.drains)
        m.d.comb += [
            walk.start.eq(self.start),
            walk.start_last.eq(self.start_last),
            self.read.eq(walk.read),
            self.reading_last.eq(walk.reading_last),
        ]
        # Every stage of the pipeline carries the description of its group. Only `valid` and `row_done` take effect on
        # their own, so a reset clears `live` alone.
        groups = delay_line(m, walk.group, latency, name="group", resets=False)
        live = delay_line(m, Cat(walk.group.valid, walk.group.row_done), latency, name="live")

        select = OperandSelect.latency(config)
        m.d.comb += [
            operands.write.eq(self.write_parameters),
            operands.bus.eq(self.bus),
            operands.enable.eq(walk.read.valid),
            operands.word.eq(walk.parameter_word),
            operands.accumulators.eq(self.accumulators),
            operands.index_soon.eq(groups[select - 2].index),
            operands.index.eq(groups[select - 1].index),
            requantisers.write.eq(self.write_drains),
            requantisers.bus.eq(self.bus),
            requantisers.values.eq(operands.values),
            requantisers.parameters.eq(operands.parameters),
            requantisers.raw.eq(groups[select].raw),
        ]
        for memory, delay in RequantiserBank.late_delays(config).items():
            m.d.comb += requantisers.places[memory].eq(groups[select + delay - config.memory_latency].place)

        early, (_, row_done) = groups[self.fold_latency(config)], live[self.fold_latency(config)]
        m.d.comb += [
            self.collector.valid.eq(live[latency][0]),
            self.collector.index.eq(groups[latency].index),
            self.collector.results.eq(requantisers.results),
            self.values.eq(self.collector.row),
            self.fold.valid.eq(row_done & (early.destination == Destination.ACCUMULATORS)),
            self.fold.bank.eq(early.bank),
            self.fold.row.eq(early.address),
            self.fold.fold.eq(early.fold),
            self.writer.soon.eq(groups[latency - 1]),
            self.writer.row_soon.eq(live[latency - 1][1]),
            self.writer.now.eq(groups[latency]),
            self.writer.row.eq(self.collector.row),
            self.write.eq(self.writer.write),
            self.commit.eq(self.writer.commit),
            self.done.eq(self.writer.done),
        ]
        return m
