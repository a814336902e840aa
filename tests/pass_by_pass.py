"""What a program computes, with numpy: whole passes at a time, for many repeats at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from etchnet.hdl.bus import word_bits
from etchnet.hdl.config import Config
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
    chunks,
    unpack,
)
from etchnet.sim.contracts import contract_of
from etchnet.sim.reference import rounding_shift, shift_left
from etchnet.sim.timing import drain_words, drains_of

__all__ = ["Datapath"]


def _folded(old: np.ndarray, new: np.ndarray, fold: Fold) -> np.ndarray:
    """What an accumulator holds behind a fold, modulo 2**32."""
    return {Fold.SET: lambda: new, Fold.ADD: lambda: old + new, Fold.MAX: lambda: np.maximum(old, new)}[fold]()


def _reduced(sums: np.ndarray, fold: Fold) -> np.ndarray:
    """All sums along axis 1 folded into one."""
    if fold == Fold.ADD:
        return sums.sum(axis=1, dtype=np.int32)
    return sums.max(axis=1, initial=np.iinfo(np.int32).min)


class Datapath:
    """The memories of weights and parameters of one machine, and what its array and output stage make of inputs.

    Nothing here knows of cycles. Every repeat starts from nothing: a checked program writes what it reads.

    Attributes
    ----------
    weights
        int8 (weight_words, weight_rows, columns).
    parameters
        Parameter words as link words, uint32 (parameter_words, chunks, link_bits / 32).
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        bits = word_bits(Target.PARAMETERS, config)
        self.weights = np.zeros((config.weight_words, config.weight_rows, config.columns), np.int8)
        self.parameters = np.zeros((config.parameter_words, chunks(bits, config), config.link_bits // 32), np.uint32)

    def tile(self, p: Pass) -> np.ndarray:
        """A pass's weights as (rows, columns)."""
        config = self.config
        rows, columns, band = config.rows, config.columns, config.load_cycles
        diagonal = np.arange(min(rows, columns))
        tile = np.zeros((rows, columns), np.int8)
        if p.kind in (TileKind.STORED, TileKind.DEPTHWISE):
            stored = self.weights[p.weights : p.weights + band]
            return stored.transpose(1, 0, 2).reshape(rows, columns).copy()
        tile[diagonal, diagonal] = (
            1 if p.kind == TileKind.IDENTITY else self.weights[p.weights, diagonal // band, diagonal]
        )
        return tile

    def execute(
        self,
        passes: Sequence[Pass],
        drains: Sequence[Drain],
        sources: Sequence[int],
        halves: np.ndarray,
        tiles: Sequence[np.ndarray] | None,
        words: int,
    ) -> list[list[np.ndarray]]:
        """Run a program on a batch of inputs; for each, the link words of its committed halves.

        Parameters
        ----------
        passes, drains
            The program, checked.
        sources
            For each pass, which of the halves of its repeat it reads.
        halves
            int8 (batch, halves per repeat, input_words, rows).
        tiles
            The weights of each pass, or None: as they are stored.
        words
            Memory words that a committed half sends.
        """
        config = self.config
        batch = len(halves)
        activations = np.zeros((batch, config.activation_words, config.rows), np.int8)
        results = np.zeros((batch, config.output_words, config.rows), np.uint8)
        residual = np.zeros((batch, config.residual_words or 0, config.rows), np.int8)
        memories = {
            Destination.ACTIVATION: activations.view(np.uint8),
            Destination.OUTPUT: results,
            Destination.RESIDUAL: residual.view(np.uint8),
        }
        banks = np.zeros((2, batch, config.accumulator_rows, config.columns), np.int32)
        committed: list[list[np.ndarray]] = [[] for _ in range(batch)]
        cache: dict[tuple[int, int], np.ndarray] = {}
        started = drains_of(passes, drains)
        for index, p in enumerate(passes):
            if tiles is not None:
                tile = tiles[index].astype(np.float32)
            else:
                key = (p.kind, p.weights)
                if key not in cache:
                    cache[key] = self.tile(p).astype(np.float32)
                tile = cache[key]
            source = halves[:, sources[index]] if p.source == Source.INPUT else activations
            words_read = p.walk()
            inside = words_read != OUTSIDE
            pixels = source[:, np.where(inside, words_read, 0)]
            pixels[:, ~inside] = p.pad
            if p.kind == TileKind.DEPTHWISE:
                sums = self._windows(p, pixels, tile)
            else:
                # At most 64 products of at most 2**14: exact in float32.
                sums = (pixels.astype(np.float32) @ tile).astype(np.int32)
            if p.hold != Fold.SET:
                sums = _folded(sums[:, 0], _reduced(sums[:, 1:], p.hold), p.hold)[:, None]
            rows = slice(p.row, p.row + sums.shape[1])
            banks[p.bank][:, rows] = _folded(banks[p.bank][:, rows], sums, p.fold)
            for drain in (drains[i] for i in started[index]):
                self._drain(drain, banks, memories, committed, words)
        return committed

    def _windows(self, p: Pass, pixels: np.ndarray, tile: np.ndarray) -> np.ndarray:
        """The kept sums of a depthwise pass: each column's window of its own channel."""
        taps = self.config.depthwise or 0
        first = p.kept(self.config) - self.config.window_lead(p.line_pixels)
        sums = np.zeros((len(pixels), len(first), self.config.columns), np.float32)
        for i, j in np.ndindex(taps, taps):
            sums += pixels[:, first + i * p.line_pixels + j] * tile[i * taps + j]
        return sums.astype(np.int32)

    def _drain(
        self,
        drain: Drain,
        banks: np.ndarray,
        memories: Mapping[Destination, np.ndarray],
        committed: list[list[np.ndarray]],
        words: int,
    ) -> None:
        config = self.config
        batch, count = banks.shape[1], drain.tiles * drain.pixels
        rows = banks[drain.bank][:, drain.row : drain.row + count]
        if drain.residual:
            rows = memories[Destination.RESIDUAL].view(np.int8)[:, drain.row : drain.row + count]
        fields = self._channel_parameters(drain.parameters, 1 if drain.shared else drain.tiles)
        if drain.shared:
            fields = {name: np.repeat(values, drain.tiles, axis=0) for name, values in fields.items()}
        per_row = {name: np.repeat(values, drain.pixels, axis=0) for name, values in fields.items()}
        biased = rows + per_row["bias"].astype(np.int32)
        if drain.raw:
            low_word = (shift_left(biased, per_row["left"]) * per_row["multiplier"]).astype(np.int32)
            rounded = rounding_shift(low_word, per_row["right"])
            values = np.clip(rounded + drain.zero_point, drain.low, drain.high)
        else:
            values = contract_of(config).requantise(
                biased, per_row["multiplier"], per_row["left"], per_row["right"],
                zero_point=drain.zero_point, low=drain.low, high=drain.high,
            )  # fmt: skip
        values = values.astype(np.int32)
        if drain.destination == Destination.ACCUMULATORS:
            folded = (slice(None), drain_words(drain, config).ravel())
            target = banks[drain.into]
            target[folded] = _folded(target[folded], values, drain.fold)
            return
        memory = memories[drain.destination]
        tiled = values.reshape(batch, drain.tiles, drain.pixels, config.columns)
        addresses = drain_words(drain, config)
        if config.tiles_per_word > 1 and not drain.wide:
            lanes = (drain.lane + np.arange(drain.tiles)) % config.tiles_per_word
            for tile, lane in enumerate(lanes):
                where = slice(lane * config.columns, (lane + 1) * config.columns)
                memory[:, addresses[tile], where] = tiled[:, tile].astype(np.int8).view(np.uint8)
        else:
            raw = tiled.astype("<i4" if drain.wide else np.int8).view(np.uint8)
            size = config.words_per_pixel(wide=drain.wide)
            padded = np.zeros((*raw.shape[:3], size * config.rows), np.uint8)
            padded[..., : raw.shape[3]] = raw
            for word in range(size):
                part = padded[..., word * config.rows : (word + 1) * config.rows]
                memory[:, addresses + word] = part
        if drain.commit:
            size = chunks(8 * config.rows, config) * config.link_bits // 8
            sent = np.zeros((batch, words, size), np.uint8)
            sent[..., : config.rows] = memories[Destination.OUTPUT][:, :words]
            for item in range(batch):
                committed[item].append(sent[item].view("<u4").reshape(-1, self.config.link_bits // 32))

    def _channel_parameters(self, first: int, tiles: int) -> dict[str, np.ndarray]:
        """Requantisation parameters of whole column tiles: each of shape (tiles, columns)."""
        config = self.config
        assert config.requantisers is not None
        layout = Parameters.layout(config)
        stored = self.parameters[first : first + tiles * config.groups]
        mask = (1 << layout.size) - 1
        fields: dict[str, list[int]] = {str(name): [] for name, _ in layout}
        for word in unpack(stored, word_bits(Target.PARAMETERS, config), config):
            for lane in range(config.requantisers):
                record = Parameters.decode(word >> lane * layout.size & mask, config)
                for name, values in fields.items():
                    values.append(getattr(record, name))
        return {name: np.array(v, dtype=np.int64).reshape(tiles, config.columns) for name, v in fields.items()}
