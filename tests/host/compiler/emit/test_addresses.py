"""Walks of passes, against the words of the pixels under each tap, written out in numpy."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from etchnet.hdl.isa import OUTSIDE, Pass
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.emit.addresses import image_walk, tap_walk, window_walk
from etchnet.host.compiler.emit.strips import Strip
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.compiler.parts import Operand
from etchnet.host.network.network import INPUT

CONFIG = Config(rows=4, columns=4, depthwise=2, line_words=64)


def word_of(layout, image, y, x, word):
    """Return the address of a word of a pixel, or OUTSIDE."""
    height, width = layout.shape[:2]
    if not (0 <= y < height and 0 <= x < width):
        return OUTSIDE
    number = np.arange(layout.size).reshape(layout.images, height, width, layout.words)
    return layout.base + number[image, y, x, word]


@st.composite
def operands(draw):
    """Draw an operand in memory, a rectangle of result pixels that uses it, and a word of its pixels."""
    height, width = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    layout = TensorLayout((height, width, 4), 2, draw(st.integers(1, 3)), np.arange(4), draw(st.integers(0, 9)))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    taps = [(draw(st.integers(-3, 3)), draw(st.integers(-3, 3)))]
    operand = Operand(INPUT, taps, stride, lambda tap: np.ones((4, 4), np.int8))
    lines, columns = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    strip = Strip(
        0, lines * columns, draw(st.integers(0, 1)), draw(st.integers(0, 3)), draw(st.integers(0, 3)), lines, columns
    )
    return operand, layout, strip, draw(st.integers(0, layout.words - 1))


@given(operands())
def test_a_rectangle_walks_the_pixels_under_a_tap(drawn):
    operand, layout, strip, word = drawn
    (tap,), stride = operand.taps, operand.stride
    walked = Pass(**tap_walk(operand, layout, strip, tap, word, single=False)).walk()
    expected = [
        word_of(layout, strip.image, (strip.y + i) * stride[0] + tap[0], (strip.x + j) * stride[1] + tap[1], word)
        for i in range(strip.lines)
        for j in range(strip.columns)
    ]
    assert walked.tolist() == expected


@given(operands(), st.integers(0, 5), st.integers(1, 10))
def test_a_run_walks_pixel_after_pixel(drawn, first, count):
    operand, layout, _, word = drawn
    walked = Pass(**tap_walk(operand, layout, Strip(first, count), (0, 0), word, single=False)).walk()
    assert walked.tolist() == [layout.base + (first + i) * layout.words + word for i in range(count)]


@given(operands())
def test_a_result_of_one_pixel_walks_the_same_tap_of_every_image(drawn):
    operand, layout, _, word = drawn
    (tap,) = operand.taps
    walked = Pass(**tap_walk(operand, layout, Strip(0, layout.images), tap, word, single=True)).walk()
    assert walked.tolist() == [word_of(layout, image, *tap, word) for image in range(layout.images)]


@given(operands(), st.data())
def test_a_held_row_walks_a_rectangle_inside_the_image(drawn, data):
    operand, layout, strip, word = drawn
    height, width = layout.shape[:2]
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    lines, columns = data.draw(st.integers(1, height - y)), data.draw(st.integers(1, width - x))
    walked = Pass(**image_walk(operand, layout, (strip.image, y, x), (lines, columns), word)).walk()
    expected = [word_of(layout, strip.image, y + i, x + j, word) for i in range(lines) for j in range(columns)]
    assert walked.tolist() == expected


@given(operands(), st.sampled_from([(0, 0), (0, 2), (2, 0)]))
def test_a_depthwise_pass_walks_every_window(drawn, corner):
    """Tap (a, b) of the window of result pixel (i, j) is a lines and b pixels after the window's first."""
    operand, layout, strip, word = drawn
    fields = window_walk(operand, layout, strip, corner, word, CONFIG)
    assume(fields is not None)
    walked, line, (tap,) = Pass(**fields).walk(), fields["columns"], operand.taps
    (stride_y, stride_x), taps = operand.stride, CONFIG.depthwise
    for i, j, a, b in np.ndindex(strip.lines, strip.columns, taps, taps):
        y = (strip.y + i) * stride_y + tap[0] + corner[0] + a
        x = (strip.x + j) * stride_x + tap[1] + corner[1] + b
        position = i * stride_y * line + j * stride_x + a * line + b
        assert walked[position] == word_of(layout, strip.image, y, x, word)


def test_windows_that_the_line_buffers_cannot_hold_are_refused():
    operand = Operand(INPUT, [(0, 0)], (1, 1), lambda tap: np.ones((4, 4), np.int8))
    layout = TensorLayout.packed((4, 100, 4), 1, CONFIG)
    columns = CONFIG.longest_line
    assert window_walk(operand, layout, Strip(0, 50, lines=1, columns=50), (0, 0), 0, CONFIG)
    assert window_walk(operand, layout, Strip(0, columns, lines=1, columns=columns), (0, 0), 0, CONFIG) is None
    assert window_walk(operand, layout, Strip(0, 50), (0, 0), 0, CONFIG) is None


@pytest.mark.parametrize(("stride", "fits"), [((4, 1), True), ((1, 4), True), ((5, 1), False), ((1, 5), False)])
def test_windows_skip_at_most_three_columns_and_lines(stride, fits):
    operand = Operand(INPUT, [(0, 0)], stride, lambda tap: np.ones((4, 4), np.int8))
    layout = TensorLayout.packed((12, 12, 4), 1, CONFIG)
    walk = window_walk(operand, layout, Strip(0, 4, lines=2, columns=2), (0, 0), 0, CONFIG)
    assert (walk is not None) == fits
