"""The scalers and their product by themselves, at every latency of a multiplier."""

import numpy as np
import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from support import rtl

from etchnet.hdl.core.output.product import product
from etchnet.hdl.core.output.requantiser import SCALERS
from etchnet.hdl.isa import CONTRACTS
from etchnet.hdl.isa.config import Config
from etchnet.sim.arithmetic.contracts import FORMULAS

INT32 = (-(1 << 31), (1 << 31) - 1)


def to_int32(value):
    return (int(value) - INT32[0]) % (1 << 32) + INT32[0]


class Product(wiring.Component):
    """`product` with ports."""

    def __init__(self, config):
        self._config = config
        super().__init__({"value": In(signed(32)), "factor": In(32), "result": Out(signed(64))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.result.eq(product(m, platform, self._config, self.value, self.factor))
        return m


@pytest.mark.parametrize("latency", range(1, 6))
def test_a_product_is_exact_after_its_latency(latency):
    rng = np.random.default_rng(latency)
    values = [*INT32, 0, -1, 1, *rng.integers(*INT32, 20).tolist()]
    factors = [(1 << 32) - 1, 1 << 31, 0, 1, 0xFFFF, *rng.integers(0, 1 << 32, 20).tolist()]

    def bench():
        for cycle in range(len(values) + latency):
            now = min(cycle, len(values) - 1)
            outputs = yield {"value": values[now], "factor": factors[now]}
            if (index := cycle - latency) >= 0:
                assert outputs["result"] == values[index] * factors[index]

    rtl.run(Product(Config(product_latency=latency)), bench())


def random_rows(rng, count):
    """Return (value, multiplier, left, right, raw): values of every size, ties, and results at the ends of int32."""
    # Just below 2**31, and just above -2**31.
    rows = [(sign * ((1 << 30) - 1), (1 << 30) + 1, 2, 0, 0) for sign in (1, -1)]
    # A factor of 1, and values about a tie of the rounding to 24 bits.
    for low in (0x7F, 0x80, 0x81) * 5:
        rows.append((int(rng.integers(*INT32)) & ~0xFF | low, 1 << 30, 1, 0, 0))
    # A factor of 1.5, and values of 24 bits: ties of the rounding to 24 bits, of products below and above 2**24.
    for first in (1 << 23, 3 << 22):
        base = first + (int(rng.integers(1 << 18)) << 3)
        rows += [(sign * (base + low), 3 << 29, 1, 0, 0) for low in range(8) for sign in (1, -1)]
    for _ in range(count):
        raw, right = int(rng.random() < 0.4), int(rng.integers(32))
        left = int(rng.choice([0, 0, 0, 1, 2, int(rng.integers(32))]))
        if rng.random() < 0.3:
            # Of this, the half is the lowest bit that is set; and next to it.
            odd = 2 * int(rng.integers(-4, 4)) + 1
            value = (odd << max(0, right - raw - left)) + int(rng.choice([0, 0, -1, 1]))
            multiplier = 1 if raw else 1 << 30
        else:
            value = int(rng.choice([*INT32, 0, 1, -1, *(int(rng.integers(*INT32)) >> int(rng.integers(32)),) * 9]))
            multiplier = int(rng.choice([0, 1, 1 << 30, (1 << 31) - 1, *rng.integers(1 << 30, 1 << 31, 4)]))
        rows.append((to_int32(value), multiplier, left, right, raw))
    return rows


def expected(contract, row):
    value, multiplier, left, right, raw = row
    if not raw:
        return int(FORMULAS[contract].scale(np.array(value), multiplier, left, right))
    low = to_int32(to_int32(value << left) * multiplier)
    # To nearest, ties away from zero.
    return (abs(low) + (1 << right >> 1) >> right) * (1 if low >= 0 else -1)


@pytest.mark.parametrize("latency", range(1, 6))
@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_scaler_rounds_by_its_contract_and_raw_values_without_it(contract, latency):
    config, rows = Config(contract=contract, product_latency=latency), random_rows(np.random.default_rng(latency), 150)
    kind = SCALERS[contract]

    def bench():
        for cycle in range(len(rows) + kind.latency(config)):
            row = rows[min(cycle, len(rows) - 1)]
            outputs = yield dict(zip(("value", "multiplier", "left", "right", "raw"), row, strict=True))
            if (index := cycle - kind.latency(config)) >= 0:
                result = outputs["quotient"] + outputs["increment"]
                assert result == expected(contract, rows[index]), rows[index]

    rtl.run(kind(config), bench())
