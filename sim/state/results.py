"""The results of drains: the values of a repeat, independent of its cycles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from etchnet.hdl.isa import Fold, Pass, Source, Target, TileKind, chunks
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.isa.packets import word_bits
from etchnet.sim.functional.datapath import channel_parameters
from etchnet.sim.functional.kernels import Kernels
from etchnet.sim.functional.plan import Plan
from etchnet.sim.state.events import Events

__all__ = ["DrainResults", "fold_values", "tile_of"]

_REPEATS = 4
"""repeats whose results are cached"""


def fold_values(old: np.ndarray, new: np.ndarray, fold: int) -> np.ndarray:
    """Return accumulators after a fold: int32, modulo 2**32."""
    if fold == Fold.ADD:
        return old + new
    return np.maximum(old, new) if fold == Fold.MAX else new


def tile_of(events: Events, index: int) -> np.ndarray:
    """Return the weights of an executed pass as the elements load them: int8 (rows, columns)."""
    config = events.config
    p, memory = events.passes.instruction(index), events.memories[Target.WEIGHTS]
    rows, columns, band = config.rows, config.columns, config.load_cycles
    tile = np.zeros((rows, columns), np.int8)
    diagonal = np.arange(min(rows, columns))
    if p.kind == TileKind.IDENTITY:
        tile[diagonal, diagonal] = 1
        return tile
    # A word is requested `decide` cycles after the decision. The request reaches the bank of element (r, c) after r + c
    # more cycles.
    requested = int(events.passes.begin[index]) + events.latencies.decide
    whole = p.kind != TileKind.DIAGONAL
    size = config.weight_rows * columns

    def word(address: int, cycle: int) -> np.ndarray:
        raw = memory.word(address, cycle).to_bytes(ceil_div(size, 4) * 4 + config.link_bits // 8, "little")[:size]
        return np.frombuffer(raw, np.int8).reshape(config.weight_rows, columns)

    if memory.unchanged(requested, requested + rows + columns):
        for j in range(band if whole else 1):
            stored = word(p.weights + j, requested)
            if whole:
                tile[j::band] = stored
            else:
                tile[diagonal, diagonal] = stored[diagonal // band, diagonal]
        return tile
    for r, c in np.ndindex(rows, columns):
        if whole or r == c:
            tile[r, c] = word(p.weights + (r % band if whole else 0), requested + r + c)[r // band, c]
    return tile


class DrainResults:
    """The int32 results of every drain, computed for a whole repeat when one of them is first needed."""

    def __init__(self, events: Events) -> None:
        self._events, self.config = events, events.config
        self._repeat = lru_cache(_REPEATS)(self._compute)
        self._plan = lru_cache(_REPEATS)(self._follow)

    def of(self, index: int) -> np.ndarray:
        """Return the results of an executed drain, row by row: int32 (rows, columns)."""
        drains = self._events.drains
        return self._repeat(int(drains.repeat[index]))[int(drains.number[index])]

    def repeat(self, repeat: int) -> list[np.ndarray]:
        """Return the results of every drain of a repeat, which is counted over all runs."""
        return self._repeat(repeat)

    def _follow(self, run: int, versioned: bool) -> Plan:
        program = self._events.programs[run]
        return Plan(program.passes, program.drains, _sources(program.passes), self.config, versioned=versioned)

    def _compute(self, repeat: int) -> list[np.ndarray]:
        events, run = self._events, self._events.repeats[repeat][0]
        first_pass, first_drain = int(events.first_pass[repeat]), int(events.first_drain[repeat])
        program = events.programs[run]
        # If memories change during the repeat, each pass and drain gets its own version of what it reads.
        last = first_drain + len(program.drains) - 1
        span = int(events.passes.begin[first_pass]), int(events.drains.begin[last]) + int(program.count[-1])
        constant = all(events.memories[t].unchanged(*span) for t in (Target.WEIGHTS, Target.PARAMETERS))
        plan = self._plan(run, not constant)
        tiles = np.stack([tile_of(events, first_pass + number) for number in plan.tiles])
        size = chunks(word_bits(Target.PARAMETERS, self.config), self.config) * self.config.link_bits // 8
        memory, groups = events.memories[Target.PARAMETERS], range(self.config.groups)
        raw = b"".join(
            memory.word(first + group, int(events.drains.begin[first_drain + which])).to_bytes(size, "little")
            for first, which in plan.parameters
            for group in groups
        )
        words = np.frombuffer(raw, "<u4").reshape(len(plan.parameters), self.config.groups, -1)
        kernels = Kernels(plan, tiles, channel_parameters(words, self.config))
        halves = np.zeros((1, plan.halves, plan.input_words, self.config.rows), np.int8)
        read: set[int] = set()
        for index, (p, source) in enumerate(zip(program.passes, _sources(program.passes), strict=True), first_pass):
            if p.source == Source.INPUT and source not in read:
                read.add(source)
                cycle = int(events.passes.begin[index])
                halves[0, source] = self._input(int(events.halves[index]), cycle, plan.input_words)
        values = kernels.compute(halves, keep=True)
        return [kernels.results(values, number)[0] for number in range(len(program.drains))]

    def _input(self, half: int, cycle: int, words: int) -> np.ndarray:
        """Return the first words of a half of the input memory in a cycle: int8 (words, rows)."""
        config, memory = self.config, self._events.memories[Target.INPUT]
        mask = (1 << 8 * config.rows) - 1
        raw = b"".join(
            (memory.word(half * config.input_words + a, cycle) & mask).to_bytes(config.rows, "little")
            for a in range(words)
        )
        return np.frombuffer(raw, np.int8).reshape(-1, config.rows)


def _sources(passes: Sequence[Pass]) -> list[int]:
    """Return, for each pass, the number of input halves that the program releases before it."""
    released = np.cumsum([0, *(p.release_input for p in passes)])
    return released[:-1].tolist()
