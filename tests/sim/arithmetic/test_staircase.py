"""Lines that replace rounding contracts: a line gives the same results as the contract's formula, or there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import randoms

from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.host.driver.driver import Accelerator
from etchnet.sim.arithmetic.contracts import contract_of
from etchnet.sim.arithmetic.staircase import lines


def by_line(line, u, low, high):
    total = u * line.slope
    if line.mirrored:
        return np.clip(np.trunc(total + np.copysign(line.offset, total)), low, high)
    return np.clip(np.floor(total + line.offset), low, high)


def around_rises(formula, bound, random):
    """Return accumulators on both sides of every change of the result, found by bisection, and others."""
    some = np.unique(np.concatenate([random.integers(-bound, bound + 1, 2000), [-bound, bound, -1, 0, 1]]))
    left, right = some[:-1], some[1:]
    while (right - left > 1).any():
        middle = (left + right) >> 1
        same = formula(middle) == formula(left)
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    return np.clip(np.concatenate([some, left - 1, left, right, right + 1]), -bound, bound)


@st.composite
def parameters(draw):
    contract = draw(st.sampled_from(CONTRACTS))
    multiplier = draw(st.one_of(st.integers(1 << 30, (1 << 31) - 1), st.sampled_from([0, 1 << 30, 3 << 29, 5 << 28])))
    if contract_of(contract).spare_bits:
        multiplier = multiplier >> 7 << 7
    left, right = draw(st.sampled_from([(0, draw(st.integers(0, 20))), (draw(st.integers(0, 6)), 0)]))
    bounds = sorted(draw(st.tuples(st.integers(-300, 300), st.integers(-300, 300))))
    return contract, multiplier, left, right, *bounds, 1 << draw(st.integers(4, 24))


@settings(max_examples=300)
@given(parameters(), st.booleans(), randoms())
def test_a_line_gives_the_results_of_the_contract(case, mirrored, random):
    contract, multiplier, left, right, low, high, bound = case
    (line,) = lines(
        contract, np.array([multiplier]), np.array([left]), np.array([right]), low, high, bound, mirrored=mirrored
    )
    if line is None:
        return

    def formula(u):
        return np.clip(contract_of(contract).scale(u, multiplier, left, right), low, high)

    u = around_rises(formula, bound, random)
    assert line.mirrored == mirrored
    assert np.array_equal(by_line(line, u, low, high), formula(u))


@pytest.mark.parametrize("contract", CONTRACTS)
def test_usual_parameters_have_lines(contract):
    """A double-rounding contract rounds away from zero on both sides, so only the mirrored line fits."""
    random = np.random.default_rng(0)
    multiplier = random.integers(1 << 30, 1 << 31, 64) >> 7 << 7
    shifts = random.integers(4, 12, 64)
    found = {
        mirrored: [
            line is not None
            for line in lines(contract, multiplier, 0 * shifts, shifts, -128, 127, 1 << 20, mirrored=mirrored)
        ]
        for mirrored in (False, True)
    }
    either = [a or b for a, b in zip(found[False], found[True], strict=True)]
    assert sum(either) >= 48
    if contract == "tflite-double":
        assert sum(found[True]) > sum(found[False])


def test_parameters_that_wrap_have_no_line():
    one = np.array([1])
    (line,) = lines("tflite-double", one << 30, one * 8, one * 0, -128, 127, 1 << 24, mirrored=False)
    assert line is None


@pytest.mark.parametrize("terms", [1023, 1024, 1025, 2500])
@pytest.mark.parametrize("weight", [-128, 127])
def test_products_of_extremes_are_exact(terms, weight):
    """Float32 can sum 1,024 of the largest products exactly; longer products are cut."""
    random = np.random.default_rng(terms)
    x = np.full((5, terms), -128, np.int8)
    w = np.full((terms, 20), weight, np.int8)
    # Odd sums, which float32 would round beyond 2**24.
    x[1:, random.integers(terms, size=3)] = -127
    w[random.integers(terms, size=5), 3:] = 63
    assert np.array_equal(Accelerator().matmul(x, w), x.astype(np.int64) @ w.astype(np.int64))
