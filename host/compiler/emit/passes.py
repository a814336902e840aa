"""The passes of one strip: by taps, by held rows, or by depthwise windows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from etchnet.hdl.isa import Fold, Pass, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.emit.addresses import PassFields, image_walk, tap_walk, window_walk
from etchnet.host.compiler.emit.constants import Constants
from etchnet.host.compiler.emit.groups import Label, LabelledPasses, PassGroup
from etchnet.host.compiler.emit.strips import Strip, pixel_runs
from etchnet.host.compiler.fusion import FusionGroup
from etchnet.host.compiler.memory_map import MemoryMap
from etchnet.host.compiler.parts import Operand, Part
from etchnet.sim.timing import InterleavedPasses, words_read

__all__ = ["PassEmitter"]


@dataclass(frozen=True, eq=False)
class _OperandPasses:
    """The passes of one operand: (input word, tap, column tile) of each.

    Attributes
    ----------
    tiles
        The column tile of each pass, counted from the group's first.
    round_robin
        The number of column tiles that alternate regularly; 0 if some have fewer passes than others.
    """

    operand: Operand
    passes: list[tuple[int, int, int]]
    tiles: list[int]
    round_robin: int


class PassEmitter:
    """Makes the passes of strips, with tensors and constants at their addresses."""

    def __init__(self, config: Config, memory: MemoryMap, constants: Constants) -> None:
        self.config, self.memory, self.constants = config, memory, constants
        self._operand_passes: dict[object, list[_OperandPasses]] = {}

    # One pass per tap

    def by_taps(
        self,
        fusion: FusionGroup,
        part: Part,
        strip: Strip,
        tile: int,
        tiles: int,
        bank: int,
        *,
        row: int = 0,
        word: int | None = None,
    ) -> LabelledPasses:
        """Return a pass for each operand, input word (or only `word` if given), tap and column tile.

        Column tile t of the group fills the accumulator rows from `row` + t * `strip.count` on.
        """
        found, started = LabelledPasses(), set()
        for operand_passes in self._passes_of(part, tile, tiles, word):
            operand, walked, fields = operand_passes.operand, None, {}
            for w, tap, t in operand_passes.passes:
                if walked != (w, tap):
                    walked, fields = (w, tap), self._walk(fusion, operand, strip, tap, w)
                kind, weights, useful = self.constants.tile(operand, part.channels, tap, w, t)
                fold = part.fold if t in started else Fold.SET
                started.add(t)
                offset = (operand.image_taps or operand.taps)[tap]
                found.add(
                    Pass(
                        kind=kind,
                        weights=weights,
                        useful=useful,
                        bank=bank,
                        row=row + (t - tile) * strip.count,
                        fold=fold,
                        **fields,
                    ),
                    Label(fusion.layer, f"{offset[0]:+d}{offset[1]:+d}", w, t, strip.first),
                )
        return found

    def group_by_taps(
        self, fusion: FusionGroup, part: Part, strip: Strip, tile: int, tiles: int, bank: int
    ) -> PassGroup:
        """Return the group of the passes of `by_taps`, which are made when they are first needed."""
        interleaved = []
        for operand_passes in self._passes_of(part, tile, tiles, None):
            source, words = operand_passes.operand.source, None
            if source >= 0:
                layout = self.memory.layouts[source]
                words = layout.base, layout.base + layout.size
            read = partial(self._words_read, fusion, operand_passes, strip)
            interleaved.append(
                InterleavedPasses(bank, strip.count, operand_passes.tiles, operand_passes.round_robin, words, read)
            )
        return PassGroup(partial(self.by_taps, fusion, part, strip, tile, tiles, bank), interleaved)

    def _walk(self, fusion: FusionGroup, operand: Operand, strip: Strip, tap: int, word: int) -> PassFields:
        layout, single = self.memory.layouts[operand.source], self.memory.pixels(fusion.result) == 1
        return tap_walk(operand, layout, strip, operand.taps[tap], word, single=single)

    def _words_read(
        self, fusion: FusionGroup, operand_passes: _OperandPasses, strip: Strip, index: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the words that pass `index` reads, and the cycle of each read from the issue of its first pixel."""
        word, tap, _ = operand_passes.passes[index]
        return words_read(Pass(**self._walk(fusion, operand_passes.operand, strip, tap, word)))

    def _passes_of(self, part: Part, tile: int, tiles: int, only: int | None) -> list[_OperandPasses]:
        """Return the passes of a group, by operand, for all input words or for `only` one."""
        key = part, tile, tiles, only
        if key in self._operand_passes:
            return self._operand_passes[key]
        span = range(tile, tile + tiles)
        masks = [self.constants.tile_mask(operand, part.channels) for operand in part.operands]
        unreached = [t for t in span if not any(mask[:, t].any() for mask in masks)]
        started: set[int] = set()
        found: list[_OperandPasses] = []
        for operand, mask in zip(part.operands, masks, strict=True):
            words, taps = range(len(mask)) if only is None else [only], range(len(operand.taps))
            if mask.all():
                passes = [(word, tap, t) for word in words for tap in taps for t in span]
            else:
                passes = []
                for word in words:
                    # The rows of a column tile that no input reaches must still be set: word 0 gives zeros.
                    reached = [t for t in span if mask[word, t]]
                    new = [t for t in unreached if not word and t not in started]
                    passes += [(word, 0, t) for t in sorted(reached + new)]
                    passes += [(word, tap, t) for tap in taps[1:] for t in reached]
                    started.update(new)
            if passes:
                round_robin = tiles if mask.all() else 0
                found.append(_OperandPasses(operand, passes, [t - tile for _, _, t in passes], round_robin))
        self._operand_passes[key] = found
        return found

    # One pass per result pixel

    def by_held_rows(
        self, fusion: FusionGroup, part: Part, strip: Strip, tile: int, bank: int
    ) -> LabelledPasses | None:
        """Return passes that each fold all taps of a result pixel inside the image into one accumulator row.

        There is one pass for each result pixel and input word, or several if a window has more pixels than a pass can
        have. Returns None if even one line of a window has more.
        """
        found, operand = LabelledPasses(), part.operands[0]
        layout = self.memory.layouts[operand.source]
        height, width = layout.shape[:2]
        result_width = self.memory.shapes[fusion.result][1]
        ys, xs = ([min(axis), max(axis)] for axis in zip(*operand.taps, strict=True))
        words = np.flatnonzero(self.constants.tile_mask(operand, part.channels)[:, tile])
        pixels = [first + i for first, count, _ in pixel_runs(strip, result_width) for i in range(count)]
        for number, position in enumerate(pixels):
            image, pixel = divmod(position, self.memory.pixels(fusion.result))
            y, x = pixel // result_width * operand.stride[0], pixel % result_width * operand.stride[1]
            top, bottom = max(0, y + ys[0]), min(height, y + ys[1] + 1)
            left, right = max(0, x + xs[0]), min(width, x + xs[1] + 1)
            lines = self.config.pass_pixels // (right - left)
            if not lines:
                return None
            pieces = [(int(word), first) for word in words for first in range(top, bottom, lines)]
            for index, (word, first) in enumerate(pieces):
                kind, weights, useful = self.constants.tile(operand, part.channels, 0, word, tile)
                size = min(first + lines, bottom) - first, right - left
                found.add(
                    Pass(
                        kind=kind,
                        weights=weights,
                        useful=useful,
                        bank=bank,
                        row=number,
                        fold=part.fold if index else Fold.SET,
                        hold=part.fold,
                        **image_walk(operand, layout, (image, first, left), size, word),
                    ),
                    Label(fusion.layer, "all", word, tile, position),
                )
        return found

    # Depthwise passes

    def by_windows(self, fusion: FusionGroup, part: Part, strip: Strip, tile: int, bank: int) -> LabelledPasses | None:
        """Return a depthwise pass for each window of the kernel, or None if `window_walk` cannot walk one of them."""
        found, operand = LabelledPasses(), part.operands[0]
        layout = self.memory.layouts[operand.source]
        for number, corner in enumerate(self.constants.corners(operand)):
            fields = window_walk(operand, layout, strip, corner, tile, self.config)
            if fields is None:
                return None
            weights, useful = self.constants.window_tile(operand, corner, tile)
            fold = part.fold if number else Fold.SET
            found.add(
                Pass(kind=TileKind.DEPTHWISE, weights=weights, useful=useful, bank=bank, fold=fold, **fields),
                Label(fusion.layer, f"{corner[0]:+d}{corner[1]:+d}..", tile, tile, strip.first),
            )
        return found
