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


def scaled(config, rows):
    """Return a scaler's results for rows (value, multiplier, left, right, raw), one per cycle."""
    kind = SCALERS[config.contract]
    latency, results = kind.latency(config), []

    def bench():
        for cycle in range(len(rows) + latency):
            row = rows[min(cycle, len(rows) - 1)]
            outputs = yield dict(zip(("value", "multiplier", "left", "right", "raw"), row, strict=True))
            if cycle >= latency:
                results.append(outputs["quotient"] + outputs["increment"])

    rtl.run(kind(config), bench())
    return results


@pytest.mark.parametrize("latency", range(1, 6))
@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_scaler_rounds_by_its_contract(contract, latency):
    rng = np.random.default_rng(latency)
    magnitudes = rng.integers(0, 32, 80)
    values = [*INT32, 0, 1, -1, *(int(v) >> int(s) for v, s in zip(rng.integers(*INT32, 80), magnitudes, strict=True))]
    rows = [
        (value, int(rng.integers(1 << 30, 1 << 31)) & ~0x7F, int(rng.integers(4)), int(rng.integers(32)), 0)
        for value in values
    ]
    wanted = [int(FORMULAS[contract].scale(np.array(v), m, left, right)) for v, m, left, right, _ in rows]
    assert scaled(Config(contract=contract, product_latency=latency), rows) == wanted


@pytest.mark.parametrize("contract", CONTRACTS)
def test_raw_values_take_the_low_bits_of_the_product_whatever_the_contract(contract):
    rng = np.random.default_rng(1)
    rows = []
    for value in [*INT32, 0, 1, -1, *rng.integers(*INT32, 40).tolist()]:
        rows.append((value, int(rng.integers(0, 1 << 31)), int(rng.integers(32)), int(rng.integers(32)), 1))
    wanted = []
    for value, multiplier, left, right, _ in rows:
        low = to_int32(to_int32(value << left) * multiplier)
        # To nearest, ties away from zero.
        wanted.append((abs(low) + (1 << right >> 1) >> right) * (1 if low >= 0 else -1))
    assert scaled(Config(contract=contract), rows) == wanted
