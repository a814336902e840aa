"""Predictions equal the counters of a run, and bounds hold for every input."""

import numpy as np
import pytest
from support.networks import SMALL_MACHINE, small_network
from support.strategies import int8

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.compile import compile_network
from etchnet.host.compiler.overflow import check_overflow
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.layers import Dense
from etchnet.host.reports.report import layer_reports, memory_use, totals


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("config", [SMALL_MACHINE, Config(), Config(rows=8, columns=2, weight_rows=4)])
def test_the_report_equals_the_counters_of_a_run(config, batch):
    program = compile_network(small_network(), config, batch=batch)
    layers = layer_reports(program, ["a", "b", "c"])
    total, per_cycle = totals(layers), config.multipliers
    accelerator = Accelerator(config, engine="amaranth" if config is SMALL_MACHINE else "exact")
    accelerator.load(small_network(), batch=batch)
    accelerator.run(np.zeros((batch, 9), np.int8))
    counts = accelerator.counts
    assert total.cycles == counts.cycles
    assert total.slots["useful"] == counts[Counter.USEFUL] == batch * (9 * 7 + 7 * 10 + 10 * 6)
    assert total.slots["useful"] + total.slots["padding"] == counts[Counter.ISSUE] * per_cycle
    for counter in (Counter.WEIGHT_LOAD, Counter.REQUANTISE, Counter.FILL_DRAIN):
        assert total.slots[counter.name.lower()] == counts[counter] * per_cycle
    assert all(sum(r.shares.values()) == pytest.approx(1) for r in layers)
    assert all(m.used <= m.available for m in memory_use(program))


def test_certificates_bound_every_input_and_are_reached():
    random = np.random.default_rng(3)
    layer = Dense.from_scale(int8(random, (37, 5)), random.integers(-99, 99, 5), scale=3.0, input_zero_point=5)
    certificate = check_overflow(layer, 0, SMALL_MACHINE)
    weights = layer.weights.astype(np.int64)
    worst = [np.where(weights[:, c] > 0, 127, -128) for c in range(5)]
    reached = max(int((x - 5) @ weights[:, c] + layer.bias[c]) for c, x in enumerate(worst))
    assert certificate.accumulators[1] == reached
    assert certificate.shifted[1] == reached << 2
    assert certificate.holds
    too_large = Dense(np.full((3, 1), 127, np.int8), bias=(1 << 31) - 1)
    assert not check_overflow(too_large, 0, SMALL_MACHINE).holds
