"""The bank of requantisers: each lane uses its parameters, and each group the late fields of its drain."""

import dataclasses

import numpy as np
import pytest
from support import rtl
from support.drains import random_drains

from etchnet.hdl.core.output.requantiser_bank import RequantiserBank
from etchnet.hdl.isa import CONTRACTS, Drain, Parameters, Target
from etchnet.hdl.isa.config import Config
from etchnet.sim.arithmetic.contracts import contract_of


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("memory_latency", [1, 4])
def test_every_lane_follows_its_parameters_and_the_late_fields_of_the_drain(contract, memory_latency):
    config = Config(rows=2, columns=2, contract=contract, memory_latency=memory_latency, drains=8)
    rng, count, latency = np.random.default_rng(memory_latency), 60, RequantiserBank.latency(config)
    drains, formula = random_drains(config, rng, 8), contract_of(config)
    drains[:4] = [dataclasses.replace(drain, low=-(1 << 31), high=(1 << 31) - 1) for drain in drains[:4]]
    values = rng.choice([*rng.integers(-(1 << 20), 1 << 20, 99), *rng.integers(-(1 << 31), 1 << 31, 99)], (count, 2))
    values[::5] = (-(1 << 31), (1 << 31) - 1)
    # A raw value is multiplied by 1.
    raw = rng.integers(2, size=count).tolist()
    parameters = [
        [
            Parameters(bias=int(b), multiplier=1 if is_raw else int(m) << 7, left=0, right=0 if is_raw else int(r))
            for b, m, r in zip(
                rng.integers(-1000, 1000, 2), rng.integers(1 << 23, 1 << 24, 2), rng.integers(0, 12, 2), strict=True
            )
        ]
        for is_raw in raw
    ]
    place = rng.integers(len(drains), size=count).tolist()
    delays = RequantiserBank.late_delays(config)

    def result(index, lane):
        drain, p = drains[place[index]], parameters[index][lane]
        biased = np.array([values[index][lane] + p.bias]).astype(np.int32).astype(np.int64)
        options = {"zero_point": drain.zero_point, "low": drain.low, "high": drain.high}
        if raw[index]:
            return np.clip(biased + drain.zero_point, drain.low, drain.high)[0]
        return formula.requantise(biased, p.multiplier, p.left, p.right, **options)[0]

    def bench():
        size = Parameters.layout(config).size
        yield from rtl.bus_writes(config, Target.DRAINS, [drain.encode(config) for drain in drains])
        for cycle in range(count + latency):
            now = min(cycle, count - 1)
            words = [p.encode(config) for p in parameters[now]]
            outputs = yield {
                "values": rtl.int32_lanes(values[now]),
                "parameters": words[0] | words[1] << size,
                "raw": raw[now],
                **{
                    f"places.{memory}": place[index]
                    for memory, delay in delays.items()
                    if 0 <= (index := cycle - delay + memory_latency) < count
                },
            }
            if (index := cycle - latency) >= 0:
                wanted = [result(index, lane) for lane in range(2)]
                assert outputs["results"] == rtl.int32_lanes(wanted), index

    rtl.run(RequantiserBank(config), bench())


def test_every_memory_of_late_fields_has_a_delay():
    assert RequantiserBank.late_delays(Config()).keys() == Drain.LATE.keys()


def test_late_fields_lead_the_drain_and_are_not_streamed():
    config = Config()
    late = [name for names in Drain.LATE.values() for name in names]
    fields = [name for name, _ in Drain.layout(config)]
    assert fields == late + [name for name, _ in Drain.streamed(config)]
    word = Drain(low=-5, high=77, zero_point=-3).encode(config)
    found = {}
    for memory in Drain.LATE:
        layout, offset = Drain.late_layout(config, memory), Drain.late_offset(config, memory)
        found |= {name: word >> offset + f.offset & (1 << f.width) - 1 for name, f in layout}
    assert found == {"low": -5 & 0xFFFFFFFF, "high": 77, "zero_point": -3 & 0xFF}
