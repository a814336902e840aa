"""The emitter: from fusion groups to groups of passes and drains."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from etchnet.hdl.isa import Fold
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.emit.constants import Constants
from etchnet.host.compiler.emit.drains import DrainEmitter, DrainFields, chain
from etchnet.host.compiler.emit.groups import LabelledPasses, Order, PassGroup, Write
from etchnet.host.compiler.emit.passes import PassEmitter
from etchnet.host.compiler.emit.strips import Strip, cut_into_strips, strips_and_tiles
from etchnet.host.compiler.fusion import FusionGroup, column_tiles
from etchnet.host.compiler.memory_map import MemoryMap
from etchnet.host.compiler.parts import Addition, Part, identity_output

__all__ = ["Emitter"]


class Emitter:
    """Emits the fusion groups of one network for one machine, once tensors have addresses.

    Parameters
    ----------
    memory
        The addresses of all tensors.
    draft
        Whether only the timing matters. Then weights and parameters have no addresses.

    Attributes
    ----------
    constants
        The weights and parameters emitted so far.
    """

    def __init__(self, config: Config, memory: MemoryMap, *, draft: bool = False) -> None:
        self.config, self.memory = config, memory
        self.constants = Constants(config, memory, draft=draft)
        self._passes = PassEmitter(config, memory, self.constants)
        self._drains = DrainEmitter(config, memory, self.constants)
        self._copy = identity_output(config.contract)

    def reserve(self, fusion: FusionGroup, method: str) -> None:
        """Store the weights and parameters of a fusion group by column tile, independent of the order of its passes."""
        constants = self.constants
        if fusion.pair:
            tiles, channels = column_tiles(fusion.parts[0], self.config), fusion.parts[0].channels
            for output in (*fusion.pair.scaled, fusion.pair.result):
                constants.parameter(output, 1 if output.shared else tiles)
            for operand in fusion.pair.operands:
                for word, tile in np.argwhere(constants.tile_mask(operand, channels)):
                    constants.tile(operand, channels, 0, int(word), int(tile))
            return
        for part in fusion.parts:
            tiles = column_tiles(part, self.config)
            constants.parameter(part.output, tiles)
            if self._is_spread(part):
                constants.parameter(self._copy, 1)
            for tile in range(tiles):
                self._reserve_tile(part, tile, method)
        if fusion.addition:
            for output in (fusion.addition.first, fusion.addition.second, fusion.addition.result):
                constants.parameter(output, 1)

    def _reserve_tile(self, part: Part, tile: int, method: str) -> None:
        for operand in part.operands:
            if method == "window":
                for corner in self.constants.corners(operand):
                    self.constants.window_tile(operand, corner, tile)
                continue
            for word in np.flatnonzero(self.constants.tile_mask(operand, part.channels)[:, tile]):
                for tap in range(len(operand.taps)):
                    self.constants.tile(operand, part.channels, tap, int(word), tile)

    def cache_key(self, fusion: FusionGroup) -> object:
        """Return a key that is equal if a fusion group has the same pass groups under two choices of arrangements."""
        memory = self.memory
        residual = [fusion.addition.residual] if fusion.addition else []
        tensors = (*fusion.sources, fusion.result, *residual)
        stored = [
            (t, layout.base, layout.words, layout.shape)
            for layouts in (memory.layouts, memory.outputs)
            for t in tensors
            if (layout := layouts.get(t)) is not None
        ]
        arranged = tuple(memory.arrangements.get(t) for t in tensors)
        return fusion.layer, fusion.result, tuple(stored), arranged, tuple(memory.residual.get(t) for t in tensors)

    def groups(self, fusion: FusionGroup, order: Order, bank: int) -> list[PassGroup] | None:
        """Return the pass groups of a fusion group, alternating between the banks from `bank` on.

        Returns None if the machine cannot run them in this order.
        """
        if fusion.pair:
            return list(self._pair(fusion, fusion.pair, order.rows, bank))
        found: list[PassGroup] = []
        for part in fusion.parts:
            tiles = column_tiles(part, self.config)
            if self._is_spread(part):
                if order.method == "hold":
                    return None
                spread = list(self._spread(fusion, part, tiles, bank))
                found += spread
                bank ^= len(spread) % 2
                continue
            for strip, tile, count in strips_and_tiles(part, fusion.result, order, tiles, self.memory, self.config):
                group = self._group(fusion, part, order.method, strip, tile, count, bank)
                if group is None:
                    return None
                found.append(chain(group, self._drains.of_group(fusion, part, strip, tile, count, bank)))
                bank ^= 1
        return found

    def _group(
        self, fusion: FusionGroup, part: Part, method: str, strip: Strip, tile: int, tiles: int, bank: int
    ) -> PassGroup | None:
        """Return the passes of one strip, without drains."""
        if method == "taps":
            return self._passes.group_by_taps(fusion, part, strip, tile, tiles, bank)
        make = self._passes.by_held_rows if method == "hold" else self._passes.by_windows
        passes = make(fusion, part, strip, tile, bank)
        return None if passes is None else PassGroup(passes)

    def _pair(self, fusion: FusionGroup, pair: Addition, rows: int, bank: int) -> Iterator[PassGroup]:
        """Yield the groups of an addition: a strip of each operand, each in its own bank.

        Groups alternate between the lower and the upper half of both banks.
        """
        part, upper = fusion.parts[0], 0
        for tile in range(column_tiles(part, self.config)):
            for strip in cut_into_strips(part, fusion.result, rows, self.memory, self.config):
                row, upper = upper * rows, 1 - upper
                passes = LabelledPasses()
                for which in reversed(range(len(pair.operands))):
                    single = dataclasses.replace(part, operands=[pair.operands[which]])
                    made = self._passes.by_taps(fusion, single, strip, tile, 1, bank ^ which, row=row)
                    passes.passes += made.passes
                    passes.labels += made.labels
                drains: list[tuple[DrainFields, Write | None]] = [
                    (self._drains.in_place(pair.scaled[0], bank, row, strip.count), None)
                ]
                for second in pair.scaled[1:]:
                    fields = self._drains.in_place(second, 1 - bank, row, strip.count, into=bank, fold=Fold.ADD)
                    drains.append((fields, None))
                drains += self._drains.results(fusion, part, pair.result, strip, tile, 1, bank, row)
                yield chain(PassGroup(passes), drains)

    def _is_spread(self, part: Part) -> bool:
        """Return whether a part takes maxima over column tiles whose channels are in several input words.

        A word gives zeros to the columns that none of its channels reaches; they must not enter the maximum.
        """
        if part.fold != Fold.MAX:
            return False
        masks = (self.constants.tile_mask(operand, part.channels) for operand in part.operands)
        return any(int(mask.sum(axis=0).max()) > 1 for mask in masks)

    def _spread(self, fusion: FusionGroup, part: Part, tiles: int, bank: int) -> Iterator[PassGroup]:
        """Yield groups that take the maxima of each input word in separate rows, and add these in the other bank."""
        mask = self.constants.tile_mask(part.operands[0], part.channels)
        words = int(mask.sum(axis=0).max())
        if words > self.config.accumulator_rows:
            raise CapacityError.of({"accumulator_rows": words}, self.config, self.memory.images)
        rows = max(1, self.config.accumulator_rows // words)
        for tile in range(tiles):
            for strip in cut_into_strips(part, fusion.result, rows, self.memory, self.config):
                passes, drains = LabelledPasses(), list[tuple[DrainFields, Write | None]]()
                for number, word in enumerate(np.flatnonzero(mask[:, tile])):
                    row = number * strip.count
                    made = self._passes.by_taps(fusion, part, strip, tile, 1, bank, row=row, word=int(word))
                    passes.passes += made.passes
                    passes.labels += made.labels
                    fold = Fold.ADD if number else Fold.SET
                    fields = self._drains.in_place(
                        self._copy, bank, row, strip.count, into=1 - bank, address=0, fold=fold
                    )
                    drains.append((fields, None))
                drains += self._drains.results(fusion, part, part.output, strip, tile, 1, 1 - bank)
                yield chain(PassGroup(passes), drains)
                bank ^= 1
