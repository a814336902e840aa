"""Tiling of matrix products that are too large for one program."""

from __future__ import annotations

import math
from dataclasses import dataclass

from etchnet.hdl.isa import chunks
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.capacity import CapacityError, Needs, enough
from etchnet.host.compiler.layout import words_per_pixel

__all__ = ["MatmulTiling"]

_PROGRAM_CYCLES = 200
"""estimated cycles of each program besides its passes: the packets of its instructions, and the last drain"""


@dataclass(frozen=True)
class MatmulTiling:
    """The tile of a product int8 (M, K) @ int8 (K, N) that one program computes in one repeat.

    There is a program for each tile of K and N, and it repeats over M. If K is tiled, the host adds int32 partial sums.

    Attributes
    ----------
    pixels
        Rows of M per repeat.
    terms
        Terms of K per program.
    channels
        Columns of N per program.
    """

    pixels: int
    terms: int
    channels: int

    @classmethod
    def best(cls, rows: int, terms: int, channels: int, config: Config, *, wide: bool) -> MatmulTiling:
        """Return the tiling of a product of M = `rows`, K = `terms`, N = `channels` with the fewest estimated cycles.

        The estimate counts issue slots and link words. `wide` is whether results are int32. Raises CapacityError if the
        machine's memories cannot hold one column tile of the product.
        """
        blocks, tiles = ceil_div(terms, config.rows), ceil_div(channels, config.columns)
        best: tuple[float, MatmulTiling] | None = None
        for block_parts in _parts(blocks):
            block = ceil_div(blocks, block_parts)
            partial = wide or block < blocks
            for tile_parts in _parts(tiles):
                tile = ceil_div(tiles, tile_parts)
                pixels = cls._most_rows(rows, block, tile, config, wide=partial)
                if not pixels:
                    continue
                repeats, programs = ceil_div(rows, pixels), ceil_div(blocks, block) * ceil_div(tiles, tile)
                slots = repeats * block * tile * config.pass_cycles(pixels)
                words = words_per_pixel(min(channels, tile * config.columns), config, wide=partial)
                beats = chunks(8 * config.rows, config)
                link = repeats * pixels * max(block, words) * beats
                weights = block * tile * config.load_cycles * chunks(8 * config.weight_rows * config.columns, config)
                cost = programs * (max(slots, link) + weights + _PROGRAM_CYCLES)
                if best is None or cost < best[0]:
                    even = int(ceil_div(rows, repeats))
                    best = cost, cls(even, min(terms, block * config.rows), min(channels, tile * config.columns))
        if best is None:
            # Every machine has room for one row and one column tile of the operands, and for the program.
            size = words_per_pixel(config.columns, config, wide=wide or blocks > 1)
            raise CapacityError.of({"output_words": enough("output_words", size)}, config, 1)
        return best[1]

    @classmethod
    def whole(cls, rows: int, terms: int, channels: int, config: Config, *, wide: bool) -> MatmulTiling:
        """Return the tiling in which one program computes all terms and channels; parameters as for `best`.

        Raises CapacityError if the machine is too small; it names all memories that are.
        """
        blocks, tiles = ceil_div(terms, config.rows), ceil_div(channels, config.columns)
        pixels = cls._most_rows(rows, blocks, tiles, config, wide=wide)
        if not pixels:
            needed = {
                "weight_tiles": blocks * tiles,
                "parameter_tiles": tiles,
                "input_words": blocks,
                "output_words": words_per_pixel(tiles * config.columns, config, wide=wide),
                "passes": blocks * (tiles + 1),
                "drains": tiles + 1,
            }
            needs = Needs({name: enough(name, count) for name, count in needed.items()})
            raise CapacityError.of(needs.short(config), config, 1)
        return cls(int(ceil_div(rows, ceil_div(rows, pixels))), terms, channels)

    @staticmethod
    def _most_rows(rows: int, blocks: int, tiles: int, config: Config, *, wide: bool) -> int:
        """Return how many of `rows` one repeat of blocks x tiles can take; 0 if the machine is too small."""
        size = words_per_pixel(tiles * config.columns, config, wide=wide)
        if blocks * tiles > config.weight_tiles or tiles > config.parameter_tiles:
            return 0
        most = min(rows, config.input_words // blocks, config.output_words // size, 4 * config.accumulator_rows)
        while most > 0:
            strips = ceil_div(most, config.accumulator_rows) + 1
            if blocks * (tiles * (strips - 1) + 1) <= config.passes and tiles * (strips - 1) + 1 <= config.drains:
                return most
            most = min(most - 1, (strips - 2) * config.accumulator_rows)
        return 0


def _parts(whole: int) -> list[int]:
    """Return the numbers of parts worth trying, ascending: the fewest parts for each size of a part.

    For large `whole` only some sizes are tried: those up to about its square root, and those of about as many parts.
    """
    root = math.isqrt(whole) + 2
    sizes = {ceil_div(whole, parts) for parts in range(1, root)} | set(range(1, root))
    return sorted({ceil_div(whole, size) for size in sizes if size <= whole})
