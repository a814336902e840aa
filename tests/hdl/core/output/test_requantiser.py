"""The output stage's arithmetic against formulas in whole numbers, written here from the definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import rtl

from etchnet.hdl.isa.config import Config
from etchnet.sim.arithmetic.reference import quantise_multiplier, requantise

INT32 = (-(1 << 31), (1 << 31) - 1)


def to_int32(value):
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def truncate(numerator, denominator):
    """Division as in C."""
    return abs(numerator) // denominator * (1 if numerator >= 0 else -1)


def formula(row):
    """Gemmlowp's SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT, by their definitions."""
    value = to_int32(to_int32(row["value"] + row["bias"]) << row["left"])
    product = value * row["multiplier"]
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    high = truncate(product + nudge, 1 << 31)
    mask = (1 << row["right"]) - 1
    remainder = high & mask
    threshold = (mask >> 1) + (1 if high < 0 else 0)
    shifted = (high >> row["right"]) + (1 if remainder > threshold else 0)
    return min(max(shifted + row["zero_point"], row["low"]), row["high"])


def reference(row):
    biased = np.int64(to_int32(row["value"] + row["bias"]))
    result = requantise(
        biased,
        row["multiplier"],
        row["left"],
        row["right"],
        zero_point=row["zero_point"],
        low=row["low"],
        high=row["high"],
    )
    return int(result)


def wide(row):
    return row | {"low": INT32[0], "high": INT32[1]}


@st.composite
def rows(draw):
    """Values of every size, and values whose product, or shifted product, is a tie or next to one."""
    right = draw(st.integers(0, 31))
    left = draw(st.sampled_from([0, 0, 0, 1, 8, 20, 31]))
    if draw(st.booleans()):
        # A tie of the second rounding: with multiplier 2**30 and an even value the first is exact.
        half = 1 << max(right - 1, 0)
        value = 2 * (draw(st.integers(-3, 3)) * (1 << right) + draw(st.sampled_from([-1, 1])) * half)
        multiplier = 1 << 30
        value += 2 * draw(st.integers(-1, 1))
    else:
        bits = draw(st.integers(1, 32))
        value = draw(st.integers(-(1 << bits - 1), (1 << bits - 1) - 1))
        multiplier = draw(
            st.one_of(
                st.just(0),
                st.just(1),
                st.just(1 << 30),
                st.integers(1 << 30, (1 << 31) - 1),
                st.integers(0, (1 << 31) - 1),
            )
        )
    low = draw(st.integers(-128, 127))
    return {
        "value": to_int32(value),
        "bias": draw(st.sampled_from([0, 0, 1, -1, INT32[0], INT32[1], 12345])),
        "multiplier": multiplier,
        "left": left,
        "right": right,
        "zero_point": draw(st.integers(-128, 127)),
        "low": low,
        "high": draw(st.integers(low, 127)),
    }


@settings(max_examples=400)
@given(rows())
def test_reference_equals_the_formula(row):
    assert reference(row) == formula(row)
    assert reference(wide(row)) == formula(wide(row))


@settings(max_examples=40)
@given(st.lists(rows(), min_size=60, max_size=60))
def test_gateware_equals_the_formula(batch):
    batch = [r if i % 2 else wide(r) for i, r in enumerate(batch)]
    assert rtl.requantise(Config(rows=2, columns=2), batch) == [formula(r) for r in batch]


def test_gateware_equals_the_formula_at_every_boundary():
    values = [0, 1, -1, 2, -2, 3, -3, INT32[0], INT32[0] + 1, INT32[1], INT32[1] - 1, 1 << 30, -(1 << 30), 5 << 20]
    multipliers = [0, 1, 2, 3, (1 << 30) - 1, 1 << 30, (1 << 30) + 1, (1 << 31) - 1, 3 << 29]
    batch = [
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
        for v in values
        for m in multipliers
        for left in (0, 1, 31)
        for right in (0, 1, 2, 30, 31)
    ]
    assert rtl.requantise(Config(rows=2, columns=2), batch) == [formula(r) for r in batch]


def test_ties_of_both_roundings():
    """First to nearest, ties upwards; second to nearest, ties away from zero."""
    base = {"bias": 0, "left": 0, "right": 0, "zero_point": 0, "low": INT32[0], "high": INT32[1]}
    first = [base | {"value": v, "multiplier": 1 << 30} for v in (-5, -3, -1, 1, 3, 5)]
    second = [base | {"value": 2 * v, "multiplier": 1 << 30, "right": 1} for v in (-5, -3, -1, 1, 3, 5)]
    config = Config(rows=1, columns=1)
    assert rtl.requantise(config, first) == [-2, -1, 0, 1, 2, 3]
    assert rtl.requantise(config, second) == [-3, -2, -1, 1, 2, 3]


@settings(max_examples=20)
@given(st.lists(st.integers(*INT32), min_size=20, max_size=20), st.integers(*INT32))
def test_raw_passes_biased_sums_through(values, bias):
    batch = [
        {
            "value": v,
            "bias": bias,
            "multiplier": 1,
            "left": 0,
            "right": 0,
            "zero_point": 0,
            "low": INT32[0],
            "high": INT32[1],
        }
        for v in values
    ]
    got = rtl.requantise(Config(rows=1, columns=1), batch, raw=True)
    assert got == [to_int32(v + bias) for v in values]


@pytest.mark.parametrize(
    ("scale", "multiplier", "shift"),
    [
        (0.5, 1 << 30, 0),
        (1.0, 1 << 30, 1),
        (0.25, 1 << 30, -1),
        (0.75, 3 << 29, 0),
        (1 - 2**-33, 1 << 30, 1),  # rounds up to 2**31: halved, shift one more
        (0.0, 0, 0),
        (2.0**-32, 1 << 30, -31),
        (2.0**-33, 0, 0),  # flushed
    ],
)
def test_quantise_multiplier(scale, multiplier, shift):
    assert quantise_multiplier(scale) == (multiplier, shift)


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf"), 2.0**31])
def test_quantise_multiplier_refuses(scale):
    with pytest.raises(ValueError, match="a requantisation scale must be finite and in"):
        quantise_multiplier(scale)
