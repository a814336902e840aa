"""Comparisons and products against Python's own."""

import pytest
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from support import rtl

from etchnet.hdl.blocks.compare import less
from etchnet.hdl.blocks.technology import PORTABLE, Technology, technology_of


class Operators(wiring.Component):
    """`less`, and products of two operands with every latency from 1 to 4."""

    def __init__(self, a, b):
        self.shapes = a, b
        products = {f"product_{latency}": Out(signed(a.width + b.width)) for latency in range(1, 5)}
        super().__init__({"a": In(a), "b": In(b), "less": Out(1), **products})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.less.eq(less(self.a, self.b))
        for latency in range(1, 5):
            product = technology_of(platform).multiply(m, self.a, self.b, latency, name=f"p{latency}")
            m.d.comb += getattr(self, f"product_{latency}").eq(product)
        return m


@pytest.mark.parametrize(("a", "b"), [(signed(4), signed(4)), (signed(5), unsigned(3)), (unsigned(4), unsigned(4))])
def test_operators(a, b):
    values = [
        range(-(1 << shape.width - 1), 1 << shape.width - 1) if shape.signed else range(1 << shape.width)
        for shape in (a, b)
    ]

    def bench():
        history = []
        for pair in [(x, y) for x in values[0] for y in values[1]]:
            seen = yield dict(zip("ab", pair, strict=True))
            assert seen["less"] == (pair[0] < pair[1])
            history.append(pair[0] * pair[1])
            for latency in range(1, 5):
                if latency < len(history):
                    mask = (1 << a.width + b.width) - 1
                    assert seen[f"product_{latency}"] & mask == history[-1 - latency] & mask

    rtl.run(Operators(a, b), bench())


def test_a_technology_is_the_platforms_own_or_the_portable_one():
    class Platform:
        technology = Technology(4)

    assert technology_of(None) is PORTABLE
    assert technology_of(Platform()) is Platform.technology
    m, after = Module(), Signal(3)
    assert all(copy is after for copy in PORTABLE.duplicate_register(m, Signal(3), after, 5, name="copy"))
