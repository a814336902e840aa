"""The rule for which walked pixels are inside the image: the same for numbers, arrays and gateware."""

from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from etchnet.hdl.isa import OUTSIDE, Pass, is_inside

BOUNDS = [(0, 0, 0, 0), (1, 0, 1, 0), (0, 2, 0, 3), (1, 3, 2, 4), (3, 2, 0, 0), (0, 0, 5, 0)]
LINES, COLUMNS = 4, 5


def expected(first_line, end_line, first_column, end_column):
    """Return the pixels inside, cut out of an image of ones."""
    image = np.zeros((LINES, COLUMNS), bool)
    image[first_line : end_line or None, first_column : end_column or None] = True
    return image


def bounds_of(first_line, end_line, first_column, end_column):
    return SimpleNamespace(first_line=first_line, end_line=end_line, first_column=first_column, end_column=end_column)


@pytest.mark.parametrize("bounds", BOUNDS)
def test_numbers_and_arrays(bounds):
    image = expected(*bounds)
    lines, columns = np.indices(image.shape)
    assert np.array_equal(is_inside(bounds_of(*bounds), lines, columns), image)
    for line, column in np.ndindex(image.shape):
        assert bool(is_inside(bounds_of(*bounds), line, column)) == image[line, column]


def test_gateware():
    m = Module()
    names = ("first_line", "end_line", "first_column", "end_column", "line", "column")
    ports = SimpleNamespace(**{name: Signal(3, name=name) for name in names})
    inside = Signal()
    m.d.comb += inside.eq(is_inside(ports, ports.line, ports.column))

    async def bench(ctx):
        for bounds in BOUNDS:
            for name, value in zip(names, bounds, strict=False):
                ctx.set(getattr(ports, name), value)
            image = expected(*bounds)
            for line, column in np.ndindex(image.shape):
                ctx.set(ports.line, line)
                ctx.set(ports.column, column)
                assert ctx.get(inside) == image[line, column]

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("bounds", BOUNDS)
def test_a_pass_reads_the_words_inside(bounds):
    p = Pass(address=-3, step=2, line=11, columns=COLUMNS, pixels=LINES * COLUMNS, **vars(bounds_of(*bounds)))
    words = -3 + 11 * np.arange(LINES)[:, None] + 2 * np.arange(COLUMNS)
    inside = expected(*bounds)
    assert np.array_equal(p.walk().reshape(LINES, COLUMNS), np.where(inside, words, OUTSIDE))
    first, stop = p.word_span()
    assert (first, stop) == ((words[inside].min(), words[inside].max() + 1) if inside.any() else (0, 0))
