"""Random instructions: everything that the checker accepts and the documentation defines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.isa import OUTSIDE, Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing import ProgramError, drain_words
from etchnet.sim.timing.footprint import DrainFootprint

INT32 = (-(1 << 31), (1 << 31) - 1)
_TRIES = 12
"""walks, or places of results, that are proposed before the simplest is taken"""


@dataclass(frozen=True)
class WeightMap:
    """Which words of the weight memory hold what.

    Attributes
    ----------
    stored
        Words, from 0 on, that are loaded before programs run.
    windows
        First words of the tiles among them that depthwise passes may use: rows without a tap are zero.
    slots
        First words of the tiles that are loaded while programs run, in turn.
    """

    stored: int
    windows: tuple[int, ...]
    slots: tuple[int, ...]

    @classmethod
    def of(cls, config: Config, slots: int) -> WeightMap:
        """Return a map with the last `slots` tiles for streaming, but with at least one stored tile."""
        size, stored = config.load_cycles, config.weight_tiles - min(slots, config.weight_tiles - 1)
        windows = range(0, (stored + 1) // 2 * size, size) if config.depthwise else ()
        return cls(stored * size, tuple(windows), tuple(range(stored * size, config.weight_words, size)))


class InstructionWriter:
    """Makes random passes and drains, and keeps account of the rows and words that they have written so far.

    Parameters
    ----------
    config
        The machine.
    random
        Where chance comes from.
    weights
        The tiles that passes may use.
    """

    def __init__(self, config: Config, random: np.random.Generator, weights: WeightMap) -> None:
        self._config, self._random, self._weights = config, random, weights
        self._rows = np.zeros((2, config.accumulator_rows), bool)
        lanes = config.tiles_per_word
        self._memories = {
            Destination.ACTIVATION: np.zeros((config.activation_words, lanes), bool),
            Destination.OUTPUT: np.zeros((config.output_words, lanes), bool),
            Destination.RESIDUAL: np.zeros((config.residual_words, lanes), bool),
        }
        self._passes: list[dict[str, Any]] = []
        self._drains: list[Drain] = []
        self._line = 0

    # Chance

    def _maybe(self, share: float) -> bool:
        return bool(self._random.random() < share)

    def _below(self, stop: int) -> int:
        return int(self._random.integers(stop))

    def _within(self, low: int, high: int) -> int:
        return int(self._random.integers(low, high + 1))

    def _choose(self, values: Sequence[Any]) -> Any:
        return values[self._below(len(values))]

    def _run_of(self, allowed: np.ndarray, most: int) -> tuple[int, int]:
        """Return the first of some consecutive allowed places, at most `most`, and their number; 0 if there is none."""
        places = np.flatnonzero(allowed)
        if not len(places):
            return 0, 0
        first = int(self._choose(places))
        length = int(np.argmin(np.append(allowed[first:], False)))
        most = min(length, most)
        return first, most if self._maybe(0.5) else self._within(1, most)

    # Passes

    def _pass(self) -> dict[str, Any]:
        """Return the fields of a pass, without its tokens."""
        config = self._config
        kinds = [TileKind.STORED, TileKind.STORED, TileKind.DIAGONAL, TileKind.IDENTITY]
        kinds += [TileKind.DEPTHWISE] * 2 if config.depthwise else []
        kind = self._choose(kinds)
        shape = self._window() if kind == TileKind.DEPTHWISE else self._line_or_image()
        allowed = self._memories[Destination.ACTIVATION].all(axis=1)
        source = Source.ACTIVATION if allowed.any() and self._maybe(0.6) else Source.INPUT
        if source == Source.INPUT:
            allowed = np.ones(config.input_words, bool)
        p = {"kind": kind, "source": source, "pad": self._byte(), "bank": self._below(2), **shape}
        p |= self._place(p, allowed)
        p |= self._folds(p)
        p["useful"] = self._choose([0, 1, config.multipliers, self._within(0, config.multipliers)])
        p["weights"] = self._tile(kind)
        return p

    def _byte(self) -> int:
        return self._choose([0, -128, 127, 1, -1, self._within(-128, 127), self._within(-128, 127)])

    def _tile(self, kind: TileKind) -> int:
        if kind == TileKind.DEPTHWISE:
            return self._choose(self._weights.windows)
        size = self._config.load_cycles if kind == TileKind.STORED else 1
        last = self._weights.stored - size
        return self._choose([self._below(last + 1), self._below(last + 1), last, 0])

    def _line_or_image(self) -> dict[str, Any]:
        """Return the pixels and columns of a walk, its borders, and by which fold a row is held."""
        config = self._config
        hold = self._choose([Fold.SET] * 5 + [Fold.ADD, Fold.MAX])
        most = config.accumulator_rows if hold == Fold.SET else config.pass_pixels
        pixels = self._choose([1, self._within(1, min(most, 6)), self._within(1, min(most, 16)), self._within(1, most)])
        if self._maybe(0.03):
            pixels = most
        columns = self._choose([0, 1, self._within(1, pixels), self._within(1, pixels), pixels])
        return {"pixels": pixels, "columns": columns, "hold": hold, **self._borders(pixels, columns or pixels)}

    def _borders(self, pixels: int, columns: int) -> dict[str, int]:
        if self._maybe(0.4):
            return {}
        lines = -(-pixels // columns)
        found = {}
        for name, size in (("column", columns), ("line", lines)):
            found[f"first_{name}"] = self._choose([0, 0, 1, self._below(size + 1)])
            found[f"end_{name}"] = self._choose([0, size, max(1, size - 1), 1, self._below(size + 1)])
        return found

    def _window(self) -> dict[str, Any]:
        """Return a walk in which at least one depthwise window fits."""
        config = self._config
        taps, most = config.depthwise, config.pass_pixels
        longest = min(config.longest_line, most)
        if self._line and self._maybe(0.5):
            columns = self._line
        else:
            columns = self._choose([config.shortest_line, self._within(config.shortest_line, min(longest, 9)), longest])
        least = (taps - 1) * (columns + 1) + 1
        while least > most and columns > config.shortest_line:
            columns -= 1
            least = (taps - 1) * (columns + 1) + 1
        pixels = min(most, least + self._choose([0, 1, self._below(3 * columns), self._below(6 * columns)]))
        p = Pass(
            kind=TileKind.DEPTHWISE,
            pixels=pixels,
            columns=columns,
            dropped=self._choose([0, taps - 1, self._below(min(16, columns))]),
            skip_columns=self._choose([0, 0, 1, self._below(4)]),
            skip_lines=self._choose([0, 0, 1, self._below(4)]),
        )
        while not 0 < len(p.kept(config)) <= config.accumulator_rows:
            if len(p.kept(config)):
                p = dataclasses.replace(p, pixels=max(least, p.pixels - columns))
            else:
                p = dataclasses.replace(p, pixels=least, dropped=0)
        self._line = columns
        fields = {name: getattr(p, name) for name in ("pixels", "columns", "dropped", "skip_columns", "skip_lines")}
        return fields | self._borders(p.pixels, columns)

    def _place(self, p: dict[str, Any], allowed: np.ndarray) -> dict[str, int]:
        """Return address, step and line of a walk that reads only allowed words."""
        columns = p["columns"] or p["pixels"]
        lines = -(-p["pixels"] // columns)
        for _ in range(_TRIES):
            step = self._choose([0, 1, 1, 1, 2, self._below(4), max(1, len(allowed) // columns)])
            line = self._choose([0, columns * step, columns * step, self._below(5), len(allowed) // max(1, lines)])
            address = self._choose([0, self._below(len(allowed)), -self._below(min(8, len(allowed))), -columns - 1])
            fields = {"address": max(address, -len(allowed)), "step": step, "line": min(line, len(allowed))}
            words = Pass(**p, **fields).walk()
            words = words[words != OUTSIDE]
            if not len(words) and self._maybe(0.3):
                return fields
            if len(words) and words.min() >= 0 and words.max() < len(allowed) and allowed[words].all():
                return fields
        return {"address": int(self._choose(np.flatnonzero(allowed))), "step": 0, "line": 0}

    def _folds(self, p: dict[str, Any]) -> dict[str, Any]:
        """Choose the rows of a pass and its fold, and take note of the rows."""
        rows, hold = self._rows[p["bank"]], p.get("hold", Fold.SET)
        count = len(set(Pass(**p).rows(self._config).tolist()))
        fold = self._choose([Fold.SET, Fold.SET, Fold.ADD, Fold.ADD, Fold.MAX])
        if hold != Fold.SET and fold != Fold.SET:
            fold = hold
        fits = np.flatnonzero(np.convolve(rows, np.ones(count, int), "valid") == count) if count <= len(rows) else []
        if fold != Fold.SET and len(fits):
            row = int(self._choose(fits))
        else:
            fold, row = Fold.SET, self._choose([0, self._below(len(rows) - count + 1), len(rows) - count])
        rows[row : row + count] = True
        return {"fold": fold, "row": row}

    # Drains

    def _drain(self, *, chained: bool, final: bool) -> None:
        """Add a drain; the final one commits an output."""
        config = self._config
        residual = bool(config.residual_words) and self._memories[Destination.RESIDUAL].any() and self._maybe(0.3)
        bank = self._choose([number for number in range(2) if self._rows[number].any()])
        allowed = self._memories[Destination.RESIDUAL].all(axis=1) if residual else self._rows[bank]
        row, count = self._run_of(allowed, self._choose([4, 12, config.accumulator_rows]))
        destinations = [Destination.ACTIVATION] * 3 + [Destination.OUTPUT] + [Destination.ACCUMULATORS] * 2
        destinations += [Destination.RESIDUAL] * 3 if config.residual_words else []
        destination = Destination.OUTPUT if final else self._choose(destinations)
        d = {"chained": chained, "residual": residual, "bank": bank, "row": row, "commit": final}
        d |= {"destination": destination, "raw": self._maybe(0.2)}
        tiles = self._choose([1, 1, self._within(1, count)])
        d |= self._parameters(tiles)
        tiles = d["tiles"]
        d["pixels"] = max(1, min(count // tiles, self._choose([count, self._within(1, count)])))
        if destination == Destination.ACCUMULATORS:
            drain = self._into_rows(d)
        else:
            drain = self._into_words(d, self._memories[destination])
        self._drains.append(drain)

    def _parameters(self, tiles: int) -> dict[str, Any]:
        """Choose parameter words, and fewer tiles if there are not enough words."""
        config, shared = self._config, self._maybe(0.3)
        if not shared:
            tiles = min(tiles, config.parameter_tiles)
        last = config.parameter_words - config.groups * (1 if shared else tiles)
        return {"tiles": tiles, "shared": shared, "parameters": self._choose([0, last, self._below(last + 1)])}

    def _clamp(self, *, wide: bool) -> dict[str, int]:
        if wide:
            low, high = sorted(self._choose([*INT32, 0, int(v)]) for v in self._random.integers(*INT32, 2))
            bounds = self._choose([INT32, INT32, INT32, (low, high)])
        else:
            low, high = sorted(self._byte() for _ in range(2))
            bounds = self._choose([(-128, 127), (-128, 127), (low, high)])
        return {"low": bounds[0], "high": bounds[1], "zero_point": self._byte()}

    def _into_rows(self, d: dict[str, Any]) -> Drain:
        """Return a drain that folds its results into accumulator rows."""
        config, longest = self._config, (1 << Drain.layout(self._config)["stride"].width) - 1
        for _ in range(_TRIES):
            into, fold = self._below(2), self._choose([Fold.SET, Fold.ADD, Fold.MAX])
            stride = self._choose([1, 1, self._within(1, 3)])
            tile_stride = self._choose([d["pixels"] * stride, d["pixels"] * stride, self._within(1, 4)])
            if self._maybe(0.2):
                stride, tile_stride = d["tiles"], 1
            last = (d["tiles"] - 1) * tile_stride + (d["pixels"] - 1) * stride
            if last >= config.accumulator_rows or max(stride, tile_stride) > longest:
                continue
            room = config.accumulator_rows - last
            d |= {"address": self._choose([min(d["row"], room - 1), self._below(room)])}
            d |= {"into": into, "fold": fold, "stride": stride, "tile_stride": tile_stride}
            drain = Drain(**d, **self._clamp(wide=True))
            rows = drain_words(drain, config).ravel()
            if fold != Fold.SET and (not self._rows[into][rows].all() or (into == d["bank"] and not d["residual"])):
                continue
            try:
                DrainFootprint(drain, config).folded_rows()
            except ProgramError:
                continue
            self._rows[into][rows] = True
            return drain
        # One tile, in place, or from the residual memory to any rows.
        d["tiles"], count = 1, d["pixels"]
        address = d["row"] if not d["residual"] else self._below(config.accumulator_rows - count + 1)
        self._rows[d["bank"]][address : address + count] = True
        d |= {"into": d["bank"], "fold": Fold.SET, "address": address, "stride": 1, "tile_stride": 1}
        return Drain(**d, **self._clamp(wide=True))

    def _into_words(self, d: dict[str, Any], memory: np.ndarray) -> Drain:
        """Return a drain that writes its results to the words of a memory, with fewer of them if they do not fit."""
        config = self._config
        wide = d["destination"] == Destination.OUTPUT and self._maybe(0.4)
        wide &= config.words_per_pixel(wide=True) <= len(memory)
        size = config.words_per_pixel(wide=wide)
        lane = 0 if wide else self._below(config.tiles_per_word)
        for attempt in range(_TRIES):
            stride = self._choose([size, size, size, size + self._below(3), self._below(size + 1)])
            tile_stride = self._choose([stride * d["pixels"], size * d["pixels"], size, self._below(9)])
            if attempt > _TRIES // 2:
                stride, tile_stride = size, size * d["pixels"]
                d["tiles"], d["pixels"] = (d["tiles"] + 1) // 2, (d["pixels"] + 1) // 2
            step = d["tiles"] - 1 if wide else (lane + d["tiles"] - 1) // config.tiles_per_word
            last = step * tile_stride + (d["pixels"] - 1) * stride + size - 1
            if last < len(memory) and tile_stride <= len(memory):
                break
        else:
            d["tiles"] = d["pixels"] = 1
            lane, last, stride, tile_stride = 0, size - 1, size, size
        room = len(memory) - last
        address = self._choose([0, room - 1, self._below(room)])
        d |= {"wide": wide, "lane": lane, "address": address, "stride": stride, "tile_stride": tile_stride}
        drain = Drain(**d, **self._clamp(wide=wide))
        for tile, words in enumerate(drain_words(drain, config)):
            for part in range(size):
                memory[words + part, slice(None) if wide else (lane + tile) % config.tiles_per_word] = True
        return drain
