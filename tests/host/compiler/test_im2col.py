"""im2col on the host: the unfolded network computes the same results as the original."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import int8, randoms

from etchnet.host.compiler.im2col import im2col_variants
from etchnet.host.network.layers import Add, Conv, Dense
from etchnet.host.network.network import INPUT, Network


@st.composite
def convolutions(draw):
    """Draw a network of one convolution with few channels, of any kernel, stride, dilation and padding."""
    random = draw(randoms())
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    channels = draw(st.integers(1, 3))
    layer = Conv.from_scale(
        int8(random, (*kernel, channels, 2)),
        scale=0.01,
        input_zero_point=draw(st.integers(-128, 127)),
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        dilation=draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        padding=draw(st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)),
    )
    return Network([layer], (draw(st.integers(7, 9)), draw(st.integers(7, 9)), channels)), random


@given(convolutions())
def test_unfolded_networks_compute_the_same(drawn):
    network, random = drawn
    x = int8(random, (2, network.input_size))
    for variant in im2col_variants(network, rows=8):
        unfolded = variant.apply(x.reshape(2, *network.input_shape))
        assert unfolded.shape[1:] == variant.network.input_shape
        assert np.array_equal(variant.network.reference(unfolded.reshape(2, -1)), network.reference(x))
        assert variant.network.multiplications == network.multiplications


@given(convolutions())
def test_unfolded_pixels_hold_the_taps_one_after_another(drawn):
    """The definition of im2col, written out pixel by pixel."""
    network, random = drawn
    layer, (height, width, channels) = network.layers[0], network.input_shape
    variants = {variant.name: variant for variant in im2col_variants(network, rows=8)}
    if "whole" not in variants:
        assert layer.kernel == (1, 1)
        return
    x = int8(random, (1, height, width, channels))
    unfolded = variants["whole"].apply(x)[0]
    (top, bottom), (left, right) = layer.padding
    padded = np.full((height + top + bottom, width + left + right, channels), layer.input_zero_point, np.int8)
    padded[top : top + height, left : left + width] = x[0]
    for y, x_ in np.ndindex(unfolded.shape[:2]):
        rows = y * layer.stride[0] + layer.dilation[0] * np.arange(layer.kernel[0])
        columns = x_ * layer.stride[1] + layer.dilation[1] * np.arange(layer.kernel[1])
        assert np.array_equal(unfolded[y, x_], padded[np.ix_(rows, columns)].reshape(-1))


@pytest.mark.parametrize(
    ("kernel", "channels", "names"),
    [
        ((3, 3), 3, ["none", "row", "whole"]),
        ((3, 1), 3, ["none", "whole"]),
        ((1, 1), 3, ["none"]),
        ((3, 3), 8, ["none"]),  # a word is full of channels already
    ],
)
def test_variants_exist_only_if_they_may_fill_words_better(kernel, channels, names):
    layer = Conv.from_scale(int8(np.random.default_rng(0), (*kernel, channels, 4)), scale=0.01)
    network = Network([layer], (6, 6, channels))
    assert [variant.name for variant in im2col_variants(network, rows=8)] == names


def test_only_an_input_that_one_convolution_reads_is_unfolded():
    layer = Conv.from_scale(int8(np.random.default_rng(0), (3, 3, 3, 3)), scale=0.01)
    add = Add.from_scales((0.5, 0.5), 0.5, zero_points=(0, 0))
    both = Network([layer, layer, add], (6, 6, 3), [[INPUT], [INPUT], [0, 1]])
    dense = Network([Dense(int8(np.random.default_rng(0), (4, 3)))])
    for network in (both, dense):
        assert [variant.name for variant in im2col_variants(network, rows=8)] == ["none"]
