"""The output stage in any cycle: counters from the time since a drain began, pipelines from what entered them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from amaranth.lib import data

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.isa import Destination, Drain, Parameters, Target
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.packets import stored_slice, word_bits
from etchnet.sim.state.events import Events, Head, link_rows
from etchnet.sim.state.issue import Issue
from etchnet.sim.state.memories import DrainMemory, row_words
from etchnet.sim.state.registers import Layout, Register, Rows, delayed, late_rows, memory_read, packed, remembered
from etchnet.sim.state.results import DrainResults
from etchnet.sim.state.scalers import RequantiserState

__all__ = ["OutputState"]


@dataclass(frozen=True)
class _Step:
    """Where the drain at the head of its stream stands in a cycle; all zero while it does not read."""

    head: Head[Drain]
    active: bool = False
    step: int = 0
    row: int = 0
    pixel: int = 0
    tile: int = 0
    lane: int = 0
    lane_offset: int = 0
    word: int = 0


class OutputState:
    """Counters, groups, requantisers, and the words that wait to be written.

    While no drain reads, groups that are not valid go through the pipeline. They hold the fields of the drain that is
    to come, or of a stale one, at its first row. The requantisers then work on what the accumulators' last read gave.
    """

    def __init__(self, events: Events, issue: Issue, results: DrainResults, residual: DrainMemory) -> None:
        self._events, self._issue, self._results, self._residual = events, issue, results, residual
        self.config = config = events.config
        self._widths = {name: shape.width for name, shape in _shapes(config).items()}
        self.group_layout = Layout(OutputStage.group_layout(config))
        self._drain_layout = Layout(Drain.layout(config))
        self.read_layout = Layout(OutputStage.read_layout(config))
        self.fold_layout = Layout(OutputStage.fold_layout(config))
        self.latency, self._select = OutputStage.latency(config), OutputStage.select_delay(config)
        self._result = events.latencies.result
        self.banks: list[Callable[[int], np.ndarray]] = []
        """what the last reads of the banks gave, (cycle) to int32 (columns,): set by who makes the banks"""
        self.step = remembered(self._step)
        self.group = remembered(self._group)
        self.selected = remembered(self._selected)
        self.chosen = remembered(self._chosen)
        drains = events.drains
        every = np.arange(len(drains.begin))
        self._every = every
        self._begun = np.array([i for i in every.tolist() if not drains.instruction(i).chained], dtype=np.int64)
        self._stored = drains.which(lambda d: d.destination != Destination.ACCUMULATORS)
        self._residual_reads = drains.which(lambda d: bool(d.residual))
        self._parameters = events.memories[Target.PARAMETERS]
        n = config.columns // config.groups
        self.requantisers = [RequantiserState(config, self, lane) for lane in range(n)]
        # In which cycle the half that each repeat commits is counted.
        last = events.first_drain + np.array(
            [len(events.programs[run].drains) - 1 for run, _ in events.repeats], dtype=np.int64
        )
        self._commits = np.array([self._last_write(int(i)) for i in last], dtype=np.int64) + events.latencies.commit

    # Drains

    def shape(self, index: int) -> tuple[int, int]:
        """Cycles per row of an executed drain, and its rows."""
        program, number = self._events.drains.program(index), int(self._events.drains.number[index])
        return int(program.pace[number]), int(program.count[number])

    def _last_write(self, index: int) -> int:
        drains = self._events.drains
        pace, count = self.shape(index)
        size = self.config.words_per_pixel(wide=drains.instruction(index).wide)
        return int(drains.begin[index]) + (count - 1) * pace + self.config.groups - 1 + self._result + size - 1

    def _step(self, cycle: int) -> _Step:
        drains, config = self._events.drains, self.config
        head = drains.head(cycle)
        drain = head.instruction
        if head.index < 0 or (age := cycle - int(drains.begin[head.index])) < 0:
            return _Step(head, lane=self._mask("lane", drain.lane))
        row, step = divmod(age, self.shape(head.index)[0])
        tile, pixel = divmod(row, drain.pixels)
        if drain.wide or drain.destination == Destination.ACCUMULATORS:
            word, lane = tile, drain.lane if not tile else 0
        else:
            word, lane = divmod(drain.lane + tile, config.tiles_per_word)
        return _Step(
            head, True, step, row, pixel, tile, lane, self._mask("lane", lane - drain.lane), word * drain.tile_stride
        )

    def _mask(self, name: str, value: int) -> int:
        return value & (1 << self._widths[name]) - 1

    def _idled(self, cycle: int) -> int:
        """How long a chained drain has waited."""
        drains = self._events.drains
        head = drains.head(cycle)
        if head.index < 1 or not head.instruction.chained:
            return 0
        behind = int(drains.end[head.index - 1])
        waited = cycle - behind - 1
        return waited if 0 <= waited <= head.instruction.idle else 0

    def _group(self, cycle: int) -> int:
        """The group that enters the pipeline in a cycle."""
        now, groups = self.step(cycle), self.config.groups
        drain = now.head.instruction
        valid = now.active and now.step < groups
        return self.group_layout.pack(
            valid=valid,
            index=now.step,
            row_done=valid and now.step == groups - 1,
            drain_done=now.pixel == drain.pixels - 1 and now.tile == drain.tiles - 1,
            final=now.head.final,
            commit=drain.commit,
            raw=drain.raw,
            wide=drain.wide,
            destination=drain.destination,
            bank=drain.into,
            fold=drain.fold,
            lane=0 if drain.wide else now.lane,
            address=drain.address + now.word + now.pixel * drain.stride,
            place=now.head.place,
        )

    def late(self, cycle: int, delay: int, name: str) -> int:
        """A late field of the drain whose group was at the requantisers `delay` cycles ago."""
        word = delayed(lambda t: self._late_word(t, delay), self.config.memory_latency - 1)(cycle)
        return self._drain_layout.get(word, name)

    def _late_word(self, cycle: int, delay: int) -> int:
        """A drain as its memory gave it a cycle ago."""
        if cycle < 1:
            return 0
        place = self.field(cycle - 1, self._select + delay - self.config.memory_latency, "place")
        return self._events.memories[Target.DRAINS].word(place, cycle - 1)

    def _late_memories(self) -> Iterator[tuple[str, int, int, int]]:
        """Of each memory of late fields the name, its first bit of a drain, how many, and when it is read."""
        for name, delay in OutputStage.late_delays(self.config).items():
            bits, first = Drain.late_layout(self.config, name).size, Drain.late_offset(self.config, name)
            held = stored_slice(self.config, first=first, bits=bits)
            yield name, held.first, held.bits, delay

    def stage(self, cycle: int, stage: int) -> int:
        """A group some stages into the pipeline."""
        return self.group(cycle - stage) if cycle >= stage else 0

    def field(self, cycle: int, stage: int, name: str) -> int:
        """One field of a group some stages into the pipeline."""
        return self.group_layout.get(self.stage(cycle, stage), name)

    def read(self, cycle: int) -> int:
        """The read that a cycle asks for, valid or not."""
        now = self.step(cycle)
        drain = now.head.instruction
        return self.read_layout.pack(
            valid=now.active and now.step < self.config.groups,
            residual=drain.residual,
            bank=drain.bank,
            row=drain.row + now.row,
        )

    def last_read(self, cycle: int, wanted: np.ndarray, *, behind: int = 0) -> int:
        """The last cycle up to `cycle` in which one of some drains reads; a large negative number if there is none.

        With `behind`, the last cycle `behind` a row's first, for the step that it is.
        """
        index = self._events.drains.last(cycle, wanted, behind=behind)
        if index < 0:
            return -(1 << 40)
        pace, count = self.shape(index)
        begin = int(self._events.drains.begin[index])
        age = min(cycle - begin, count * pace - 1)
        step = age % pace
        if not behind:
            return begin + age - max(0, step - self.config.groups + 1)
        return begin + age - (step - behind) % pace

    def fold(self, cycle: int) -> int:
        """The accumulator row that a drain names in a cycle."""
        early = self.stage(cycle, self._events.latencies.feedback)
        get = self.group_layout.get
        return self.fold_layout.pack(
            valid=get(early, "row_done") and get(early, "destination") == Destination.ACCUMULATORS,
            bank=get(early, "bank"),
            row=get(early, "address"),
            fold=get(early, "fold"),
        )

    # Read and select

    def _selected(self, cycle: int) -> list[int]:
        """The accumulators of a group, one for each requantiser."""
        config = self.config
        n = config.columns // config.groups
        if cycle < 1:
            return [0] * n
        now = cycle - 1
        latency = AccumulatorBank.read_latency(config)
        read = self.read(now - latency) if now >= latency else 0
        if config.residual_words and self.read_layout.get(read, "residual"):
            word = delayed(self._residual_data, latency - 1)(now) & (1 << 8 * config.columns) - 1
            row = np.frombuffer(word.to_bytes(config.columns, "little"), np.int8).astype(np.int32)
        else:
            row = self.banks[self.read_layout.get(read, "bank")](now)
        first = n * self.field(now, latency, "index")
        # Behind the last group there is nothing but zeros.
        return [int(v) for v in row[first : first + n]] if first < config.columns else [0] * n

    def _residual_data(self, cycle: int) -> int:
        read = self.last_read(cycle - 1, self._residual_reads)
        if read < 0:
            return 0
        bits = self.config.address_bits(max(1, self.config.residual_words))
        return self._residual.word(self.read_layout.get(self.read(read), "row") & (1 << bits) - 1, read)

    def _parameter_data(self, cycle: int) -> int:
        read = self.last_read(cycle - 1, self._every)
        if read < 0:
            return 0
        now = self.step(read)
        drain = now.head.instruction
        tile = 0 if drain.shared else now.tile * self.config.groups
        bits = self.config.address_bits(self.config.parameter_words)
        return self._parameters.word(drain.parameters + tile + now.step & (1 << bits) - 1, read)

    def _chosen(self, cycle: int) -> int:
        layout = Parameters.layout(self.config)
        n = self.config.columns // self.config.groups
        return delayed(self._parameter_data, self._select - 1)(cycle) & (1 << layout.size * n) - 1

    def lane(self, cycle: int, lane: int) -> tuple[int, int]:
        """The accumulator and the parameters of a requantiser."""
        size = Parameters.layout(self.config).size
        return self.selected(cycle)[lane], self.chosen(cycle) >> lane * size & (1 << size) - 1

    # Collect and write

    def _held(self, group: int, cycle: int) -> np.ndarray:
        """The results of one group of the row that is being collected, int32 (n,)."""
        n = self.config.columns // self.config.groups
        drains = self._events.drains
        asked = cycle - 1 - self.latency
        index = drains.last(asked, self._every, behind=group)
        if index < 0:
            return np.zeros(n, np.int32)
        pace, count = self.shape(index)
        age = min(asked - int(drains.begin[index]), count * pace - 1)
        row = (age - (age - group) % pace) // pace
        return self._results.of(index)[row, group * n : (group + 1) * n]

    def row_values(self, cycle: int) -> np.ndarray:
        """A row as it is collected, its last group straight from the requantisers: int32 (columns,)."""
        held = [self._held(group, cycle) for group in range(self.config.groups - 1)]
        now = np.array([r.result(cycle) for r in self.requantisers], dtype=np.int64).astype(np.int32)
        return np.concatenate([*held, now])

    def _collected(self, cycle: int) -> tuple[int, int, int, int] | None:
        """Of the last row that went to a memory before a cycle: cycle, drain, row, and words that have followed."""
        groups, drains = self.config.groups, self._events.drains
        asked = cycle - 1 - self.latency
        index = drains.last(asked, self._stored, behind=groups - 1)
        if index < 0:
            return None
        pace, count = self.shape(index)
        begin = int(drains.begin[index])
        age = min(asked - begin, count * pace - 1)
        age -= (age - (groups - 1)) % pace
        size = self.config.words_per_pixel(wide=drains.instruction(index).wide)
        done = begin + age + self.latency
        return done, index, age // pace, min(cycle - 1 - done, size - 1)

    def _rest(self, cycle: int) -> int:
        """The words of a row that are still to be written; they move on in every cycle."""
        if (last := self._collected(cycle)) is None:
            return 0
        done, index, row, _ = last
        wide = self._events.drains.instruction(index).wide
        whole = row_words(self._results.of(index)[row], wide=wide, tiles_per_word=self.config.tiles_per_word)
        return whole >> 8 * self.config.rows * (cycle - done)

    def _rest_now(self, cycle: int) -> int:
        last = self._collected(cycle)
        return self.group(last[0] - self.latency) if last else 0

    def _rest_address(self, cycle: int) -> int:
        if (last := self._collected(cycle)) is None:
            return self._mask("address", cycle)
        address = self.group_layout.get(self.group(last[0] - self.latency), "address")
        return self._mask("address", address + cycle - last[0])

    def _extra(self, cycle: int) -> int:
        if (last := self._collected(cycle)) is None:
            return 0
        return self.config.words_per_pixel(wide=self._events.drains.instruction(last[1]).wide) - 1 - last[3]

    # Names

    def registers(self) -> dict[str, Register]:
        """By name."""
        config, widths, issue = self.config, self._widths, self._issue
        found: dict[str, Register] = {}

        def counter(name: str, width: int, value: Callable[[_Step], int]) -> None:
            found[f"output.{name}"] = Register(lambda t: value(self.step(t)) & (1 << width) - 1, width)

        counter("active", 1, lambda s: int(s.active))
        counter("step", config.drain_cycles_per_row(wide=True).bit_length(), lambda s: s.step)
        counter("row", widths["row"], lambda s: s.row)
        counter("pixel", widths["pixels"], lambda s: s.pixel)
        counter("tile", widths["tiles"], lambda s: s.tile)
        counter("parameter", widths["parameters"], lambda s: 0 if s.head.instruction.shared else s.tile * config.groups)
        counter("word", widths["address"], lambda s: s.word)
        counter("pixel_word", widths["address"], lambda s: s.pixel * s.head.instruction.stride)
        counter("lane_offset", widths["lane"], lambda s: s.lane_offset)
        found["output.idled"] = Register(self._idled, widths["idle"])
        for stage in range(1, OutputStage.start_delay(config)):
            for name, field in (("start", "release"), ("start_last", "release_last")):
                found[f"output.{name}_{stage}"] = Register(
                    delayed(lambda t, f=field: issue.fold_layout.get(issue.fold(t), f), issue.fold_delay + stage), 1
                )
        found["output.reading_last"] = Register(self._reading_last, 1)
        group = self.group_layout
        for stage in range(1, self.latency + 1):
            found[f"output.group_{stage}"] = Register(delayed(self.group, stage), group.width, layout=group)
            found[f"output.live_{stage}"] = Register(delayed(self._live, stage), 2)
        n = config.columns // config.groups
        found["output.selected"] = Register(lambda t: packed(np.array(self.selected(t)).astype(np.int32)), 32 * n)
        found["output.chosen"] = Register(self.chosen, Parameters.layout(config).size * n)
        read = AccumulatorBank.read_latency(config)
        found |= memory_read("output.parameters.memory", self._parameter_data, self._parameter_bits, read)
        for name, first, bits, delay in self._late_memories():
            found |= memory_read(
                f"output.{name}.memory",
                lambda t, f=first, b=bits, d=delay: self._late_word(t, d) >> f & (1 << b) - 1,
                bits,
                config.memory_latency,
            )
        for index in range(config.groups - 1):
            found[f"output.held_{index}"] = Register(lambda t, i=index: packed(self._held(i, t)), 32 * n)
        rest = max(1, 8 * config.rows * (config.words_per_pixel(wide=True) - 1))
        found["output.rest"] = Register(lambda t: self._rest(t) & (1 << rest) - 1, rest)
        found["output.rest_now"] = Register(self._rest_now, group.width, layout=group)
        found["output.rest_address"] = Register(self._rest_address, widths["address"])
        found["output.extra"] = Register(self._extra, config.words_per_pixel(wide=True).bit_length())
        for lane, requantiser in enumerate(self.requantisers):
            for name, register in requantiser.registers().items():
                found[f"output.requantiser_{lane}.{name}"] = register
        found.update(self._outside())
        return found

    def _outside(self) -> dict[str, Register]:
        """Registers beside the output stage that follow it."""
        found = {
            "write_half": Register(lambda t: self._committed(t) & 1, 1),
        }
        read = AccumulatorBank.read_latency(self.config)
        for stage in range(1, read + 1):
            found[f"feedback_{stage}"] = Register(
                delayed(self.fold, stage), self.fold_layout.width, layout=self.fold_layout
            )
            found[f"drain_read_{stage}"] = Register(
                delayed(self.read, stage), self.read_layout.width, layout=self.read_layout
            )
        for half in range(2):
            found[f"words_{half}"] = Register(
                lambda t, h=half: self._words(h, t), self.config.output_words.bit_length()
            )
        if self.config.residual_words:
            found |= memory_read("residual", self._residual_data, 8 * self.config.rows, read)
        return found

    def memories(self) -> dict[str, Rows]:
        """By name."""
        rows = Rows(self._parameters.word, self.config.parameter_words, self._parameter_bits)
        found = {"output.parameters.memory.memory": late_rows(rows, AccumulatorBank.read_latency(self.config))}
        for name, first, bits, _ in self._late_memories():
            rows = link_rows(self._events.memories[Target.DRAINS], first, bits, self.config.drains)
            found[f"output.{name}.memory.memory"] = late_rows(rows, self.config.memory_latency)
        return found

    @property
    def _parameter_bits(self) -> int:
        """Bits of a word of the parameter memory."""
        return stored_slice(self.config, bits=word_bits(Target.PARAMETERS, self.config)).bits

    def _live(self, cycle: int) -> int:
        """Whether there is a group, and above it whether it is the last of its row."""
        group = self.group(cycle)
        return self.group_layout.get(group, "valid") | self.group_layout.get(group, "row_done") << 1

    def _reading_last(self, cycle: int) -> int:
        """Whether the last drain that a pass started was started by the last pass of a run."""
        index = self._events.drains.last(cycle, self._begun)
        if index < 0:
            return 0
        drains = self._events.drains
        program, number = drains.program(index), int(drains.number[index])
        last = self._events.last_repeat[int(drains.run[index])] == drains.repeat[index]
        return int(bool(last) and program.releasing[number] == len(program.passes) - 1)

    def _committed(self, cycle: int) -> int:
        """How many halves of the output memory were committed before a cycle."""
        return int(np.searchsorted(self._commits, cycle))

    def _words(self, half: int, cycle: int) -> int:
        """Words of the last half of this number that was committed."""
        repeat = self._committed(cycle) - 1
        repeat -= (repeat ^ half) & 1
        if repeat < 0:
            return 0
        return int(self._events.runs[self._events.repeats[repeat][0]].command.output_words)


def _shapes(config: Config) -> dict[str, data.Field]:
    return {str(name): field for name, field in Drain.layout(config)}
