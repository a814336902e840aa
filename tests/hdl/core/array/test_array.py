"""The array against numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import rtl
from support.strategies import int8, randoms

from etchnet.hdl.blocks.technology import Technology
from etchnet.hdl.core.array.array import SystolicArray
from etchnet.hdl.core.multipliers import hard_elements
from etchnet.hdl.isa.config import Config


def expected(passes):
    return [pixels.astype(np.int64) @ tile.astype(np.int64) for tile, pixels in passes]


@st.composite
def machines(draw):
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    loads = [w for w in range(1, rows + 1) if rows % w == 0]
    return Config(
        rows=rows,
        columns=columns,
        weight_rows=draw(st.sampled_from(loads)),
        multiplier_latency=draw(st.integers(1, 3)),
    )


@settings(max_examples=25)
@given(machines(), randoms(), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_back_to_back_passes_equal_numpy(config, random, lengths):
    passes = [(int8(random, (config.rows, config.columns)), int8(random, (length, config.rows))) for length in lengths]
    for got, want in zip(rtl.array(config, passes), expected(passes), strict=True):
        assert np.array_equal(got, want)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 7), (7, 1), (4, 4), (5, 3), (8, 8)])
@pytest.mark.parametrize(("a", "b"), [(-128, -128), (-128, 127), (127, 127), (0, -128)])
def test_extremes_everywhere(rows, columns, a, b):
    config = Config(rows=rows, columns=columns)
    passes = [(np.full((rows, columns), b, np.int8), np.full((2, rows), a, np.int8))] * 2
    for got in rtl.array(config, passes):
        assert (got == rows * a * b).all()


@pytest.mark.parametrize("weight_rows", [1, 2, 4])
def test_one_pixel_passes_follow_each_other_every_rows_over_weight_rows_cycles(weight_rows):
    config = Config(rows=4, columns=3, weight_rows=weight_rows)
    random = np.random.default_rng(3)
    passes = [(int8(random, (4, 3)), int8(random, (1, 4))) for _ in range(9)]
    for got, want in zip(rtl.array(config, passes), expected(passes), strict=True):
        assert np.array_equal(got, want)


def test_latency_counts_skew_deskew_and_element():
    for rows, columns, multiplier in ((1, 1, 1), (16, 16, 1), (3, 5, 2)):
        config = Config(rows=rows, columns=columns, multiplier_latency=multiplier)
        assert SystolicArray.latency(config) == rows + columns - 2 + multiplier + 1


@pytest.mark.parametrize(("rows", "depthwise"), [(5, 2), (9, 3)])
def test_windows_are_samples_of_earlier_vectors(rows, depthwise):
    """Row i x k + j takes its sample from the vector `line_delay` x (k - 1 - i) + 1 cycles before the one in row 0."""
    config = Config(rows=rows, columns=rows, depthwise=depthwise, line_words=16, requantisers=1, weight_rows=rows)
    random, line_delay, count = np.random.default_rng(rows), int(np.random.default_rng(rows).integers(2, 8)), 60
    tile, pixels = int8(random, (rows, rows)), int8(random, (count, rows))
    windowed = random.integers(2, size=count).tolist()
    (got,) = rtl.array(config, [(tile, pixels)], windowed=windowed, line_delay=line_delay)
    for t in range(count):
        operands = np.repeat(pixels[t].astype(np.int64)[:, None], rows, axis=1)
        for row in range(depthwise**2 if windowed[t] else 0):
            # The vector in row 0 is that which entered `row` cycles after the one in this row.
            source = t + row - line_delay * (depthwise - 1 - row // depthwise) - 1
            operands[row] = pixels[source] if 0 <= source < count else 0
        assert np.array_equal(got[t], (operands * tile).sum(0)), t


class Recording(Technology):
    """A technology with two products per multiplier, which records the products that are asked for."""

    products = 2

    def __init__(self, multipliers):
        super().__init__(multipliers)
        self.groups, self.soft = [], 0

    def multiply(self, m, a, b, latency, *, name, hard=True):
        self.soft += not hard
        return super().multiply(m, a, b, latency, name=name, hard=hard)

    def multiply_together(self, m, factors, latency, *, name):
        self.groups.append(len(factors))
        return super().multiply_together(m, factors, latency, name=name)


@pytest.mark.parametrize(("multipliers", "groups"), [(3, []), (6, [2, 2]), (8, [2] * 4), (9, [2] * 4 + [1])])
def test_elements_share_the_multipliers_that_a_device_has(multipliers, groups):
    """The requantiser takes four; the first elements share the others, and the rest multiply in logic."""
    config, random, technology = (
        Config(rows=3, columns=3, requantisers=1),
        np.random.default_rng(3),
        Recording(multipliers),
    )
    passes = [(int8(random, (3, 3)), int8(random, (4, 3))) for _ in range(3)]
    for got, want in zip(rtl.array(config, passes, technology=technology), expected(passes), strict=True):
        assert np.array_equal(got, want)
    assert (technology.groups, technology.soft) == (groups, 9 - sum(groups))
    assert hard_elements(config, technology) == sum(groups)
