"""The contracts tflite-single and onnx-float against their formulas, written here in whole numbers and fractions."""

import functools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import rtl

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.sim.arithmetic.contracts import contract_of, float_scale, quantise_float, scale_float, scale_single

INT32 = (-(1 << 31), (1 << 31) - 1)
NEW = ("tflite-single", "onnx-float")


def to_int32(value):
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def saturate(value, low=INT32[0], high=INT32[1]):
    return min(max(value, low), high)


def half_even(value):
    """Round a fraction to the nearest whole number, ties to even, as Python's own rounding does."""
    return round(value)


def float32(value):
    """Round a fraction to 24 significant bits, to nearest, ties to even."""
    if not value:
        return value
    exponent = 0
    while abs(value) >= Fraction(2) ** (exponent + 24):
        exponent += 1
    while abs(value) < Fraction(2) ** (exponent + 23):
        exponent -= 1
    return half_even(value / Fraction(2) ** exponent) * Fraction(2) ** exponent


def single(value, multiplier, left, right):
    total = 31 - left + right
    if total < 1:
        return saturate(value * multiplier)
    return saturate((value * multiplier + 2 ** (total - 1)) // 2**total)


def real_factor(multiplier, left, right):
    significand = multiplier // 128 if multiplier >= 1 << 30 else 0
    return significand * Fraction(2) ** (left - right - 24)


def floating(value, multiplier, left, right):
    return saturate(half_even(float32(float32(Fraction(value)) * real_factor(multiplier, left, right))))


FORMULAS = {"tflite-single": single, "onnx-float": floating}


def formula(name, row):
    biased = to_int32(row["value"] + row["bias"])
    scaled = FORMULAS[name](biased, row["multiplier"], row["left"], row["right"])
    return saturate(scaled + row["zero_point"], row["low"], row["high"])


def numpy_result(name, row):
    biased = np.int64(to_int32(row["value"] + row["bias"]))
    options = {key: row[key] for key in ("zero_point", "low", "high")}
    return int(contract_of(name).requantise(biased, row["multiplier"], row["left"], row["right"], **options))


def wide(row):
    return row | {"low": INT32[0], "high": INT32[1]}


@functools.cache
def int32s():
    """Draw numbers of every magnitude, and neighbours of powers of two, of 24-bit ties and of the ends of the range."""
    near = st.integers(-3, 3)
    return st.one_of(
        st.integers(0, 31).flatmap(lambda bits: st.integers(-(1 << bits), (1 << bits) - 1)),
        st.builds(
            lambda sign, bit, d: saturate(sign * (1 << bit) + d), st.sampled_from([-1, 1]), st.integers(0, 31), near
        ),
        # Odd multiples of half a unit in the last place of a float32.
        st.builds(
            lambda sign, s, spare, d: sign * saturate((s << spare) + (1 << spare >> 1) + d),
            st.sampled_from([-1, 1]),
            st.integers(1 << 23, (1 << 24) - 1),
            st.integers(1, 7),
            near,
        ),
        st.builds(lambda d: saturate(INT32[1] - 64 + d), st.integers(-3, 64)),
    )


@functools.cache
def significands():
    """Draw significands of 24 bits, the first of them set: any, with few ones, or with many ones."""
    few = st.sets(st.integers(0, 22), max_size=3).map(lambda bits: sum(1 << b for b in bits))
    return st.one_of(
        st.integers(1 << 23, (1 << 24) - 1),
        few.map(lambda low: (1 << 23) + low),
        few.map(lambda low: (1 << 24) - 1 - low),
    )


@functools.cache
def multipliers():
    return st.one_of(
        significands().map(lambda s: s << 7),
        st.integers(0, (1 << 31) - 1),
        st.sampled_from([0, 1, 127, 128, (1 << 30) - 1, 1 << 30, (1 << 30) + 1, (1 << 31) - 1, (1 << 31) - 128]),
    )


@st.composite
def rows(draw):
    """Draw values of every size and every parameter; for half of them the result is small and near a tie."""
    value, multiplier = draw(int32s()), draw(multipliers())
    left, right = draw(st.integers(0, 31)), draw(st.integers(0, 31))
    kind = draw(st.integers(0, 3))
    if kind == 1:
        # The shift that brings this value to a few bits around the binary point.
        shift = saturate(draw(st.integers(-2, 8)) - abs(value).bit_length() + 1, -31, 31)
        left, right = max(shift, 0), max(-shift, 0)
    elif kind == 2:
        # Products of a power of two and a half-integer are ties; their neighbours are one unit off.
        multiplier = 1 << 30
        right = draw(st.integers(0, 28))
        left = 0
        value = saturate((2 * draw(st.integers(-200, 200)) + 1 << right) + draw(st.integers(-1, 1)))
    bias = draw(st.sampled_from([0, 0, 1, -1, INT32[0], INT32[1], 12345]))
    low = draw(st.integers(-128, 127))
    return {
        "value": to_int32(value - bias),
        "bias": bias,
        "multiplier": multiplier,
        "left": left,
        "right": right,
        "zero_point": draw(st.integers(-128, 127)),
        "low": low,
        "high": draw(st.integers(low, 127)),
    }


BOUNDARIES = [
    {
        "value": v,
        "bias": 0,
        "multiplier": m,
        "left": left,
        "right": right,
        "zero_point": -1,
        "low": INT32[0],
        "high": INT32[1],
    }
    for v in (
        0,
        1,
        -1,
        2,
        -3,
        5,
        *INT32,
        INT32[0] + 1,
        INT32[1] - 63,
        INT32[1] - 64,
        (1 << 24) + 1,
        -(3 << 24) - 1,
        (1 << 25) + 2,
        (1 << 25) + 6,
        -(1 << 30),
        5 << 20,
    )
    for m in (0, 1, 127, (1 << 30) - 1, 1 << 30, (1 << 30) + 128, 3 << 29, (1 << 31) - 128, (1 << 31) - 1)
    for left, right in ((0, 0), (1, 0), (0, 1), (0, 2), (0, 24), (0, 31), (8, 0), (9, 2), (30, 0), (31, 0), (31, 31))
]


# The definitions in numpy


@pytest.mark.parametrize("name", NEW)
@settings(max_examples=500)
@given(row=rows())
def test_numpy_equals_the_formula(name, row):
    assert numpy_result(name, row) == formula(name, row)
    assert numpy_result(name, wide(row)) == formula(name, wide(row))


@pytest.mark.parametrize("name", NEW)
def test_numpy_equals_the_formula_at_every_boundary(name):
    assert [numpy_result(name, row) for row in BOUNDARIES] == [formula(name, row) for row in BOUNDARIES]


@given(st.lists(int32s(), min_size=1, max_size=50), significands(), st.integers(-31, 31))
def test_onnx_float_equals_float32_arithmetic(values, significand, shift):
    """The processor's float32 gives the same three roundings."""
    g = np.ldexp(np.float32(significand), shift - 24)
    assert g.dtype == np.float32
    multiplier, encoded = quantise_float(g)
    assert (multiplier, encoded) == (significand << 7, shift)
    x = np.array(values, np.int32)
    wanted = np.clip(np.rint(x.astype(np.float32) * g).astype(np.float64), *INT32).astype(np.int64)
    assert np.array_equal(scale_float(x, multiplier, max(shift, 0), max(-shift, 0)), wanted)


@given(st.floats(2.0**-126, 2.0**-32, exclude_max=True, width=32), int32s())
def test_factors_below_the_smallest_shift_give_zero(g, value):
    assert quantise_float(g) == (0, 0)
    assert np.rint(np.float32(value) * np.float32(g)) == 0


@settings(max_examples=10)
@given(st.lists(rows(), min_size=20, max_size=20))
def test_arrays_broadcast(batch):
    values, m, left, right = (np.array([r[k] for r in batch]) for k in ("value", "multiplier", "left", "right"))
    for name in CONTRACTS:
        scale = contract_of(name).scale
        one_by_one = [[int(scale(v, *p)) for p in zip(m, left, right, strict=True)] for v in values]
        assert scale(values[:, None], m, left, right).tolist() == one_by_one


def test_ties():
    """`tflite-single` rounds ties upwards, `onnx-float` to even."""
    values = np.array([-5, -3, -1, 1, 3, 5])
    assert scale_single(values, 1 << 30, 0, 0).tolist() == [-2, -1, 0, 1, 2, 3]
    assert scale_single(2 * values, 1 << 30, 0, 1).tolist() == [-2, -1, 0, 1, 2, 3]
    assert scale_float(values, 1 << 30, 0, 0).tolist() == [-2, -2, 0, 0, 2, 2]
    # 24 bits: the accumulator itself is rounded, and then its product.
    assert scale_float(np.array([(1 << 24) + 1, (1 << 24) + 3]), 1 << 30, 1, 0).tolist() == [1 << 24, (1 << 24) + 4]
    assert scale_float(np.array([3]), (1 << 31) - 128, 0, 0).tolist() == [3]


def test_the_two_shifts_combine_into_one():
    values = np.arange(-3000, 3000, 7)
    for scale in (scale_single, scale_float):
        assert np.array_equal(scale(values, 3 << 29, 4, 9), scale(values, 3 << 29, 0, 5))
        assert np.array_equal(scale(values << 18, 3 << 29, 20, 31), scale(values << 18, 3 << 29, 0, 11))


def test_results_saturate_before_the_zero_point():
    for name in NEW:
        options = {"low": INT32[0], "high": INT32[1]}
        big = contract_of(name).requantise(np.array([1 << 30, -(1 << 30)]), 3 << 29, 20, 0, zero_point=-5, **options)
        assert big.tolist() == [INT32[1] - 5, INT32[0]]


def test_float_scale_rounds_twice():
    random = np.random.default_rng(0)
    a, b, c = (random.uniform(1e-4, 1, 10000).astype(np.float32) for _ in range(3))
    once = (a.astype(np.float64) * b / c).astype(np.float32)
    got = float_scale(a, b, c)
    assert got.dtype == np.float32
    products = [float32(Fraction(float(x)) * Fraction(float(y))) for x, y in zip(a[:500], b, strict=False)]
    assert got[:500].tolist() == [float(float32(p / Fraction(float(z)))) for p, z in zip(products, c, strict=False)]
    assert 100 < np.count_nonzero(got != once) < 9000
    assert float_scale(np.float32(1e30), 1e30, 1) == np.inf


# The gateware


def raw_formula(row):
    """Return the result of `raw` under every contract: the low 32 bits, then to nearest with ties away from zero."""
    low = to_int32((to_int32(row["value"] + row["bias"]) << row["left"]) * row["multiplier"])
    shifted = (2 * abs(low) + (1 << row["right"])) // (2 << row["right"])
    return saturate((shifted if low >= 0 else -shifted) + row["zero_point"], row["low"], row["high"])


@pytest.mark.parametrize("name", NEW)
@settings(max_examples=15)
@given(batch=st.lists(rows(), min_size=60, max_size=60))
def test_gateware_equals_the_formula(name, batch):
    batch = [r if i % 2 else wide(r) for i, r in enumerate(batch)]
    got = rtl.requantise(Config(rows=2, columns=2, contract=name), batch)
    assert got == [formula(name, r) for r in batch] == [numpy_result(name, r) for r in batch]


@pytest.mark.parametrize("name", CONTRACTS)
def test_gateware_equals_numpy_over_random_parameters(name):
    """Thousands of values, some of them raw, follow one another through the pipeline."""
    random = np.random.default_rng(CONTRACTS.index(name))
    batch = []
    for _ in range(4000):
        size, small = int(random.integers(1, 33)), int(random.integers(-2, 9))
        value = int(random.integers(-(1 << size - 1), 1 << size - 1))
        shift = saturate(small - size + 1, -31, 31)
        both = int(random.integers(0, 32 - abs(shift))) if random.random() < 0.3 else 0
        significand = int(random.integers(1 << 23, 1 << 24)) << 7
        if random.random() < 0.2:
            shift, both = int(random.integers(-31, 32)), 0
        batch.append(
            {
                "value": value,
                "bias": int(random.choice([0, 0, 1, INT32[0], INT32[1]])),
                "multiplier": int(random.choice([random.integers(1 << 31), 1 << 30, significand])),
                "left": max(shift, 0) + both,
                "right": max(-shift, 0) + both,
                "zero_point": int(random.integers(-128, 128)),
                "low": INT32[0],
                "high": INT32[1],
                "raw": bool(random.random() < 0.2),
            }
        )
    wanted = [raw_formula(row) if row["raw"] else numpy_result(name, row) for row in batch]
    assert rtl.requantise(Config(rows=1, columns=1, contract=name), batch) == wanted


@pytest.mark.parametrize("name", NEW)
def test_gateware_equals_the_formula_at_every_boundary(name):
    got = rtl.requantise(Config(rows=2, columns=2, contract=name), BOUNDARIES)
    assert got == [formula(name, row) for row in BOUNDARIES]


@pytest.mark.parametrize("name", CONTRACTS)
@settings(max_examples=8)
@given(batch=st.lists(rows(), min_size=40, max_size=40))
def test_raw_is_the_same_under_every_contract(name, batch):
    batch = [wide(r) | ({"multiplier": 1, "left": 0, "right": 0} if i % 3 == 0 else {}) for i, r in enumerate(batch)]
    assert rtl.requantise(Config(rows=1, columns=1, contract=name), batch, raw=True) == [raw_formula(r) for r in batch]
