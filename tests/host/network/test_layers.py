"""Layers against loops that compute the same without the windows, matrices or contracts of the code under test."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from support.strategies import int8

from etchnet.host.network.layers import (
    LAYERS,
    Add,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Depthwise,
    MaxPool,
    NetworkError,
    Pad,
    Reshape,
    Scaling,
    same_padding,
)


def windows(x, kernel, stride, padding, dilation=(1, 1)):
    """Return, for every output pixel, each (tap y, tap x, pixel) inside one image (H, W, C), by loops."""
    (top, bottom), (left, right) = padding
    height, width = x.shape[:2]
    rows = range(-top, height + bottom - (kernel[0] - 1) * dilation[0], stride[0])
    columns = range(-left, width + right - (kernel[1] - 1) * dilation[1], stride[1])
    for i, y in enumerate(rows):
        for j, at in enumerate(columns):
            taps = []
            for ky, kx in itertools.product(range(kernel[0]), range(kernel[1])):
                a, b = y + ky * dilation[0], at + kx * dilation[1]
                if 0 <= a < height and 0 <= b < width:
                    taps.append((ky, kx, x[a, b].astype(int)))
            yield i, j, taps


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", [Conv, Depthwise])
def test_convolutions_equal_loops(kind, seed):
    random = np.random.default_rng(seed)
    kernel, stride, dilation = (tuple(int(n) for n in random.integers(1, 4, 2)) for _ in range(3))
    padding = tuple(tuple(int(n) for n in random.integers(0, 3, 2)) for _ in range(2))
    x, zero = int8(random, (1, 9, 8, 3)), int(random.integers(-128, 128))
    layer = kind(
        int8(random, (*kernel, 3, 2)),
        7,
        input_zero_point=zero,
        stride=stride,
        dilation=dilation,
        padding=padding,
    )
    got = layer.reference(x)[0]
    assert got.shape == layer.shape((9, 8, 3))
    weights = layer.weights.astype(int)
    seen = 0
    for i, j, taps in windows(x[0], kernel, stride, padding, dilation):
        # Padding has the zero point's value, so it adds nothing.
        if kind is Conv:
            total = sum(((p - zero) @ weights[ky, kx] for ky, kx, p in taps), np.zeros(2, int))
        else:
            total = sum(((p - zero)[:, None] * weights[ky, kx] for ky, kx, p in taps), np.zeros((3, 2), int)).ravel()
        assert np.array_equal(got[i, j], total + 7)
        seen += 1
    assert seen == got.shape[0] * got.shape[1]
    assert layer.multiplications((9, 8, 3)) == seen * layer.weights.size


@pytest.mark.parametrize("seed", range(8))
def test_pools_equal_loops_over_the_pixels_inside(seed):
    random = np.random.default_rng(seed)
    window, stride = (tuple(int(n) for n in random.integers(1, 4, 2)) for _ in range(2))
    padding = tuple(tuple(int(n) for n in random.integers(0, size, 2)) for size in window)
    x = int8(random, (1, 7, 6, 2))
    average = AveragePool(window, stride, padding).reference(x)[0]
    largest = MaxPool(window, stride, padding).reference(x)[0]
    for i, j, taps in windows(x[0], window, stride, padding):
        pixels = np.array([pixel for _, _, pixel in taps])
        assert np.array_equal(largest[i, j], pixels.max(axis=0))
        for channel in range(2):
            mean = Fraction(int(pixels[:, channel].sum()), len(pixels))
            nearest = int(abs(mean) + Fraction(1, 2)) * (-1 if mean < 0 else 1)  # ties away from zero
            assert average[i, j, channel] == nearest


def test_layers_that_move_values():
    random = np.random.default_rng(0)
    x, y = int8(random, (2, 3, 4, 5)), int8(random, (2, 3, 4, 2))
    joined = Concat().reference(x, y)
    assert np.array_equal(joined[..., :5], x)
    assert np.array_equal(joined[..., 5:], y)
    padded = Pad(((1, 0), (0, 2)), -7, (0, 1)).reference(x)
    assert padded.shape == (2, *Pad(((1, 0), (0, 2)), -7, (0, 1)).shape((3, 4, 5)))
    assert np.array_equal(padded[:, 1:, :4, :5], x)
    assert (padded == -7).sum() >= padded.size - x.size
    assert np.array_equal(Reshape((1, 1, 60)).reference(x).ravel(), x.ravel())


def test_a_sum_of_equal_scales_is_the_sum_of_reals():
    a, b = (grid.reshape(-1, 1, 1, 1).astype(np.int8) for grid in np.meshgrid(range(-128, 128), range(-128, 128)))
    layer = Add.from_scales((0.5, 0.5), 1.0, zero_points=(3, -5), zero_point=1)
    reals = (0.5 * (a.astype(int) - 3) + 0.5 * (b.astype(int) + 5)) / 1.0
    # Ties go away from zero.
    expected = np.clip(np.copysign(np.floor(np.abs(reals) + 0.5), reals) + 1, -128, 127)
    assert np.array_equal(layer.reference(a, b), expected)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(5, 3, 1, (1, 1)), (6, 3, 2, (0, 1)), (7, 2, 2, (0, 1)), (4, 1, 3, (0, 0))],
)
def test_same_padding_puts_an_odd_pixel_after_the_image(size, kernel, stride, padding):
    assert same_padding(size, kernel, stride) == padding
    assert (size + sum(padding) - kernel) // stride + 1 == -(-size // stride)


def test_every_layer_knows_its_zero_points_and_clamp():
    dense = Dense(np.ones((3, 2), np.int8), multiplier=1, input_zero_point=5, low=-3)
    assert (dense.input_zero_points, dense.low, dense.high) == ((5,), -3, 127)
    scaling = Scaling(1 << 30, 0, 0)
    assert Add((3, -5), scaling, scaling, scaling).input_zero_points == (3, -5)
    for layer in (MaxPool((1, 1)), Concat(), Pad(((0, 0), (0, 0))), Reshape((1, 1, 1))):
        assert (layer.input_zero_points, layer.low, layer.high) == ((), -128, 127)
        assert type(layer).__name__ in LAYERS


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxPool((2, 2), padding=((2, 0), (0, 0))), r"padding must be smaller than the window \(2, 2\)"),
        (lambda: MaxPool((0, 2)), r"window must be two integers from 1 to 32768, not \(0, 2\)"),
        (lambda: Concat(3), r"axis must be 0 \(height\), 1 \(width\) or 2 \(channels\), not 3"),
        (lambda: Conv(np.ones((1, 1, 2, 3), np.int8)).shape((4, 4, 5)), "must have 5 input channels, .*, not 2"),
        (lambda: Conv(np.ones((5, 1, 2, 3), np.int8)).shape((4, 4, 2)), "5 pixels do not fit 4"),
        (lambda: Pad(((0, 0), 3)), r"padding must be two integers|padding must be \(\(top"),
        (lambda: Reshape((2, 2, 2)).shape((1, 1, 9)), r"size must have as many values as the input"),
        (lambda: Scaling.of(1.5, left=20), "a scale after a left shift of 20 must be below 1, not 1.5"),
    ],
)
def test_errors_name_invalid_settings(make, message):
    with pytest.raises(NetworkError, match=message):
        make()
