"""Strips: runs and rectangles of result pixels that fit an accumulator bank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.emit.groups import Order
from etchnet.host.compiler.memory_map import MemoryMap
from etchnet.host.compiler.parts import Part

__all__ = ["Strip", "cut_into_strips", "pixel_runs", "strips_and_tiles"]


@dataclass(frozen=True)
class Strip:
    """Result pixels that are computed together: a run that may span images, or a rectangle of one image.

    Attributes
    ----------
    first
        The first pixel, counted over all images.
    count
        Number of pixels.
    image, y, x, lines, columns
        The rectangle; `lines` is 0 for a run.
    """

    first: int
    count: int
    image: int = 0
    y: int = 0
    x: int = 0
    lines: int = 0
    columns: int = 0


def _covers_all(part: Part, pixels: int) -> bool:
    region = part.region
    return (region.y, region.x) == (0, 0) and region.height * region.width == pixels


def _is_pointwise(part: Part, memory: MemoryMap) -> bool:
    """Return whether pixel i of the result needs only pixel i of every operand."""
    size = part.region.height, part.region.width
    return all(
        len(operand.taps) == 1
        and tuple(operand.taps[0]) == (0, 0)
        and tuple(operand.stride) == (1, 1)
        and memory.layouts[operand.source].shape[:2] == size
        for operand in part.operands
    )


def cut_into_strips(
    part: Part, result: int, rows: int, memory: MemoryMap, config: Config, *, short_end: bool = False
) -> list[Strip]:
    """Cut the pixels of a part of tensor `result` into strips of at most `rows` pixels, in the order of the pixels.

    With `short_end` the last strip is short if possible, because the program ends when its drain ends.
    """
    pixels = memory.pixels(result)
    if _covers_all(part, pixels) and (pixels == 1 or _is_pointwise(part, memory)):
        return _runs(memory.images * pixels, rows, config.load_cycles if short_end else 0)
    strips = []
    for image in range(memory.images):
        least = config.load_cycles if short_end and image == memory.images - 1 else 0
        strips += _rectangles(part, image, memory.shapes[result][:2], rows, least)
    return strips


def _runs(pixels: int, rows: int, least: int) -> list[Strip]:
    """Cut pixels without regard to images or lines; the last strip has `least` pixels if that is not 0."""
    ends = [*range(0, pixels, rows), pixels]
    if least and pixels - ends[-2] > least:
        ends.insert(-1, pixels - least)
    return [Strip(start, end - start) for start, end in zip(ends, ends[1:], strict=False)]


def _rectangles(part: Part, image: int, size: tuple[int, int], rows: int, least: int) -> list[Strip]:
    """Cut one image into whole lines, or into pieces of lines longer than `rows`."""
    region = part.region
    width, lines = region.width, max(1, rows // region.width)
    spans = [(x, min(rows, width - x)) for x in range(0, width, rows)] if width > rows else [(0, width)]
    count = ceil_div(region.height, lines)
    edges = [region.height * i // count for i in range(count + 1)]
    tail = ceil_div(least, width)
    if least and width <= rows and edges[-1] - edges[-2] > tail:
        edges.insert(-1, edges[-1] - tail)
    origin = (image * size[0] + region.y) * size[1] + region.x
    return [
        Strip(origin + y * size[1] + x, (end - y) * columns, image, region.y + y, region.x + x, end - y, columns)
        for y, end in zip(edges, edges[1:], strict=False)
        for x, columns in spans
    ]


def pixel_runs(strip: Strip, width: int) -> list[tuple[int, int, int]]:
    """Split a strip of an image of `width` columns into runs of neighbouring pixels: (first pixel, pixels, row)."""
    if strip.lines <= 1 or strip.columns == width:
        return [(strip.first, strip.count, 0)]
    return [(strip.first + i * width, strip.columns, i * strip.columns) for i in range(strip.lines)]


def strips_and_tiles(
    part: Part, result: int, order: Order, tiles: int, memory: MemoryMap, config: Config
) -> Iterator[tuple[Strip, int, int]]:
    """Yield (strip, first column tile, column tiles) for each pass group of a part, in the order `order`."""
    if order.order == "tiles":
        for tile in range(tiles):
            for strip in cut_into_strips(part, result, order.rows, memory, config, short_end=tile == tiles - 1):
                yield strip, tile, 1
        return
    for strip in cut_into_strips(part, result, order.rows, memory, config):
        most = max(1, config.accumulator_rows // strip.count) if order.order == "side" else 1
        for tile in range(0, tiles, most):
            yield strip, tile, min(most, tiles - tile)
