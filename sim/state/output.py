"""The output stage in any cycle: groups from the accumulators through the requantisers to rows of results."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.output.operands import OperandSelect
from etchnet.hdl.core.output.requantiser_bank import RequantiserBank
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.isa import Destination, Drain, Parameters, Target
from etchnet.hdl.isa.packets import stored_slice, word_bits
from etchnet.sim.state.drain_walk import DrainWalkState
from etchnet.sim.state.events import Events
from etchnet.sim.state.issue import Issue
from etchnet.sim.state.link_memory import link_view
from etchnet.sim.state.memories import DrainMemory
from etchnet.sim.state.registers import (
    Layout,
    MemoryView,
    Register,
    cached,
    delayed,
    delayed_view,
    pack_lanes,
    read_registers,
)
from etchnet.sim.state.results import DrainResults
from etchnet.sim.state.row_writer import RowWriterState
from etchnet.sim.state.scalers import RequantiserState

__all__ = ["OutputState"]


class OutputState:
    """The pipeline of the output stage, with the drain's walk before it and the row writer after it.

    Groups that are not valid pass through the pipeline too: the requantisers then process the data of the accumulators'
    latest read.

    Attributes
    ----------
    walk
        The drain's walk.
    banks
        For each accumulator bank, a function from the cycle to its read data, int32 (columns,). It is set once the
        banks exist, because banks and output stage feed each other.
    latency
        Cycles from the last read of a row to the write of its first word.
    """

    def __init__(self, events: Events, issue: Issue, results: DrainResults, residual: DrainMemory) -> None:
        self._events, self._results, self._residual = events, results, residual
        self.config = config = events.config
        self.walk = DrainWalkState(events, issue)
        self._writer = RowWriterState(events, self.walk, results)
        self._drain_layout = Layout(Drain.layout(config))
        self.fold_layout = Layout(OutputStage.fold_layout(config))
        self.latency, self._select = OutputStage.latency(config), OperandSelect.latency(config)
        self._read_latency = AccumulatorBank.read_latency(config)
        self.banks: list[Callable[[int], np.ndarray]] = []
        self.selected = cached(self._selected)
        self.chosen = cached(self._chosen)
        self._all = np.arange(len(events.drains.begin))
        self._residual_drains = events.drains.which(lambda d: bool(d.residual))
        self._parameters = events.memories[Target.PARAMETERS]
        self.requantisers = [RequantiserState(config, self, lane) for lane in range(config.requantisers)]

    # The pipeline of groups

    def group(self, cycle: int, stage: int) -> int:
        """Return the group at a stage of the pipeline, 0 being its entry."""
        return self.walk.group(cycle - stage) if cycle >= stage else 0

    def field(self, cycle: int, stage: int, name: str) -> int:
        """Return one field of the group at a stage of the pipeline."""
        return self.walk.group_layout.get(self.group(cycle, stage), name)

    def fold(self, cycle: int) -> int:
        """Return the accumulator row that a drain presents in a cycle, as `OutputStage.fold_layout`."""
        early, get = self.group(cycle, self._events.latencies.feedback), self.walk.group_layout.get
        return self.fold_layout.pack(
            valid=get(early, "row_done") and get(early, "destination") == Destination.ACCUMULATORS,
            bank=get(early, "bank"),
            row=get(early, "address"),
            fold=get(early, "fold"),
        )

    def _live(self, cycle: int) -> int:
        """Return whether a group is valid, and in bit 1 whether it is the last of its row."""
        group, get = self.walk.group(cycle), self.walk.group_layout.get
        return get(group, "valid") | get(group, "row_done") << 1

    # Operands of the requantisers

    def _selected(self, cycle: int) -> list[int]:
        """Return the accumulators of a group, one for each requantiser."""
        config = self.config
        n, latency = config.requantisers, self._read_latency
        if cycle < 1:
            return [0] * n
        now = cycle - 1
        read = self.walk.read(now - latency) if now >= latency else 0
        if config.residual_words and self.walk.read_layout.get(read, "residual"):
            word = delayed(self._residual_data, latency - 1)(now) & (1 << 8 * config.columns) - 1
            row = np.frombuffer(word.to_bytes(config.columns, "little"), np.int8).astype(np.int32)
        else:
            row = self.banks[self.walk.read_layout.get(read, "bank")](now)
        first = n * self.field(now, latency, "index")
        # The index may exceed the last group: then the selection gives zeros.
        return [int(v) for v in row[first : first + n]] if first < config.columns else [0] * n

    def _residual_data(self, cycle: int) -> int:
        read = self._events.drains.last_read(cycle - 1, self._residual_drains)
        if read < 0:
            return 0
        bits = self.config.address_bits(max(1, self.config.residual_words))
        return self._residual.word(self.walk.read_layout.get(self.walk.read(read), "row") & (1 << bits) - 1, read)

    def _parameter_data(self, cycle: int) -> int:
        read = self._events.drains.last_read(cycle - 1, self._all)
        if read < 0:
            return 0
        now = self.walk.position(read)
        drain = now.head.instruction
        tile = 0 if drain.shared else now.tile * self.config.groups
        bits = self.config.address_bits(self.config.parameter_words)
        return self._parameters.word(drain.parameters + tile + now.step & (1 << bits) - 1, read)

    def _chosen(self, cycle: int) -> int:
        """Return the parameters of a group, the first requantiser's lowest."""
        bits = Parameters.layout(self.config).size * self.config.requantisers
        return delayed(self._parameter_data, self._select - 1)(cycle) & (1 << bits) - 1

    def lane(self, cycle: int, lane: int) -> tuple[int, int]:
        """Return the accumulator and the packed parameters of one requantiser."""
        size = Parameters.layout(self.config).size
        return self.selected(cycle)[lane], self.chosen(cycle) >> lane * size & (1 << size) - 1

    def late(self, cycle: int, delay: int, name: str) -> int:
        """Return a late field of the drain whose group was at the requantisers `delay` cycles before."""
        word = delayed(lambda t: self._late_word(t, delay), self.config.memory_latency - 1)(cycle)
        return self._drain_layout.get(word, name)

    def _late_word(self, cycle: int, delay: int) -> int:
        """Return the drain that a memory of late fields read in the cycle before."""
        if cycle < 1:
            return 0
        address = self.field(cycle - 1, self._select + delay - self.config.memory_latency, "place")
        return self._events.memories[Target.DRAINS].word(address, cycle - 1)

    def _late_memories(self) -> Iterator[tuple[str, int, int, int]]:
        """Yield each memory of late fields: its name, its first bit of a drain, its bits, and its fields' delay."""
        for name, delay in RequantiserBank.late_delays(self.config).items():
            bits, first = Drain.late_layout(self.config, name).size, Drain.late_offset(self.config, name)
            held = stored_slice(self.config, first=first, bits=bits)
            yield name, held.first, held.bits, delay

    # Rows of results

    def _held(self, group: int, cycle: int) -> np.ndarray:
        """Return the results of one group of the row that is being collected, int32 (requantisers,)."""
        n = self.config.requantisers
        drains = self._events.drains
        read = cycle - 1 - self.latency
        index = drains.last(read, self._all, offset=group)
        if index < 0:
            return np.zeros(n, np.int32)
        pace, count = drains.shape(index)
        age = min(read - int(drains.begin[index]), count * pace - 1)
        row = (age - (age - group) % pace) // pace
        return self._results.of(index)[row, group * n : (group + 1) * n]

    def row_values(self, cycle: int) -> np.ndarray:
        """Return a row as it is collected, its last group straight from the requantisers: int32 (columns,)."""
        held = [self._held(group, cycle) for group in range(self.config.groups - 1)]
        now = np.array([r.result(cycle) for r in self.requantisers], dtype=np.int64).astype(np.int32)
        return np.concatenate([*held, now])

    # Names

    def registers(self) -> dict[str, Register]:
        """Return the registers by name."""
        config = self.config
        found = self.walk.registers() | self._writer.registers()
        group = self.walk.group_layout
        for stage in range(1, self.latency + 1):
            found[f"output.group_{stage}"] = Register(delayed(self.walk.group, stage), group.width, layout=group)
            found[f"output.live_{stage}"] = Register(delayed(self._live, stage), 2)
        n, read = config.requantisers, self._read_latency
        found["output.operands.selected"] = Register(
            lambda t: pack_lanes(np.array(self.selected(t)).astype(np.int32)), 32 * n
        )
        found["output.operands.chosen"] = Register(self.chosen, Parameters.layout(config).size * n)
        found |= read_registers(
            "output.operands.parameter_memory.memory", self._parameter_data, self._parameter_bits, read
        )
        for name, first, bits, delay in self._late_memories():
            found |= read_registers(
                f"output.requantisers.{name}.memory",
                lambda t, f=first, b=bits, d=delay: self._late_word(t, d) >> f & (1 << b) - 1,
                bits,
                config.memory_latency,
            )
        for index in range(config.groups - 1):
            found[f"output.collector.held_{index}"] = Register(lambda t, i=index: pack_lanes(self._held(i, t)), 32 * n)
        for lane, requantiser in enumerate(self.requantisers):
            for name, register in requantiser.registers().items():
                found[f"output.requantisers.requantiser_{lane}.{name}"] = register
        # The machine's delay lines of the stage's ports.
        fold, reads = self.fold_layout, self.walk.read_layout
        for stage in range(1, read + 1):
            found[f"fold_router.feedback_{stage}"] = Register(delayed(self.fold, stage), fold.width, layout=fold)
            found[f"row_reader.drain_read_{stage}"] = Register(
                delayed(self.walk.read, stage), reads.width, layout=reads
            )
        if config.residual_words:
            found |= read_registers("residual", self._residual_data, 8 * config.rows, read)
        return found

    def memories(self) -> dict[str, MemoryView]:
        """Return the memories by name."""
        view = MemoryView(self._parameters.word, self.config.parameter_words, self._parameter_bits)
        found = {"output.operands.parameter_memory.memory.memory": delayed_view(view, self._read_latency)}
        for name, first, bits, _ in self._late_memories():
            view = link_view(self._events.memories[Target.DRAINS], first, bits, self.config.drains)
            found[f"output.requantisers.{name}.memory.memory"] = delayed_view(view, self.config.memory_latency)
        return found

    @property
    def _parameter_bits(self) -> int:
        """Bits of a word of the parameter memory."""
        return stored_slice(self.config, bits=word_bits(Target.PARAMETERS, self.config)).bits
