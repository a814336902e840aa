"""Every epilogue against the rounding contracts' own formulas, at corner values and over whole ranges of sums."""

import dataclasses

import numpy as np
import pytest

from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.sim.arithmetic.contracts import contract_of
from etchnet.sim.functional.buffers import Scratch
from etchnet.sim.functional.epilogues import (
    DrainFunction,
    FormulaEpilogue,
    LineEpilogue,
    MirroredLineEpilogue,
    OffsetEpilogue,
    SumRange,
    TableEpilogue,
    Tabulation,
    choose_epilogue,
)
from etchnet.sim.functional.steps import EpilogueKind

INT8 = EpilogueKind(wide=False, raw=False, zero_point=-3, low=-128, high=127)
INT32 = EpilogueKind(wide=True, raw=False, zero_point=0, low=-(1 << 31), high=(1 << 31) - 1)
CORNERS = [0, 1, -1, 127, -128, (1 << 24) - 1, 1 << 24, -(1 << 24), (1 << 30) - 1, 1 << 30, (1 << 31) - 1, -(1 << 31)]


def function(contract, kind, channels):
    """Return a drain function with (bias, multiplier, left, right) for each channel."""
    return DrainFunction(contract, kind, *np.array(channels, dtype=np.int64).T)


def wrap(value):
    """Return whole numbers modulo 2**32, within int32."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def round_away(value, right):
    """Return ``value / 2**right`` to nearest, ties away from zero."""
    magnitude = (abs(value) + ((1 << right) >> 1)) >> right
    return -magnitude if value < 0 else magnitude


def expected(f, sums):
    """Return the results for sums (n, channels): by `sim.arithmetic`, or for raw drains with Python's integers."""
    biased = np.vectorize(wrap, otypes=[np.int64])(sums + f.bias)
    if f.kind.raw:

        def raw(value, multiplier, left, right):
            low_word = wrap(wrap(int(value) << int(left)) * int(multiplier))
            return min(max(round_away(low_word, int(right)) + f.kind.zero_point, f.kind.low), f.kind.high)

        results = np.vectorize(raw, otypes=[np.int64])(biased, f.multiplier, f.left, f.right)
    else:
        scaled = contract_of(f.contract).scale(biased, f.multiplier, f.left, f.right)
        results = np.clip(scaled + f.kind.zero_point, f.kind.low, f.kind.high)
    return results if f.kind.wide else (results + 128) % 256 - 128


def applied(epilogue, f, sums, *, rows=1, dtype=np.float64):
    """Return an epilogue's results for sums (n, channels), in blocks of `rows` rows."""
    blocks = 1, len(sums) // rows, rows * f.channels
    out = np.full(blocks, np.nan, np.float64 if f.kind.wide else np.float32)
    epilogue.apply(sums.astype(dtype).reshape(blocks), out, Scratch())
    return out.reshape(sums.shape).astype(np.int64)


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize(
    "kind", [INT8, INT32, dataclasses.replace(INT32, raw=True), dataclasses.replace(INT8, raw=True)]
)
def test_the_formula_equals_the_contract_at_corners(contract, kind):
    significand = contract_of(contract).spare_bits
    multipliers = [0, 1 << 30, (1 << 31) - (1 << significand)]
    channels = [
        (bias, multiplier, left, right)
        for bias in (0, 1, -1, (1 << 31) - 1, -(1 << 31))
        for multiplier in multipliers
        for left, right in ((0, 0), (1, 0), (7, 0), (0, 1), (0, 8), (0, 31), (8, 9))
    ]
    f = function(contract, kind, channels)
    sums = np.repeat(np.array(CORNERS)[:, None], f.channels, axis=1)
    assert np.array_equal(f(sums), expected(f, sums))
    assert np.array_equal(applied(FormulaEpilogue(f), f, sums), expected(f, sums))


def test_results_beyond_int8_keep_their_low_byte():
    """If the clamp allows such results, all ways to compute them agree."""
    kind = dataclasses.replace(INT8, low=-300, high=300)
    f = function("tflite-double", kind, [(0, 1 << 30, 1, 0)])
    sums = np.arange(-400, 401)[:, None]
    wanted = (np.clip(sums - 3, -300, 300) + 128) % 256 - 128
    assert np.array_equal(applied(FormulaEpilogue(f), f, sums), wanted)
    small = SumRange(400, enumerable=True)
    assert np.array_equal(applied(choose_epilogue(f, small, Tabulation.of(f, small), 1), f, sums), wanted)
    raw = function("tflite-double", dataclasses.replace(kind, raw=True), [(0, 1, 0, 0)])
    assert np.array_equal(applied(choose_epilogue(raw, SumRange(400), None, 1), raw, sums), wanted)


