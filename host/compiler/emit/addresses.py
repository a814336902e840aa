"""The addresses that a pass reads: the walk over the pixels of an operand, as fields of `Pass`."""

from __future__ import annotations

from typing import Any

from etchnet.hdl.isa import Source
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.emit.strips import Strip
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.compiler.parts import Operand

__all__ = ["PassFields", "image_walk", "tap_walk", "window_walk"]

PassFields = dict[str, Any]
"""fields of a `Pass`, by name"""


def _memory_of(operand: Operand) -> Source:
    return Source.INPUT if operand.source < 0 else Source.ACTIVATION


def tap_walk(
    operand: Operand, layout: TensorLayout, strip: Strip, tap: tuple[int, int], word: int, *, single: bool
) -> PassFields:
    """Return the walk over the input pixels that one tap of a strip needs.

    Parameters
    ----------
    layout
        The layout of the operand's tensor in memory.
    word
        The word of each pixel to read.
    single
        Whether the result has one pixel per image, so that consecutive result pixels belong to consecutive images.
    """
    if strip.lines:
        walk = _rectangle_walk(operand, layout, strip, tap, word)
    elif single:
        walk = _batch_walk(operand, layout, strip, tap, word)
    else:
        walk = {"address": layout.base + strip.first * layout.words + word, "step": layout.words, "pixels": strip.count}
    return walk | {"source": _memory_of(operand)}


def _batch_walk(operand: Operand, layout: TensorLayout, strip: Strip, tap: tuple[int, int], word: int) -> PassFields:
    """Return the walk over the same pixel of one image after another."""
    inside = 0 <= tap[0] < layout.shape[0] and 0 <= tap[1] < layout.shape[1]
    return {
        "address": layout.address(strip.first, *tap, word) if inside else 0,
        "step": layout.pixels * layout.words,
        "pixels": strip.count,
        "pad": operand.pad,
        "first_line": 0 if inside else 1,
    }


def _rectangle_walk(
    operand: Operand, layout: TensorLayout, strip: Strip, tap: tuple[int, int], word: int
) -> PassFields:
    """Return the walk over a rectangle of one image, with the limits of the part that is inside the image."""
    height, width = layout.shape[:2]
    y, x = strip.y * operand.stride[0] + tap[0], strip.x * operand.stride[1] + tap[1]
    fields = {
        "address": layout.address(strip.image, y, x, word),
        "step": operand.stride[1] * layout.words,
        "line": operand.stride[0] * width * layout.words,
        "pixels": strip.count,
        "columns": strip.columns if strip.lines > 1 else 0,
        "pad": operand.pad,
    }
    for axis, start, count, size, stride in (
        ("line", y, strip.lines, height, operand.stride[0]),
        ("column", x, strip.columns, width, operand.stride[1]),
    ):
        first, end = max(0, -(start // stride)), -((start - size) // stride)
        if first >= count or end <= 0:
            # Every pixel is outside the image, which is encoded as a first line after the last line.
            return fields | {"address": 0, "first_line": strip.lines, "end_line": 0}
        fields |= {f"first_{axis}": first, f"end_{axis}": 0 if end >= count else end}
    return fields


def image_walk(
    operand: Operand, layout: TensorLayout, corner: tuple[int, int, int], size: tuple[int, int], word: int
) -> PassFields:
    """Return the walk over a rectangle of `size` pixels (height, width) inside an image, from (image, y, x) on."""
    return {
        "source": _memory_of(operand),
        "address": layout.address(*corner, word),
        "step": layout.words,
        "line": layout.shape[1] * layout.words,
        "columns": size[1],
        "pixels": size[0] * size[1],
    }


def window_walk(
    operand: Operand, layout: TensorLayout, strip: Strip, corner: tuple[int, int], word: int, config: Config
) -> PassFields | None:
    """Return the walk of a depthwise pass over the windows that start at `corner` of the kernel.

    Returns None if the line buffers or the fields of a pass cannot hold the walk. The border at the end of a line also
    serves as the border at the start of the next line.
    """
    height, width = layout.shape[:2]
    taps, stride = config.depthwise, operand.stride
    y = strip.y * stride[0] + operand.taps[0][0] + corner[0]
    x = strip.x * stride[1] + operand.taps[0][1] + corner[1]
    last = (strip.columns - 1) * stride[1]
    span = last + taps
    left, right = max(0, -x), max(0, x + span - width)
    line = max(span - min(left, right), config.shortest_line)
    pixels = (strip.lines - 1) * stride[0] * line + last + (taps - 1) * (line + 1) + 1
    if not strip.lines or line > config.longest_line or pixels > config.pass_pixels or max(stride) > 4:
        return None
    inside = max(0, min(line, width - x))
    outside = left >= line or inside <= left or y >= height
    return {
        "source": _memory_of(operand),
        "address": 0 if outside else layout.address(strip.image, y, x, word),
        "step": layout.words,
        "line": width * layout.words,
        "columns": line,
        "pixels": pixels,
        "first_column": left,
        "end_column": 0 if inside >= line else inside,
        "first_line": ceil_div(pixels, line) if outside else max(0, -y),
        "end_line": 0 if outside else height - y,
        "pad": operand.pad,
        "dropped": line - last - 1,
        "skip_columns": stride[1] - 1,
        "skip_lines": stride[0] - 1,
    }
