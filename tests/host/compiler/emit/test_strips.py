"""Strips: every pixel of a part is in exactly one strip, and no strip is larger than its bank."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.emit.groups import Order
from etchnet.host.compiler.emit.strips import cut_into_strips, pixel_runs, strips_and_tiles
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.compiler.memory_map import MemoryMap
from etchnet.host.compiler.parts import Operand, Output, Part, Region
from etchnet.host.network.network import INPUT

CONFIG = Config(rows=4, columns=4, weight_rows=2, accumulator_rows=16)


@st.composite
def parts(draw):
    """Draw a part of a result, with an operand that may be read pixel by pixel, and the memory that both are in."""
    height, width, images = draw(st.integers(1, 9)), draw(st.integers(1, 20)), draw(st.integers(1, 3))
    if draw(st.booleans()):
        region = Region(0, 0, height, width)
    else:
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        region = Region(y, x, draw(st.integers(1, height - y)), draw(st.integers(1, width - x)))
    taps = [(0, 0)] if draw(st.booleans()) else [(0, 0), (0, 1)]
    operand = Operand(INPUT, taps, (1, 1), lambda tap: np.ones((4, 4), np.int8))
    shape = (height, width, 4)
    memory = MemoryMap(
        {INPUT: TensorLayout.packed(shape, images, CONFIG)}, shapes={INPUT: shape, 0: shape}, images=images
    )
    return Part(region, 4, [operand], Output([])), memory


def pixels_of(strip, width):
    """Return the pixels of a strip, counted over all images, in order."""
    return [first + i for first, count, _ in pixel_runs(strip, width) for i in range(count)]


@given(parts(), st.integers(1, 16), st.booleans())
def test_strips_cover_each_pixel_of_the_part_once(drawn, rows, short_end):
    part, memory = drawn
    height, width = memory.shapes[0][:2]
    strips = cut_into_strips(part, 0, rows, memory, CONFIG, short_end=short_end)
    region = part.region
    inside = np.zeros((memory.images, height, width), bool)
    inside[:, region.y : region.y + region.height, region.x : region.x + region.width] = True
    covered = [pixel for strip in strips for pixel in pixels_of(strip, width)]
    assert sorted(covered) == np.flatnonzero(inside).tolist()
    assert all(strip.count == len(pixels_of(strip, width)) <= rows for strip in strips)


@given(parts(), st.integers(1, 16))
def test_rectangles_have_the_pixels_of_their_lines_and_columns(drawn, rows):
    part, memory = drawn
    height, width = memory.shapes[0][:2]
    number = np.arange(memory.images * height * width).reshape(-1, height, width)
    for strip in cut_into_strips(part, 0, rows, memory, CONFIG):
        if strip.lines:
            rectangle = number[strip.image, strip.y : strip.y + strip.lines, strip.x : strip.x + strip.columns]
            assert pixels_of(strip, width) == rectangle.reshape(-1).tolist()


@given(parts(), st.integers(1, 16))
def test_a_short_end_is_the_shortest_that_hides_the_loading_of_weights(drawn, rows):
    """It has at least `load_cycles` pixels, in whole lines if strips are rectangles, unless the part has fewer."""
    part, memory = drawn
    *_, last = cut_into_strips(part, 0, rows, memory, CONFIG, short_end=True)
    *_, normal = cut_into_strips(part, 0, rows, memory, CONFIG)
    assert last.count <= normal.count
    if last != normal:
        assert last.count >= CONFIG.load_cycles
        line = part.region.width if last.lines else 1
        assert last.count - line < CONFIG.load_cycles


@given(parts(), st.integers(1, 16), st.integers(1, 5), st.sampled_from(["tiles", "strips", "side"]))
def test_each_order_computes_each_strip_of_each_column_tile_once(drawn, rows, tiles, order):
    part, memory = drawn
    found = list(strips_and_tiles(part, 0, Order("taps", order, rows), tiles, memory, CONFIG))
    width = memory.shapes[0][1]
    computed = [
        (t, pixel) for strip, tile, n in found for t in range(tile, tile + n) for pixel in pixels_of(strip, width)
    ]
    assert len(computed) == len(set(computed)) == tiles * memory.images * part.region.height * part.region.width
    assert all(strip.count * n <= CONFIG.accumulator_rows for strip, _, n in found)
    first_tiles = [tile for _, tile, _ in found]
    if order == "tiles":
        assert first_tiles == sorted(first_tiles)
