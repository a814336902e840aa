"""How a matrix product is cut where the machine is smaller."""

from __future__ import annotations

import math
from dataclasses import dataclass

from etchnet.hdl.isa import chunks
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.layout import words_per_pixel

__all__ = ["MatmulTiling"]


@dataclass(frozen=True)
class MatmulTiling:
    """How a matrix product is cut into programs: rows of x per repeat, terms and output channels per program."""

    pixels: int
    terms: int
    channels: int

    @classmethod
    def best(cls, rows: int, terms: int, channels: int, config: Config, *, wide: bool) -> MatmulTiling:
        """The cut with the fewest cycles by the issue slots and link words that it needs."""
        blocks, tiles = ceil_div(terms, config.rows), ceil_div(channels, config.columns)
        best: tuple[float, MatmulTiling] | None = None
        for block_parts in _parts(blocks):
            block = ceil_div(blocks, block_parts)
            partial = wide or block < blocks
            for tile_parts in _parts(tiles):
                tile = ceil_div(tiles, tile_parts)
                pixels = cls._fit(rows, block, tile, config, wide=partial)
                if pixels is None:
                    continue
                repeats, programs = ceil_div(rows, pixels), ceil_div(blocks, block) * ceil_div(tiles, tile)
                slots = repeats * block * tile * config.pass_cycles(pixels)
                words = words_per_pixel(min(channels, tile * config.columns), config, wide=partial)
                beats = chunks(8 * config.rows, config)
                link = repeats * pixels * max(block, words) * beats
                weights = block * tile * config.load_cycles * chunks(8 * config.weight_rows * config.columns, config)
                cost = programs * (max(slots, link) + weights + 200)
                if best is None or cost < best[0]:
                    even = int(ceil_div(rows, repeats))
                    best = cost, cls(even, min(terms, block * config.rows), min(channels, tile * config.columns))
        if best is None:
            raise CapacityError("the machine's memories do not hold one column tile of this product")
        return best[1]

    @staticmethod
    def _fit(rows: int, blocks: int, tiles: int, config: Config, *, wide: bool) -> int | None:
        """The most rows of x that a program of blocks x tiles can take at once, or None."""
        size = words_per_pixel(tiles * config.columns, config, wide=wide)
        if blocks * tiles > config.weight_tiles or tiles > config.parameter_tiles:
            return None
        most = min(rows, config.input_words // blocks, config.output_words // size, 4 * config.accumulator_rows)
        while most:
            strips = ceil_div(most, config.accumulator_rows) + 1
            if blocks * (tiles * (strips - 1) + 1) <= config.passes and tiles * (strips - 1) + 1 <= config.drains:
                return most
            most = min(most - 1, (strips - 2) * config.accumulator_rows)
        return None


def _parts(whole: int) -> list[int]:
    """Numbers of parts worth trying: every distinct part size, fewest parts first, thinned out for long ranges."""
    sizes = sorted(
        {ceil_div(whole, parts) for parts in range(1, math.isqrt(whole) + 2)} | set(range(1, math.isqrt(whole) + 2))
    )
    return sorted({ceil_div(whole, size) for size in sizes if size <= whole})
