"""The walk of a drain in any cycle: counters are quotients and remainders of the time since it began."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.isa import Destination, Drain
from etchnet.sim.state.events import Events, Head
from etchnet.sim.state.issue import Issue
from etchnet.sim.state.registers import Layout, Register, cached, delayed

__all__ = ["DrainWalkState", "WalkPosition"]


@dataclass(frozen=True)
class WalkPosition:
    """The position of the drain at the head of its stream; all zero while it does not read."""

    head: Head[Drain]
    active: bool = False
    step: int = 0
    """cycle within the row"""
    row: int = 0
    pixel: int = 0
    tile: int = 0
    lane: int = 0
    """lane of the word that takes the column tile"""
    lane_offset: int = 0
    """`lane` less the drain's first lane, modulo the range of the register"""
    word: int = 0
    """memory words from the drain's address to the column tile's first"""


class DrainWalkState:
    """The drain that reads in a cycle, its position, and the reads and groups that follow from it.

    While no drain reads, the groups that enter the pipeline are not valid. They hold the fields of the next drain, or
    of a stale one, at its first row.
    """

    def __init__(self, events: Events, issue: Issue) -> None:
        self._events, self._issue = events, issue
        self.config = config = events.config
        self.widths = {str(name): field.width for name, field in Drain.layout(config)}
        """bits of the fields of a drain, by name"""
        self.group_layout = Layout(DrainWalk.group_layout(config))
        self.read_layout = Layout(DrainWalk.read_layout(config))
        self.position = cached(self._position)
        self.group = cached(self._group)
        drains = events.drains
        unchained = [i for i in range(len(drains.begin)) if not drains.instruction(i).chained]
        self._started = np.array(unchained, dtype=np.int64)
        """the drains that a pass starts"""

    def mask(self, name: str, value: int) -> int:
        """Return a value modulo the range of a drain's field."""
        return value & (1 << self.widths[name]) - 1

    def _position(self, cycle: int) -> WalkPosition:
        drains, config = self._events.drains, self.config
        head = drains.head(cycle)
        drain = head.instruction
        if head.index < 0 or (age := cycle - int(drains.begin[head.index])) < 0:
            return WalkPosition(head, lane=self.mask("lane", drain.lane))
        row, step = divmod(age, drains.shape(head.index)[0])
        tile, pixel = divmod(row, drain.pixels)
        if drain.wide or drain.destination == Destination.ACCUMULATORS:
            word, lane = tile, drain.lane if not tile else 0
        else:
            word, lane = divmod(drain.lane + tile, config.tiles_per_word)
        lane_offset = self.mask("lane", lane - drain.lane)
        return WalkPosition(head, True, step, row, pixel, tile, lane, lane_offset, word * drain.tile_stride)

    def _group(self, cycle: int) -> int:
        """Return the group that enters the pipeline in a cycle."""
        now, groups = self.position(cycle), self.config.groups
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
            place=now.head.address,
        )

    def read(self, cycle: int) -> int:
        """Return the read that a cycle requests, valid or not, as `DrainWalk.read_layout`."""
        now = self.position(cycle)
        drain = now.head.instruction
        return self.read_layout.pack(
            valid=now.active and now.step < self.config.groups,
            residual=drain.residual,
            bank=drain.bank,
            row=drain.row + now.row,
        )

    def registers(self) -> dict[str, Register]:
        """Return the registers by name."""
        config, widths, issue = self.config, self.widths, self._issue
        found: dict[str, Register] = {}

        def counter(name: str, width: int, value: Callable[[WalkPosition], int]) -> None:
            found[f"output.walk.{name}"] = Register(lambda t: value(self.position(t)) & (1 << width) - 1, width)

        counter("active", 1, lambda s: int(s.active))
        counter("step", config.drain_cycles_per_row(wide=True).bit_length(), lambda s: s.step)
        counter("row", widths["row"], lambda s: s.row)
        counter("pixel", widths["pixels"], lambda s: s.pixel)
        counter("tile", widths["tiles"], lambda s: s.tile)
        counter("parameter", widths["parameters"], lambda s: 0 if s.head.instruction.shared else s.tile * config.groups)
        counter("word", widths["address"], lambda s: s.word)
        counter("pixel_word", widths["address"], lambda s: s.pixel * s.head.instruction.stride)
        counter("lane_offset", widths["lane"], lambda s: s.lane_offset)
        found["output.walk.idled"] = Register(self._idled, widths["idle"])
        for stage in range(1, DrainWalk.start_delay(config)):
            for name, field in (("start", "release"), ("start_last", "release_last")):
                found[f"output.walk.{name}_{stage}"] = Register(
                    delayed(lambda t, f=field: issue.fold_layout.get(issue.fold(t), f), issue.fold_delay + stage), 1
                )
        found["output.walk.reading_last"] = Register(self._reading_last, 1)
        return found

    def _idled(self, cycle: int) -> int:
        """Return how many cycles the chained drain at the head has waited since the drain before it ended."""
        drains = self._events.drains
        head = drains.head(cycle)
        if head.index < 1 or not head.instruction.chained:
            return 0
        waited = cycle - int(drains.end[head.index - 1]) - 1
        return waited if 0 <= waited <= head.instruction.idle else 0

    def _reading_last(self, cycle: int) -> int:
        """Return whether the last pass of a run started the last drain that a pass has started."""
        index = self._events.drains.last(cycle, self._started)
        if index < 0:
            return 0
        drains = self._events.drains
        program, number = drains.program(index), int(drains.number[index])
        last = self._events.last_repeat[int(drains.run[index])] == drains.repeat[index]
        return int(bool(last) and program.releasing[number] == len(program.passes) - 1)
