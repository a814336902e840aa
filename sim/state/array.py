"""The array in any cycle: every register of an element belongs to one wavefront, as its product or partial sum."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from etchnet.hdl.blocks.technology.portable import PORTABLE
from etchnet.hdl.core.array.array import SystolicArray
from etchnet.hdl.core.array.element import ProcessingElement
from etchnet.hdl.core.array.weights import WeightMemory
from etchnet.hdl.isa.config import Config, sum_width
from etchnet.sim.state.events import Events
from etchnet.sim.state.issue import Issue
from etchnet.sim.state.registers import MemoryView, Register, Wire, cached, delayed_view, pack_lanes, read_registers
from etchnet.sim.state.results import tile_of

__all__ = ["ArrayState", "line_age"]


def line_age(delay: int, config: Config) -> int:
    """Return the age, in cycles, of the word that a line buffer outputs, for the buffer's delay in cycles.

    The buffers are circular, and a write takes two cycles: with a delay below 2, the word that is read is the one
    written one round earlier.
    """
    words = config.line_words
    return 2 + ((delay & (1 << words.bit_length()) - 1) - 2) % words


class ArrayState:
    """Skew, elements, line buffers and deskew.

    A *wavefront* is a vector on its way through the array: vector v enters in cycle v and is at element (r, c) in cycle
    v + r + c, where it meets the weights of the last tile whose `load` came before cycle v. So in cycle t the registers
    of element (r, c) belong to wavefront t - r - c, less their own delay, and

    ``total[r, c][t] = sum(operand[v][i, c] * weight[v][i, c] for i in range(r + 1))``,
    ``v = t - r - c - latency of an element``.

    The operand is byte i of the vector, or in a depthwise pass the sample of column c. Zeros enter in every cycle
    without a pixel, and before the first cycle. Bubbles therefore have sums too: of zeros or, after a depthwise pass,
    of the samples that are still in the line buffers.
    """

    def __init__(self, events: Events, issue: Issue) -> None:
        self._events, self._issue = events, issue
        self.config = events.config
        self.entering, self.windowed = issue.entering, issue.windowed
        self._tile = lru_cache(1 << 10)(lambda index: tile_of(events, index))
        self.operands = cached(self._operands)
        self.sums = cached(self._sums)
        self._latency = ProcessingElement.latency(self.config)
        self._array_latency = SystolicArray.latency(self.config)
        # The first request of a tile loads the array one cycle before the tile's first vector enters it.
        self._load_delay = events.pixel_delay() - 1
        self._taps = self.config.depthwise

    # Wavefronts

    def loaded(self, vector: int) -> int:
        """Return the index of the pass whose tile a vector meets; -1 before the first."""
        begin = self._events.passes.begin
        return int(np.searchsorted(begin, vector - 1 - self._load_delay, "right")) - 1

    def tile(self, vector: int) -> np.ndarray:
        """Return the weights that a vector meets: int8 (rows, columns)."""
        index = self.loaded(vector)
        return self._tile(index) if index >= 0 else np.zeros((self.config.rows, self.config.columns), np.int8)

    def _operands(self, vector: int) -> np.ndarray:
        """Return the operands of all elements while a vector is at them: int32 (rows, columns)."""
        config = self.config
        entering = self.entering(vector) if vector >= 0 else np.zeros(config.rows, np.int8)
        operands = np.repeat(entering.astype(np.int32)[:, None], config.columns, axis=1)
        if vector >= 0 and self.windowed(vector):
            for i in range(self._taps**2):
                for c in range(config.columns):
                    operands[i, c] = self._sample(i // self._taps, c, vector + i + c)
        return operands

    def _sums(self, vector: int) -> np.ndarray:
        """Return the complete sums of a vector, int32 (columns,)."""
        if vector >= 0 and not self.windowed(vector):
            return self.entering(vector).astype(np.int32) @ self.tile(vector).astype(np.int32)
        return self._partial(vector, self.config.rows - 1)

    def _partial(self, vector: int, row: int) -> np.ndarray:
        tile = self.tile(vector)[: row + 1].astype(np.int32)
        return (self.operands(vector)[: row + 1] * tile).sum(axis=0, dtype=np.int32)

    def leaving(self, cycle: int) -> np.ndarray:
        """Return the sums that leave the deskew in a cycle, int32 (columns,)."""
        return self.sums(cycle - self._array_latency)

    # Samples of depthwise passes

    def _skewed(self, lane: int, cycle: int) -> int:
        """Return a byte of the vector after the skew."""
        return int(self.entering(cycle - lane)[lane]) if cycle >= lane else 0

    def _sample(self, line: int, lane: int, cycle: int) -> int:
        """Return the byte of a line's `samples` register for a column."""
        if cycle < 1:
            return 0
        if line == self._taps - 1:
            return self._skewed(lane, cycle - 1)
        source = self._line_read(line, cycle - 1)
        return self._skewed(lane, source) if source >= 0 else 0

    def _line_read(self, line: int, cycle: int) -> int:
        """Return the cycle of the word that a line buffer outputs in `cycle`; negative if none has been written yet."""
        if cycle < 1:
            return -1
        return cycle - line_age(self._issue.line_delay(cycle - 1) * (self._taps - 1 - line), self.config)

    def _line_written(self, row: int, cycle: int) -> int:
        """Return the last cycle before `cycle` that wrote a row of the line buffers."""
        return cycle - 1 - (cycle - 1 - row) % self.config.line_words

    def _line_word(self, source: int) -> int:
        if source < 0:
            return 0
        return pack_lanes(np.array([self._skewed(lane, source) for lane in range(self.config.rows)], np.int8))

    # Elements

    def source(self, row: int, column: int, cycle: int) -> tuple[int, int]:
        """Return the vector that an element multiplies, as the cycle in which it entered, and the byte in it."""
        vector = cycle - row - column
        if vector < 0 or not self.windowed(vector):
            return vector, row
        line = row // self._taps
        skewed = cycle - 1 if line == self._taps - 1 else self._line_read(line, cycle - 1)
        return skewed - column, column

    def operand(self, row: int, column: int, cycle: int) -> int:
        """Return the operand of an element in a cycle."""
        return int(self.operands(cycle - row - column)[row, column])

    def weight(self, row: int, column: int, cycle: int) -> int:
        """Return the weight that an element holds."""
        return int(self.tile(cycle - row - column)[row, column])

    def total(self, row: int, column: int, cycle: int) -> int:
        """Return the `total` register of an element."""
        return int(self._partial(cycle - self._latency - row - column, row)[column])

    def _product(self, row: int, column: int, cycle: int, stage: int) -> int:
        vector = cycle - stage - row - column
        return int(self.operands(vector)[row, column]) * int(self.tile(vector)[row, column])

    def _right(self, row: int, column: int, cycle: int) -> int:
        vector = cycle - 1 - row - column
        return int(self.entering(vector)[row]) if vector >= 0 else 0

    def load(self, cycle: int) -> int:
        """Return whether a tile's wavefront starts at element (0, 0)."""
        requested = cycle - (self._issue.read_latency - 1)
        return self._issue.first(requested) if requested >= 0 else 0

    def values(self, cycle: int) -> dict[str, np.ndarray]:
        """Return all elements in a cycle: `weight`, `activation` (moving right) and `total`, int32 (rows, columns)."""
        rows, columns = self.config.rows, self.config.columns
        found = {name: np.zeros((rows, columns), np.int32) for name in ("weight", "activation", "total")}
        for wave in range(rows + columns - 1):
            r = np.arange(max(0, wave - columns + 1), min(rows, wave + 1))
            c = wave - r
            found["weight"][r, c] = self.tile(cycle - wave)[r, c]
            if cycle - 1 - wave >= 0:
                found["activation"][r, c] = self.entering(cycle - 1 - wave)[r]
            vector = cycle - self._latency - wave
            sums = np.cumsum(self.operands(vector) * self.tile(vector).astype(np.int32), axis=0, dtype=np.int32)
            found["total"][r, c] = sums[r, c]
        return found

    # Names

    def registers(self) -> dict[str, Register]:
        """Return the registers by name."""
        config, found = self.config, {}
        for r in range(config.rows):
            for stage in range(1, r + 1):
                found[f"array.skew_{r}_{stage}"] = Register(lambda t, r=r, s=stage: self._skew(r, t - s), 8, True)
            found[f"array.down_{r + 1}"] = Register(lambda t, r=r: self._down(t - r - 1), 2)
            for c in range(config.columns):
                for name, register in self._element(r, c).items():
                    found[f"array.element_{r}_{c}.{name}"] = register
        for line in range(self._taps):
            width = 8 * config.rows
            found[f"array.samples_{line}"] = Register(lambda t, i=line: self._samples(i, t), width)
            if line < self._taps - 1:
                path = f"array.line_{line}"
                found[f"{path}.now"] = Register(lambda t: t % config.line_words, config.address_bits(config.line_words))
                found[f"{path}.memory.memory.read__data"] = Register(
                    lambda t, i=line: self._line_word(self._line_read(i, t)), width
                )
        bits = sum_width(config.rows)
        for c in range(config.columns):
            for stage in range(1, config.columns - c):
                found[f"array.deskew_{c}_{stage}"] = Register(
                    lambda t, c=c, s=stage: self.total(config.rows - 1, c, t - s), bits, True
                )
        found.update(self._requests())
        return found

    def memories(self) -> dict[str, MemoryView]:
        """Return the memories by name."""
        config = self.config
        buffer = MemoryView(
            lambda row, t: self._line_word(self._line_written(row, t)), config.line_words, 8 * config.rows
        )
        found = {f"array.line_{line}.memory.memory": buffer for line in range(self._taps - 1)}
        for b in range(config.weight_rows):
            for c in range(config.columns):
                rows = MemoryView(lambda row, t, b=b, c=c: self._weight_byte(b, c, row, t), config.weight_words, 8)
                found[f"weights.bank_{b}_{c}.memory"] = delayed_view(rows, WeightMemory.latency(config))
        return found

    def _element(self, r: int, c: int) -> dict[str, Register]:
        found = {
            "weight": Register(lambda t: self.weight(r, c, t), 8, True),
            "right": Register(lambda t: self._right(r, c, t), 8, True),
            "load_right": Register(lambda t: self._down(t - 1 - r - c) & 1, 1),
            "total": Register(lambda t: self.total(r, c, t), sum_width(r + 1), True),
        }
        operands = PORTABLE.operand_stages(self.config.multiplier_latency)
        if operands:
            found["product_a_1"] = Register(lambda t: self.operand(r, c, t - 1), 8, True)
            found["product_b_1"] = Register(lambda t: self.weight(r, c, t - 1), 8, True)
        for stage in range(1, self.config.multiplier_latency - operands + 1):
            found[f"product_{stage}"] = Register(lambda t, s=stage: self._product(r, c, t, s + operands), 16, True)
        if r < self._taps**2:
            found["windowed_right"] = Register(lambda t: self._down(t - 1 - r - c) >> 1, 1)
        return found

    def _skew(self, row: int, cycle: int) -> int:
        return int(self.entering(cycle)[row]) if cycle >= 0 else 0

    def _down(self, cycle: int) -> int:
        """Return `load`, and in bit 1 `windowed`, at element (0, 0)."""
        return self.load(cycle) | self.windowed(cycle) << 1 if cycle >= 0 else 0

    def _samples(self, line: int, cycle: int) -> int:
        return pack_lanes(np.array([self._sample(line, lane, cycle) for lane in range(self.config.rows)], np.int8))

    # The weight memory

    def _requests(self) -> dict[str, Register]:
        config, issue, found = self.config, self._issue, {}
        layout, latency = issue.request_layout, WeightMemory.latency(config)
        for stage in range(1, WeightMemory.request_stages(config) + 1):
            found[f"weights.request_{stage}"] = Register(
                lambda t, s=stage: issue.request(t - s) if t >= s else 0, layout.width, layout=layout
            )
        for stage in range(1, WeightMemory.first_stages(config) + 1):
            found[f"weights.first_{stage}"] = Register(lambda t, s=stage: issue.first(t - s) if t >= s else 0, 1)
        for b in range(config.weight_rows):
            for c in range(config.columns):
                read: Wire = partial(self._weight_read, b, c)
                found |= read_registers(f"weights.bank_{b}_{c}", read, 8, latency)
        return found

    def _weight_byte(self, band: int, column: int, address: int, cycle: int) -> int:
        word = self._issue.weights.word(address, cycle)
        return word >> 8 * (band * self.config.columns + column) & 0xFF

    def _weight_read(self, band: int, column: int, cycle: int) -> int:
        """Return the word of a bank's latest read."""
        config, passes = self.config, self._events.passes
        travel = band * config.load_cycles + column
        # Requests reach the bank `travel` cycles after they are issued, and its data register a cycle later.
        requested = cycle - 1 - travel
        decided = requested - self._events.latencies.decide
        index = int(np.searchsorted(passes.begin, decided, "right")) - 1
        if index < 0:
            return 0
        last = min(decided, int(passes.begin[index]) + config.load_cycles - 1) + self._events.latencies.decide
        address = self._issue.request_layout.get(self._issue.request(last), "address")
        return self._weight_byte(band, column, address, last + travel)
