"""im2col on the host: what unfolded pixels hold, and which ways of unfolding there are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import int8, randoms

from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.arrangement import Arrangement
from etchnet.host.compiler.arrangements import ArrangedNetwork, arrangement_choices
from etchnet.host.compiler.im2col import PACKINGS, im2col_variants
from etchnet.host.network.layers import Add, Conv, Dense, Depthwise
from etchnet.host.network.network import INPUT, Network


@st.composite
def convolutions(draw):
    """Draw a convolution of few channels, of any kernel, stride, dilation and padding, and the shape of its input."""
    random = draw(randoms())
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    channels = draw(st.integers(1, 3))
    layer = Conv.from_scale(
        int8(random, (*kernel, channels, 2)),
        scale=0.01,
        input_zero_point=draw(st.integers(-128, 127)),
        stride=draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        dilation=draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        padding=draw(st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)),
    )
    return layer, (draw(st.integers(7, 9)), draw(st.integers(7, 9)), channels), random


def variants_of(layer, shape, rows=8):
    """Return the ways of unfolding for a layer whose result is stored pixel by pixel."""
    return im2col_variants(layer, INPUT, shape, Arrangement.plain(*layer.shape(shape)[:2]), rows)


@given(convolutions())
def test_unfolded_pixels_hold_the_taps_one_after_another(drawn):
    """The definition of im2col, written out pixel by pixel."""
    layer, (height, width, channels), random = drawn
    whole = [v for v in variants_of(layer, (height, width, channels)) if v.name == "whole"]
    if not whole:
        assert layer.kernel == (1, 1)
        return
    x = int8(random, (1, height, width, channels))
    unfolded = whole[0].apply(x)[0]
    (top, bottom), (left, right) = layer.padding
    padded = np.full((height + top + bottom, width + left + right, channels), layer.input_zero_point, np.int8)
    padded[top : top + height, left : left + width] = x[0]
    rows = layer.dilation[0] * np.arange(layer.kernel[0])
    columns = layer.dilation[1] * np.arange(layer.kernel[1])
    expected = [
        padded[np.ix_(y * layer.stride[0] + rows, x_ * layer.stride[1] + columns)].reshape(-1)
        for y, x_ in np.ndindex(layer.shape((height, width, channels))[:2])
    ]
    if unfolded.shape[:2] == layer.shape((height, width, channels))[:2]:
        assert np.array_equal(unfolded.reshape(len(expected), -1), expected)
    else:
        # Along an axis with a single tap, the input is sent as it is.
        assert 1 in layer.kernel


@given(convolutions())
def test_every_pixel_that_is_needed_is_sent(drawn):
    """Each value of the image that the layer reads is in some word, and nothing else is but the zero point."""
    layer, shape, _ = drawn
    # Each value occurs once, and none is an int8 value, such as the zero point.
    x = np.arange(200, 200 + np.prod(shape)).reshape(1, *shape)
    needed = set(layer.windows(x).ravel().tolist()) - {layer.input_zero_point}
    for variant in variants_of(layer, shape):
        sent = set(variant.apply(x).ravel().tolist())
        assert needed <= sent | {layer.input_zero_point}
        assert sent <= set(x.ravel().tolist()) | {layer.input_zero_point}


@pytest.mark.parametrize(
    ("kernel", "channels", "stride", "names"),
    [
        ((3, 3), 3, 1, ["none", "row", "whole", "block"]),
        ((3, 1), 3, 1, ["none", "whole"]),
        ((1, 3), 3, 1, ["none", "row", "whole"]),
        ((1, 1), 3, 1, ["none"]),
        ((3, 1), 3, 2, ["none", "whole", "block"]),
        ((3, 3), 8, 1, ["none"]),  # a word is full of channels already
    ],
)
def test_variants_exist_only_if_they_may_fill_words_better(kernel, channels, stride, names):
    layer = Conv.from_scale(int8(np.random.default_rng(0), (*kernel, channels, 4)), scale=0.01, stride=(stride, 1))
    found = {variant.name for variant in variants_of(layer, (6, 6, channels))}
    assert [name for name in PACKINGS if name in found] == names


def test_two_lines_of_taps_fill_a_word_that_overlapping_windows_share():
    """A layer of 10 x 8 taps with stride 2 and one channel: 8 taps of 2 lines are 16 channels."""
    layer = Depthwise.from_scale(
        int8(np.random.default_rng(0), (10, 8, 1, 8)), scale=0.01, stride=(2, 2), padding=((4, 5), (3, 3))
    )
    found = variants_of(layer, (49, 40, 1), rows=16)
    pairs = [v for v in found if v.name == "row" and len(v.arrangement.y.offsets) == 2]
    assert [variant.arrangement.shape(1) for variant in pairs] == [(25, 20, 16)]


def test_only_an_input_that_one_windowed_layer_reads_is_unfolded():
    layer = Conv.from_scale(int8(np.random.default_rng(0), (3, 3, 3, 3)), scale=0.01)
    add = Add.from_scales((0.5, 0.5), 0.5, zero_points=(0, 0))
    both = Network([layer, layer, add], (6, 6, 3), [[INPUT], [INPUT], [0, 1]])
    dense = Network([Dense(int8(np.random.default_rng(0), (4, 3)))])
    for network in (both, dense):
        choices = arrangement_choices(ArrangedNetwork(network, Config(rows=8, columns=8), 1))
        assert {choice.im2col.name for choice in choices} == {"none"}
