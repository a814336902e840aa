"""One program, with the tables that its state is computed from; times are relative to the start of a pass or drain."""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np

from etchnet.hdl.isa import OUTSIDE, Destination, Fold, Pass, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.history import RunHistory
from etchnet.sim.timing import Latencies, drain_pace, drain_words, drains_of

__all__ = ["TimedProgram"]


class TimedProgram:
    """The passes and drains of one program, the memory words and accumulator rows that they access, and when.

    Attributes
    ----------
    passes, drains
        The instructions.
    slots
        For each pass, the cycles that it occupies, int64.
    pace, count
        For each drain, its cycles per row and its number of rows, int64.
    releasing
        For each drain, the pass that starts it, or that starts the first drain of its chain, int64.
    delay
        For each drain, the cycles from that pass's decision to the drain's first read, int64.
    """

    def __init__(self, run: RunHistory, config: Config) -> None:
        self.config = config
        self.passes, self.drains = run.passes, run.drains
        latencies = Latencies.of(config)
        self.slots = np.array([config.pass_cycles(p.pixels) for p in self.passes], dtype=np.int64)
        self.pace = np.array([drain_pace(d, config) for d in self.drains], dtype=np.int64)
        self.count = np.array([d.tiles * d.pixels for d in self.drains], dtype=np.int64)
        self.releasing = np.zeros(len(self.drains), dtype=np.int64)
        self.delay = np.zeros(len(self.drains), dtype=np.int64)
        for index, started in enumerate(drains_of(self.passes, self.drains)):
            first = latencies.decide + self.passes[index].pixels - 1 + latencies.drain_delay
            for number in started:
                first += self.drains[number].idle if number != started[0] else 0
                self.releasing[number], self.delay[number] = index, first
                first += int(self.pace[number] * self.count[number]) - 1 + latencies.chain

    def walk(self, index: int) -> np.ndarray:
        """Return `Pass.walk` of a pass, cached."""
        return _walk(self.passes[index])

    def read(self, index: int) -> np.ndarray:
        """Return the indices of the pixels of a pass that read a memory, int64."""
        return _read_pixels(self.passes[index])

    def kept(self, index: int) -> np.ndarray:
        """Return `Pass.kept` of a pass, cached."""
        return _kept(self.passes[index], self.config)

    @cached_property
    def first_read(self) -> np.ndarray:
        """The first pixel of each pass that reads a memory, or -1, int64."""
        return np.array([r[0] if len(r := self.read(i)) else -1 for i in range(len(self.passes))], dtype=np.int64)

    @cached_property
    def sources(self) -> np.ndarray:
        """The memory that each pass reads."""
        return np.array([p.source for p in self.passes])

    @cached_property
    def depthwise(self) -> np.ndarray:
        """Whether each pass is depthwise."""
        return np.array([p.kind == TileKind.DEPTHWISE for p in self.passes])

    @cached_property
    def first_kept(self) -> np.ndarray:
        """The first pixel of each pass whose sum is folded, or -1, int64."""
        return np.array([k[0] if len(k := self.kept(i)) else -1 for i in range(len(self.passes))], dtype=np.int64)

    @cached_property
    def banks(self) -> np.ndarray:
        """The accumulator bank that each pass folds into."""
        return np.array([p.bank for p in self.passes])

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The first accumulator row that each pass folds into, and the number of rows."""
        return np.array([p.row for p in self.passes]), np.array(
            [1 if p.hold != Fold.SET else len(self.kept(i)) for i, p in enumerate(self.passes)]
        )

    @cached_property
    def accumulator_rows(self) -> dict[int, np.ndarray]:
        """For each drain to the accumulators, by number: the accumulator row that each of its rows is folded into."""
        return {
            number: drain_words(drain, self.config).ravel()
            for number, drain in enumerate(self.drains)
            if drain.destination == Destination.ACCUMULATORS
        }

    @cached_property
    def writes(self) -> dict[Destination, dict[str, np.ndarray]]:
        """The words that drains write to each memory, as columns of a table sorted by address and then by time.

        The columns: `address`; `lanes`, a mask; `drain`, the drain's number; `row` of the drain; `word` within the
        row's words; `when`, the cycles from the drain's first read to the write, less `Latencies.result`.
        """
        tables = {}
        all_lanes = (1 << self.config.tiles_per_word) - 1
        for destination in (Destination.ACTIVATION, Destination.OUTPUT, Destination.RESIDUAL):
            parts: list[np.ndarray] = [np.zeros((6, 0), np.int64)]
            for number, drain in enumerate(self.drains):
                if drain.destination != destination:
                    continue
                size, count = self.config.words_per_pixel(wide=drain.wide), self.count[number]
                first, row = drain_words(drain, self.config).ravel(), np.arange(count)
                lanes = np.full(count, all_lanes)
                if not drain.wide:
                    lanes = 1 << (drain.lane + row // drain.pixels) % self.config.tiles_per_word
                when = row * self.pace[number] + self.config.groups - 1
                for word in range(size):
                    # Only the first word of a row may be shared with other column tiles.
                    mask = lanes if not word else np.full(count, all_lanes)
                    columns = first + word, mask, np.full(count, number), row, np.full(count, word), when + word
                    parts.append(np.stack(columns))
            table = np.concatenate(parts, axis=1)
            order = np.lexsort((table[5], table[2], table[0]))
            names = ("address", "lanes", "drain", "row", "word", "when")
            tables[destination] = dict(zip(names, table[:, order], strict=True))
        return tables


@lru_cache(1 << 13)
def _walk(p: Pass) -> np.ndarray:
    return p.walk()


@lru_cache(1 << 13)
def _read_pixels(p: Pass) -> np.ndarray:
    return np.flatnonzero(_walk(p) != OUTSIDE)


@lru_cache(1 << 13)
def _kept(p: Pass, config: Config) -> np.ndarray:
    return p.kept(config)
