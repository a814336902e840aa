"""Drains for parts of the output stage, and what a drain does, step by step, written from its definition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Elaboratable, Module, Signal

from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.isa import Destination, Drain, Fold
from etchnet.hdl.isa.config import Config


class Fed(Elaboratable):
    """A component with a stream `drains`, of which `head` is the first; derived values follow from its fields."""

    def __init__(self, config: Config, inner: Any) -> None:
        self.config, self.inner = config, inner
        self.head = Signal(InstructionMemory.head_layout(Drain, config, config.drains))

    def elaborate(self, platform: Any) -> Module:
        """Connect the derived values."""
        m = Module()
        m.submodules.inner = self.inner
        payload = self.inner.drains.payload
        m.d.comb += payload.head.eq(self.head)
        derived = DrainWalk.derive(self.config, self.head.fields)
        m.d.comb += [payload.derived[name].eq(value) for name, value in derived.items()]
        return m


def head(config: Config, drains: Sequence[Drain], index: int) -> Mapping[str, int]:
    """Return the inputs that put a drain at the head of the stream, or that end the stream."""
    if index >= len(drains):
        return {"inner.drains.valid": 0}
    late = Drain.layout(config).size - Drain.streamed(config).size
    return {
        "inner.drains.valid": 1,
        "head.fields": drains[index].encode(config) >> late,
        "head.final": index == len(drains) - 1,
        "head.place": index,
    }


@dataclass(frozen=True)
class Step:
    """One cycle of a drain."""

    drain: int
    row: int
    group: int
    parameter_word: int
    address: int
    lane: int
    drain_done: bool


def steps(config: Config, drain: Drain, index: int) -> Iterator[Step]:
    """Yield every cycle of a drain: groups of a row, rows of a tile, tiles."""
    whole_words = drain.wide or drain.destination == Destination.ACCUMULATORS
    for tile in range(drain.tiles):
        word, lane = (tile, 0) if whole_words else divmod(drain.lane + tile, config.tiles_per_word)
        for pixel in range(drain.pixels):
            for group in range(config.drain_cycles_per_row(wide=drain.wide)):
                parameter = drain.parameters + (0 if drain.shared else tile * config.groups)
                yield Step(
                    drain=index,
                    row=drain.row + tile * drain.pixels + pixel,
                    group=group,
                    parameter_word=parameter + group,
                    address=drain.address + word * drain.tile_stride + pixel * drain.stride,
                    lane=lane,
                    drain_done=tile == drain.tiles - 1 and pixel == drain.pixels - 1,
                )


def schedule(config: Config, drains: Sequence[Drain], starts: Sequence[int]) -> dict[int, Step]:
    """Return the steps of all drains by cycle; drains that are not chained begin by `starts`, in order."""
    found: dict[int, Step] = {}
    pending, cycle = list(starts), 0
    for index, drain in enumerate(drains):
        if drain.chained:
            cycle += DrainWalk.chain_delay(config) + drain.idle - 1
        else:
            cycle = pending.pop(0) + DrainWalk.start_delay(config)
        for step in steps(config, drain, index):
            found[cycle] = step
            cycle += 1
    return found


def random_drains(config: Config, rng: np.random.Generator, count: int) -> list[Drain]:
    """Return drains of every kind that fit a machine, the first of them not chained."""
    drains = []
    for index in range(count):
        destination = Destination(int(rng.integers(3 if not config.residual_words else 4)))
        wide = destination == Destination.OUTPUT and bool(rng.integers(2))
        tiles, pixels = (int(n) for n in rng.integers(1, 4, 2))
        last = max(0, config.accumulator_rows - tiles * pixels)
        into = destination == Destination.ACCUMULATORS
        drains.append(
            Drain(
                low=int(rng.integers(-128, 0)),
                high=int(rng.integers(0, 128)),
                zero_point=int(rng.integers(-128, 128)),
                chained=index > 0 and bool(rng.integers(2)),
                idle=int(rng.integers(8, 12)),
                residual=bool(config.residual_words) and bool(rng.integers(2)),
                bank=int(rng.integers(2)),
                row=int(rng.integers(last + 1)),
                tiles=tiles,
                pixels=pixels,
                parameters=int(rng.integers(config.parameter_words - config.groups * tiles + 1)),
                shared=bool(rng.integers(2)),
                raw=bool(rng.integers(2)),
                destination=destination,
                wide=wide,
                address=int(rng.integers(4)),
                stride=int(rng.integers(1, 3)),
                tile_stride=int(rng.integers(1, 4)),
                lane=0 if wide or into else int(rng.integers(config.tiles_per_word)),
                into=int(rng.integers(2)),
                fold=Fold(int(rng.integers(3))),
                commit=bool(rng.integers(2)),
            )
        )
    return drains