# Each channel has its own scale and bias; one channel is always 0.
CHANNELS = [(0, 1717986816, 0, 7), (64, 1518500250, 0, 9), (-12345, (1 << 31) - 128, 0, 12), (1 << 20, 0, 0, 0)]


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("float32", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
def test_int8_drains_are_lines_if_one_fits(contract, float32, rows):
    f = function(contract, INT8, CHANNELS)
    bound = 1 << 16
    epilogue = choose_epilogue(f, SumRange(bound, float32=float32), None, rows)
    assert isinstance(epilogue, LineEpilogue | MirroredLineEpilogue)
    random = np.random.default_rng(0)
    ends = np.array([-bound, bound, 0])[:, None]
    dense = np.arange(-6000, 6000)[:, None]
    sums = np.concatenate([ends, dense, random.integers(-bound, bound, (6000, 1))]) + np.zeros(f.channels, np.int64)
    dtype = np.float32 if float32 else np.float64
    assert np.array_equal(applied(epilogue, f, sums, rows=rows, dtype=dtype), expected(f, sums))
    assert epilogue.result_bound == 128


def test_staircases_without_a_line_use_the_formula():
    """With a power of two as the scale, ties are rounded twice, in different directions."""
    f = function("tflite-double", INT8, [(0, 1 << 30, 0, 7)])
    epilogue = choose_epilogue(f, SumRange(1 << 15, float32=True), None, 1)
    assert isinstance(epilogue, FormulaEpilogue)
    sums = np.arange(-(1 << 15), 1 << 15)[:, None]
    assert np.array_equal(applied(epilogue, f, sums), expected(f, sums))


@pytest.mark.parametrize("contract", CONTRACTS)
def test_lines_hold_on_both_sides_of_every_rise(contract):
    """The test covers all sums at which the contract's result changes, for scales of several magnitudes."""
    for right in (2, 6, 10, 14):
        f = function(contract, dataclasses.replace(INT8, zero_point=5), [(17, 1717986816, 0, right)])
        bound = 1 << right + 9
        every = np.arange(-bound, bound + 1)[:, None] if right < 12 else None
        if every is None:
            near = (np.arange(-140, 140)[:, None] * (1 << 45) / (1717986816 << 14 - right)).astype(np.int64)
            every = (near + np.arange(-40, 41)).reshape(-1, 1)
        epilogue = choose_epilogue(f, SumRange(bound, float32=True), None, 1)
        assert np.array_equal(applied(epilogue, f, every), expected(f, every))


def test_trivial_raw_drains_only_add():
    kind = dataclasses.replace(INT32, raw=True)
    f = function("tflite-double", kind, [(5, 1, 0, 0), (-(1 << 30), 1, 0, 0)])
    bound = (1 << 30) - 1
    epilogue = choose_epilogue(f, SumRange(bound), None, 1)
    assert isinstance(epilogue, OffsetEpilogue)
    sums = np.array([[-bound, 0], [bound, 1], [7, -bound]])
    assert np.array_equal(applied(epilogue, f, sums), expected(f, sums))
    assert epilogue.result_bound >= np.abs(expected(f, sums)).max()


def test_sums_that_may_overflow_int32_use_the_formula():
    f = function("tflite-double", INT8, [((1 << 31) - 1, 1 << 30, 0, 20)])
    assert isinstance(choose_epilogue(f, SumRange(1), None, 1), FormulaEpilogue)
    assert isinstance(choose_epilogue(f, SumRange(0, wraps=True), None, 1), FormulaEpilogue)
    sums = np.array([[1], [0], [-1], [(1 << 31) - 1]])
    assert np.array_equal(applied(FormulaEpilogue(f), f, sums), expected(f, sums))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    "channels",
    [[(0, 1 << 30, 0, 3)] * 3, [(0, 1 << 30, 20, 3)] * 3, [(9, 1 << 30, 2, 0), (-400, 1518500224, 0, 4)]],
    ids=["alike", "steep", "by_channel"],
)
@pytest.mark.parametrize("kind", [INT8, INT32])
def test_few_sums_are_tabulated(channels, kind, raw):
    f = function("tflite-double", dataclasses.replace(kind, raw=raw), channels)
    sums = SumRange(128, enumerable=True)
    table = Tabulation.of(f, sums)
    every = np.arange(-128, 129)[:, None] + np.zeros(f.channels, np.int64)
    wanted = expected(f, every)
    assert np.array_equal(table.results, wanted)
    assert (table.shared is not None) == (wanted == wanted[:, :1]).all()
    chosen = choose_epilogue(f, sums, table, 1)
    assert isinstance(chosen, LineEpilogue | TableEpilogue)
    for epilogue in (chosen, TableEpilogue(table, 1)):
        assert np.array_equal(applied(epilogue, f, every), wanted)
        assert epilogue.result_bound == np.abs(wanted).max()
    assert np.array_equal(applied(TableEpilogue(table, 257), f, every, rows=257), wanted)


def test_a_table_needs_few_sums():
    f = function("tflite-double", INT8, CHANNELS)
    assert Tabulation.of(f, SumRange(128)) is None


def test_a_line_through_a_table_needs_no_clamp():
    f = function("tflite-single", INT32, [(0, 1 << 30, 20, 0)])
    sums = SumRange(128, enumerable=True)
    assert isinstance(choose_epilogue(f, sums, Tabulation.of(f, sums), 1), LineEpilogue)
    clamped = function("tflite-single", dataclasses.replace(INT8, low=0), [(0, 1 << 30, 0, 0)])
    assert isinstance(choose_epilogue(clamped, sums, Tabulation.of(clamped, sums), 1), TableEpilogue)
