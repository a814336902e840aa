"""The primitives of devices against Python's products, on models of their cells."""

import random
from collections import Counter

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from support import rtl
from support.cells import SHAPES, Cell

from etchnet.hdl.blocks.technology import ecp5, ice40
from etchnet.hdl.blocks.technology.ecp5 import Ecp5
from etchnet.hdl.blocks.technology.ice40 import Ice40
from etchnet.hdl.blocks.technology.portable import Technology, product_shape

LATENCIES = range(1, 6)
TECHNOLOGIES = [Technology(), Ecp5(8), Ice40(8)]


@pytest.fixture(autouse=True)
def cells(monkeypatch):
    """Count the cells that are instantiated, by kind."""
    made = Counter()

    def instance(kind, **arguments):
        made[kind] += 1
        return Cell(kind, **arguments)

    for module in (ecp5, ice40):
        monkeypatch.setattr(module, "Instance", instance)
    return made


class Products(wiring.Component):
    """The product of two factors by a technology, at every latency."""

    def __init__(self, technology, shapes, hard):
        self.technology, self.hard = technology, hard
        product = signed(sum(shape.width for shape in shapes) + 1)
        products = {f"product_{latency}": Out(product) for latency in LATENCIES}
        super().__init__({"a": In(shapes[0]), "b": In(shapes[1]), **products})

    def elaborate(self, platform):
        m = Module()
        for latency in LATENCIES:
            found = self.technology.multiply(m, self.a, self.b, latency, name=f"p{latency}", hard=self.hard)
            assert found.shape() == product_shape(self.a, self.b)
            m.d.comb += getattr(self, f"product_{latency}").eq(found)
        return m


def draw(rng, shape):
    """Return a value of a shape, often one of its ends."""
    low, high = (-(1 << shape.width - 1), (1 << shape.width - 1) - 1) if shape.signed else (0, (1 << shape.width) - 1)
    return rng.choice([low, high, rng.randint(low, high), rng.randint(low, high)])


@pytest.mark.parametrize("technology", TECHNOLOGIES, ids=lambda t: t.name)
@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_a_product_is_exact_after_its_latency(technology, hard, shapes, cells):
    rng = random.Random(len(str(shapes)))

    def bench():
        history = []
        for _ in range(80):
            a, b = (draw(rng, shape) for shape in shapes)
            seen = yield {"a": a, "b": b}
            history.append(a * b)
            for latency in LATENCIES:
                if latency < len(history):
                    assert seen[f"product_{latency}"] == history[-1 - latency], latency

    rtl.run(Products(technology, shapes, hard), bench())
    if technology.name == "ecp5" and hard:
        assert cells == {"MULT18X18D": len(LATENCIES)}
    elif technology.name == "ecp5" and [shape.width for shape in shapes] == [8, 8]:
        # At a latency of 3 or more: three sums of two multiples each, of ten bits, two of them in a cell.
        assert cells == {"CCU2C": len(LATENCIES[2:]) * 3 * 5}
    elif technology.name == "ice40" and hard and max(shape.width for shape in shapes) <= 16:
        assert cells == {"SB_MAC16": len(LATENCIES)}
    else:
        assert not cells


class Together(wiring.Component):
    """The products of pairs of int8 that share multipliers."""

    def __init__(self, technology, pairs, latency):
        self.technology, self.pairs, self.latency = technology, pairs, latency
        ports = {f"{side}_{i}": In(signed(8)) for i in range(pairs) for side in "ab"}
        super().__init__(ports | {f"product_{i}": Out(signed(16)) for i in range(pairs)})

    def elaborate(self, platform):
        m = Module()
        factors = [(getattr(self, f"a_{i}"), getattr(self, f"b_{i}")) for i in range(self.pairs)]
        products = self.technology.multiply_together(m, factors, self.latency, name="products")
        assert len(products) == self.pairs
        m.d.comb += [getattr(self, f"product_{i}").eq(product) for i, product in enumerate(products)]
        return m


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize(("technology", "pairs"), [(Technology(), 1), (Ice40(8), 1), (Ice40(8), 2)])
def test_products_that_share_a_multiplier(technology, pairs, latency):
    assert pairs <= technology.products
    rng = random.Random(latency)

    def bench():
        history = []
        for _ in range(60):
            values = [[draw(rng, signed(8)) for _ in "ab"] for _ in range(pairs)]
            seen = yield {
                f"{side}_{i}": value for i, pair in enumerate(values) for side, value in zip("ab", pair, strict=True)
            }
            history.append([a * b for a, b in values])
            if len(history) > latency:
                assert [seen[f"product_{i}"] for i in range(pairs)] == history[-1 - latency]

    rtl.run(Together(technology, pairs, latency), bench())


class Copies(wiring.Component):
    """Copies of a register of 3 bits."""

    def __init__(self, technology):
        self.technology = technology
        super().__init__({"value": In(3), "copies": Out(3).array(4)})

    def elaborate(self, platform):
        m = Module()
        register = Signal(3)
        m.d.sync += register.eq(self.value)
        found = self.technology.duplicate_register(m, self.value, register, 4, name="copy")
        m.d.comb += [port.eq(copy) for port, copy in zip(self.copies, found, strict=True)]
        return m


@pytest.mark.parametrize("technology", TECHNOLOGIES, ids=lambda t: t.name)
def test_copies_of_a_register_are_equal_to_it(technology):
    def bench():
        before = 0
        for value in (5, 2, 7, 0, 1):
            seen = yield {"value": value}
            assert [seen[f"copies.{i}"] for i in range(4)] == [before] * 4
            before = value

    rtl.run(Copies(technology), bench())


def test_a_technology_knows_its_multipliers():
    assert [t.products for t in TECHNOLOGIES] == [1, 1, 2]
    assert [t.multipliers for t in TECHNOLOGIES] == [None, 8, 8]
    assert [t.powers_up for t in TECHNOLOGIES] == [False, True, False]
    assert [Technology.operand_stages(latency) for latency in LATENCIES] == [0, 1, 1, 1, 1]


class Started(wiring.Component):
    """A count of cycles in the clock domain that a technology starts."""

    def __init__(self, technology):
        self.technology = technology
        super().__init__({"clock": In(1), "ready": In(1), "count": Out(8, init=5)})

    def elaborate(self, platform):
        m = Module()
        self.technology.start(m, self.clock, self.ready)
        m.d.sync += self.count.eq(self.count + 1)
        return m


@pytest.mark.parametrize("technology", [Technology(), Ecp5(8)], ids=lambda t: t.name)
def test_registers_keep_their_reset_values_until_the_clock_is_stable(technology):
    started = Started(technology)

    async def bench(ctx):
        for cycle in range(20):
            ctx.set(started.ready, cycle >= 8)
            assert ctx.get(started.count) == 5 + max(0, cycle - 10)  # after two edges of a synchroniser
            ctx.set(started.clock, 1)
            ctx.set(started.clock, 0)

    simulator = Simulator(started)
    simulator.add_testbench(bench)
    simulator.run()
