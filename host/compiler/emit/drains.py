"""Drains of one strip: from accumulator rows to the memories, or through the requantiser back to a bank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from etchnet.hdl.isa import Destination, Drain, Fold
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.emit.constants import Constants
from etchnet.host.compiler.emit.groups import PassGroup, Write
from etchnet.host.compiler.emit.strips import Strip, pixel_runs
from etchnet.host.compiler.fusion import FusedAddition, FusionGroup, column_tiles
from etchnet.host.compiler.memory_map import MemoryMap
from etchnet.host.compiler.parts import Output, Part

__all__ = ["DrainEmitter", "DrainFields", "chain"]

DrainFields = dict[str, Any]
"""fields of a `Drain`, by name"""
_INT32 = {"low": -(1 << 31), "high": (1 << 31) - 1}


def chain(group: PassGroup, drains: Sequence[tuple[DrainFields, Write | None]]) -> PassGroup:
    """Append drains to a group: its last pass starts the first drain, and each other drain follows the one before."""
    for index, (fields, write) in enumerate(drains):
        group.drains.append(Drain(**fields, chained=index > 0))
        group.writes.append(write)
    return group


class DrainEmitter:
    """Makes the drains of strips, with tensors and constants at their addresses."""

    def __init__(self, config: Config, memory: MemoryMap, constants: Constants) -> None:
        self.config, self.memory, self.constants = config, memory, constants

    def of_group(
        self, fusion: FusionGroup, part: Part, strip: Strip, tile: int, tiles: int, bank: int
    ) -> list[tuple[DrainFields, Write | None]]:
        """Return the drains of a strip: requantisation of its sums, and the fused addition if there is one."""
        if fusion.addition is None:
            return list(self.results(fusion, part, part.output, strip, tile, tiles, bank))
        return self._fused_addition(fusion, fusion.addition, part, strip, tile, tiles, bank)

    def results(
        self,
        fusion: FusionGroup,
        part: Part,
        output: Output,
        strip: Strip,
        tile: int,
        tiles: int,
        bank: int,
        row: int = 0,
    ) -> Iterator[tuple[DrainFields, Write]]:
        """Yield the drains that write a strip to every memory that needs the result of a fusion group."""
        config = self.config
        first = self.constants.parameter(output, column_tiles(part, config))
        settings: DrainFields = {
            "zero_point": output.zero_point,
            "low": output.low,
            "high": output.high,
            "raw": output.raw,
            "shared": output.shared,
            "bank": bank,
            "wide": part.wide,
        }
        runs = pixel_runs(strip, self.memory.shapes[fusion.result][1])
        # A drain can take all column tiles only if the pixels are a single run.
        spans = [(tile, tiles)] if len(runs) == 1 else [(tile + i, 1) for i in range(tiles)]
        for pixel, count, offset in runs:
            for t, n in spans:
                common = settings | {
                    "row": row + (t - tile) * strip.count + offset,
                    "tiles": n,
                    "pixels": count,
                    "parameters": first + (0 if output.shared else t * config.groups),
                }
                for destination in self._destinations(fusion.result, pixel, t, wide=part.wide):
                    yield common | destination, Write(fusion.result, t, n, pixel, count)

    def _destinations(self, result: int, pixel: int, tile: int, *, wide: bool) -> Iterator[DrainFields]:
        """Yield the fields of each destination of a tensor, from a pixel and a column tile on."""
        config, memory = self.config, self.memory
        stored = {Destination.OUTPUT: memory.outputs.get(result), Destination.ACTIVATION: memory.layouts.get(result)}
        for destination, layout in stored.items():
            if layout is None:
                continue
            size, lanes = config.words_per_pixel(wide=wide), 1 if wide else config.tiles_per_word
            yield {
                "destination": destination,
                "address": layout.base + pixel * layout.words + tile // lanes * size,
                "stride": layout.words,
                "tile_stride": size,
                "lane": tile % lanes,
            }
        if result in memory.residual:
            pixels = memory.images * memory.pixels(result)
            yield {
                "destination": Destination.RESIDUAL,
                "stride": 1,
                "tile_stride": pixels,
                "address": memory.residual[result] + tile * pixels + pixel,
            }

    def in_place(self, output: Output, bank: int, row: int, count: int, **options: Any) -> DrainFields:
        """Return a drain that requantises `count` rows to int32 and writes them back, to the same rows by default."""
        fields = {
            "bank": bank,
            "row": row,
            "pixels": count,
            "parameters": self.constants.parameter(output, 1),
            "shared": True,
            "zero_point": output.zero_point,
            "destination": Destination.ACCUMULATORS,
            "into": bank,
            "address": row,
        }
        return fields | _INT32 | options

    def _fused_addition(
        self,
        fusion: FusionGroup,
        addition: FusedAddition,
        part: Part,
        strip: Strip,
        tile: int,
        tiles: int,
        bank: int,
    ) -> list[tuple[DrainFields, Write | None]]:
        """Return the chain of drains of a residual addition, in the accumulator rows of the group.

        In order: requantise the layer's sums; scale the results to the common scale; scale the residual to the common
        scale and add it; requantise the sums.
        """
        output, rows = part.output, strip.count * tiles
        first = self.constants.parameter(output, column_tiles(part, self.config))
        own: DrainFields = {
            "tiles": tiles,
            "pixels": strip.count,
            "tile_stride": strip.count,
            "zero_point": output.zero_point,
            "parameters": first + (0 if output.shared else tile * self.config.groups),
            "shared": output.shared,
            "low": output.low,
            "high": output.high,
            "bank": bank,
            "into": bank,
            "destination": Destination.ACCUMULATORS,
        }
        drains: list[tuple[DrainFields, Write | None]] = [
            (own, None),
            (self.in_place(addition.first, bank, 0, rows), None),
        ]
        pixels = self.memory.images * self.memory.pixels(addition.residual)
        for t in range(tiles):
            for pixel, count, offset in pixel_runs(strip, self.memory.shapes[fusion.result][1]):
                residual = self.in_place(
                    addition.second,
                    bank,
                    self.memory.residual[addition.residual] + (tile + t) * pixels + pixel,
                    count,
                    residual=True,
                    fold=Fold.ADD,
                    address=t * strip.count + offset,
                )
                drains.append((residual, None))
        drains += self.results(fusion, part, addition.result, strip, tile, tiles, bank)
        return drains
