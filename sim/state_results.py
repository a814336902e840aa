"""The results of drains: what the values of a repeat are, without its cycles."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from etchnet.hdl.isa import (
    OUTSIDE,
    Destination,
    Drain,
    Fold,
    Parameters,
    Pass,
    Source,
    Target,
    TileKind,
)
from etchnet.sim.contracts import contract_of
from etchnet.sim.reference import rounding_shift, shift_left
from etchnet.sim.state_events import Events
from etchnet.sim.timing import drain_words

__all__ = ["DrainResults", "fold_values", "tile_of"]

_REPEATS = 4
"""repeats whose results are kept"""


def fold_values(old: np.ndarray, new: np.ndarray, fold: int) -> np.ndarray:
    """What an accumulator holds behind a fold, modulo 2**32."""
    if fold == Fold.ADD:
        return old + new
    return np.maximum(old, new) if fold == Fold.MAX else new


def tile_of(events: Events, index: int) -> np.ndarray:
    """The weights of an executed pass as the elements take them: int8 (rows, columns)."""
    config = events.config
    p, memory = events.passes.instruction(index), events.memories[Target.WEIGHTS]
    rows, columns, band = config.rows, config.columns, config.load_cycles
    tile = np.zeros((rows, columns), np.int8)
    diagonal = np.arange(min(rows, columns))
    if p.kind == TileKind.IDENTITY:
        tile[diagonal, diagonal] = 1
        return tile
    # A word is asked for in the cycle behind the decision, and reaches the bank of element (r, c) c and r cycles later.
    asked = int(events.passes.begin[index]) + events.latencies.decide
    whole = p.kind != TileKind.DIAGONAL
    size = config.weight_rows * columns

    def word(address: int, cycle: int) -> np.ndarray:
        raw = memory.word(address, cycle).to_bytes(-(-size // 4) * 4 + config.link_bits // 8, "little")[:size]
        return np.frombuffer(raw, np.int8).reshape(config.weight_rows, columns)

    if memory.settled(asked, asked + rows + columns):
        for j in range(band if whole else 1):
            stored = word(p.weights + j, asked)
            if whole:
                tile[j::band] = stored
            else:
                tile[diagonal, diagonal] = stored[diagonal // band, diagonal]
        return tile
    for r, c in np.ndindex(rows, columns):
        if whole or r == c:
            tile[r, c] = word(p.weights + (r % band if whole else 0), asked + r + c)[r // band, c]
    return tile


class DrainResults:
    """The int32 results of every drain, computed for a whole repeat when one of them is first asked for.

    Every repeat starts from nothing: a checked program writes what it reads.
    """

    def __init__(self, events: Events) -> None:
        self._events, self.config = events, events.config
        self._repeat = lru_cache(_REPEATS)(self._execute)
        self._parameters = lru_cache(1 << 12)(self._channel_parameters)

    def of(self, index: int) -> np.ndarray:
        """The results of an executed drain, row by row: int32 (rows, columns)."""
        drains = self._events.drains
        return self._repeat(int(drains.repeat[index]))[int(drains.number[index])]

    def _execute(self, repeat: int) -> list[np.ndarray]:
        config, events = self.config, self._events
        program = events.programs[events.repeats[repeat][0]]
        first_pass, first_drain = int(events.first_pass[repeat]), int(events.first_drain[repeat])
        activations = np.zeros((config.activation_words, config.rows), np.int8)
        residual = np.zeros((config.residual_words or 0, config.rows), np.int8)
        banks = np.zeros((2, config.accumulator_rows, config.columns), np.int32)
        inputs: dict[int, np.ndarray] = {}
        results: list[np.ndarray] = []
        for number, p in enumerate(program.passes):
            index = first_pass + number
            if p.source == Source.INPUT:
                half = int(events.halves[index])
                if half not in inputs:
                    inputs[half] = self._input(half, int(events.passes.begin[index]))
                source = inputs[half]
            else:
                source = activations
            walked = program.walk(number)
            inside = walked != OUTSIDE
            pixels = source[np.where(inside, walked, 0)]
            pixels[~inside] = p.pad
            sums = self._sums(p, pixels, program.kept(number), tile_of(events, index))
            if p.hold != Fold.SET:
                rest = sums[1:]
                folded = (
                    rest.sum(axis=0, dtype=np.int32) if p.hold == Fold.ADD else rest.max(axis=0, initial=-(1 << 31))
                )
                sums = fold_values(sums[0], folded.astype(np.int32), p.hold)[None]
            rows = slice(p.row, p.row + len(sums))
            banks[p.bank, rows] = fold_values(banks[p.bank, rows], sums, p.fold)
            if p.release_input:
                inputs.clear()
            for which in program.started[number]:
                drain = program.drains[which]
                values = self._drained(drain, banks, residual, int(events.drains.begin[first_drain + which]))
                results.append(values)
                addresses = drain_words(drain, config)
                if drain.destination == Destination.ACCUMULATORS:
                    rows_into = addresses.ravel()
                    banks[drain.into, rows_into] = fold_values(banks[drain.into, rows_into], values, drain.fold)
                elif drain.destination != Destination.OUTPUT:
                    memory = activations if drain.destination == Destination.ACTIVATION else residual
                    self._write(memory, drain, addresses, values)
        return results

    def _input(self, half: int, cycle: int) -> np.ndarray:
        config, memory = self.config, self._events.memories[Target.INPUT]
        words = (memory.word(half * config.input_words + a, cycle) for a in range(config.input_words))
        mask = (1 << 8 * config.rows) - 1
        raw = b"".join((word & mask).to_bytes(config.rows, "little") for word in words)
        return np.frombuffer(raw, np.int8).reshape(-1, config.rows)

    def _sums(self, p: Pass, pixels: np.ndarray, kept: np.ndarray, tile: np.ndarray) -> np.ndarray:
        # At most 64 products of at most 2**14: exact in float32.
        if p.kind != TileKind.DEPTHWISE:
            return (pixels.astype(np.float32) @ tile.astype(np.float32)).astype(np.int32)
        taps = self.config.depthwise or 0
        first = kept - self.config.window_lead(p.line_pixels)
        sums = np.zeros((len(first), self.config.columns), np.float32)
        for i, j in np.ndindex(taps, taps):
            sums += pixels[first + i * p.line_pixels + j] * tile[i * taps + j].astype(np.float32)
        return sums.astype(np.int32)

    def _drained(self, drain: Drain, banks: np.ndarray, residual: np.ndarray, cycle: int) -> np.ndarray:
        rows = slice(drain.row, drain.row + drain.tiles * drain.pixels)
        read = residual[rows].astype(np.int32) if drain.residual else banks[drain.bank, rows]
        fields = []
        for tile in range(drain.tiles):
            first = drain.parameters + (0 if drain.shared else tile * self.config.groups)
            words = tuple(
                self._events.memories[Target.PARAMETERS].word(first + g, cycle) for g in range(self.config.groups)
            )
            fields.append(self._parameters(words))
        per_row = np.repeat(np.stack(fields), drain.pixels, axis=0)
        bias, multiplier, left, right = per_row.transpose(1, 0, 2)
        biased = read + bias.astype(np.int32)
        if drain.raw:
            low_word = (shift_left(biased, left) * multiplier).astype(np.int32)
            values = np.clip(rounding_shift(low_word, right) + drain.zero_point, drain.low, drain.high)
        else:
            values = contract_of(self.config).requantise(
                biased, multiplier, left, right, zero_point=drain.zero_point, low=drain.low, high=drain.high
            )
        return values.astype(np.int32)

    def _channel_parameters(self, words: tuple[int, ...]) -> np.ndarray:
        """Bias, multiplier, left and right of a column tile: int64 (4, columns)."""
        layout = Parameters.layout(self.config)
        records = [
            Parameters.decode(word >> lane * layout.size & (1 << layout.size) - 1, self.config)
            for word in words
            for lane in range(self.config.columns // self.config.groups)
        ]
        return np.array([[r.bias, r.multiplier, r.left, r.right] for r in records], dtype=np.int64).T

    def _write(self, memory: np.ndarray, drain: Drain, addresses: np.ndarray, values: np.ndarray) -> None:
        config = self.config
        narrow = values.astype(np.int8).reshape(drain.tiles, drain.pixels, config.columns)
        if config.tiles_per_word > 1:
            for tile in range(drain.tiles):
                lane = (drain.lane + tile) % config.tiles_per_word
                memory[addresses[tile], lane * config.columns : (lane + 1) * config.columns] = narrow[tile]
            return
        size = config.words_per_pixel()
        padded = np.zeros((drain.tiles, drain.pixels, size * config.rows), np.int8)
        padded[..., : config.columns] = narrow
        for word in range(size):
            memory[addresses + word] = padded[..., word * config.rows : (word + 1) * config.rows]
