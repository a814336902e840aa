"""Certificates: the worst inputs reach their bounds, and no input exceeds them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import int8, randoms

from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.overflow import check_overflow
from etchnet.host.network.layers import MAX_TERMS, Add, AveragePool, Conv, Dense, MaxPool

CONFIG = Config(rows=8, columns=8)


def sums_of(layer, x):
    """Return sums with bias and zero point in int64, for int8 (M, terms)."""
    return (x.astype(np.int64) - layer.input_zero_point) @ layer.matrix.astype(np.int64) + layer.bias


def worst_inputs(layer):
    """Return, for each output channel, the inputs that make its sum largest and smallest."""
    positive = layer.matrix.T > 0
    return np.where(positive, 127, -128), np.where(positive, -128, 127)


@given(randoms(), st.integers(1, 40), st.integers(1, 5), st.integers(-128, 127))
def test_bounds_of_a_layer_are_reached_by_the_worst_inputs(random, terms, channels, zero_point):
    bias = random.integers(-(1 << 20), 1 << 20, channels)
    layer = Dense.from_scale(int8(random, (terms, channels)), bias, scale=0.001, input_zero_point=zero_point)
    certificate = check_overflow(layer, 3, CONFIG)
    largest, smallest = worst_inputs(layer)
    assert certificate.layer == 3
    assert certificate.accumulators == (sums_of(layer, smallest).min(), sums_of(layer, largest).max())
    x = int8(random, (50, terms))
    low, high = certificate.accumulators
    assert ((low <= sums_of(layer, x)) & (sums_of(layer, x) <= high)).all()


@given(randoms(), st.integers(1, 40))
def test_bounds_of_array_columns_hold_for_any_choice_of_rows(random, terms):
    """At most `rows` products share a column of the array; the worst inputs of the largest weights reach the bound."""
    layer = Dense(int8(random, (terms, 3)))
    certificate = check_overflow(layer, 0, CONFIG)
    weights = layer.matrix.astype(np.int64)
    for products, bound, best in (
        (127 * weights, certificate.sums[1], max),
        (-128 * weights, certificate.sums[0], min),
    ):
        for channel in range(3):
            chosen = random.permutation(terms)[: CONFIG.rows]
            assert best(bound, int(products[chosen, channel].sum())) == bound
    highs = np.maximum(-128 * weights, 127 * weights)
    assert certificate.sums[1] == np.sort(highs, axis=0)[-CONFIG.rows :].sum(axis=0).max()


def test_the_largest_number_of_terms_just_fits_int32():
    """The largest sum is K x 128 x 128, and reaches 2**31 with one more term."""
    layer = Dense(np.full((MAX_TERMS, 1), -128, np.int8))
    certificate = check_overflow(layer, 0, CONFIG)
    assert certificate.accumulators[1] == MAX_TERMS * 128 * 128
    assert certificate.holds
    assert (MAX_TERMS + 1) * 128 * 128 == 1 << 31


def test_a_bias_at_the_limit_overflows():
    layer = Dense(np.ones((1, 1), np.int8), np.array([(1 << 31) - 1 - 127]))
    assert check_overflow(layer, 0, CONFIG).holds
    layer = Dense(np.ones((1, 1), np.int8), np.array([(1 << 31) - 127]))
    assert not check_overflow(layer, 0, CONFIG).holds


@pytest.mark.parametrize("contract", ["tflite-double", "tflite-single"])
def test_left_shifts_matter_if_the_contract_wraps(contract):
    """Under `tflite-double`, a factor of 4 shifts sums left by 3 before the product."""
    weights = np.full((1 << 16, 1), 127, np.int8)
    layer = Dense.from_scale(weights, scale=4.0, contract=contract)
    certificate = check_overflow(layer, 0, Config(rows=8, columns=8, contract=contract))
    assert certificate.accumulators[1] == (1 << 16) * 127 * 127
    if contract == "tflite-double":
        assert certificate.shifted[1] == certificate.accumulators[1] << 3
        assert not certificate.holds
    else:
        assert certificate.holds


def test_an_addition_is_bounded_by_its_operands_extremes():
    layer = Add.from_scales((0.5, 0.25), 0.5, zero_points=(3, -4))
    certificate = check_overflow(layer, 0, CONFIG)
    first, second = (
        [scaling.apply(np.array([v - zero]), CONFIG.contract)[0] for v in (-128, 127)]
        for scaling, zero in ((layer.first, 3), (layer.second, -4))
    )
    assert certificate.accumulators == (first[0] + second[0], first[1] + second[1])
    assert certificate.holds


def test_pools_are_bounded_by_their_windows_and_moves_need_no_certificate():
    certificate = check_overflow(AveragePool((7, 7)), 0, CONFIG)
    assert certificate.accumulators == (-128 * 49, 127 * 49)
    assert certificate.holds
    assert check_overflow(MaxPool((2, 2)), 0, CONFIG) is None


def test_convolutions_are_bounded_by_all_taps():
    weights = np.full((3, 3, 4, 2), -1, np.int8)
    certificate = check_overflow(Conv.from_scale(weights, scale=0.1), 0, CONFIG)
    assert certificate.accumulators == (-127 * 36, 128 * 36)
