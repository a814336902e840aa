"""The selection of a group's operands."""

import numpy as np
import pytest
from support import rtl

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.output.operands import OperandSelect
from etchnet.hdl.isa import Parameters, Target
from etchnet.hdl.isa.config import Config


@pytest.mark.parametrize(("columns", "requantisers"), [(2, 2), (4, 2), (6, 2), (5, 1)])
def test_every_group_gets_its_accumulators_and_parameters(columns, requantisers):
    config = Config(rows=3, columns=columns, requantisers=requantisers, parameter_tiles=4)
    rng = np.random.default_rng(columns)
    size = Parameters.layout(config).size * requantisers
    words = [
        int.from_bytes(rng.bytes(size // 8 + 1), "little") & (1 << size) - 1 for _ in range(config.parameter_words)
    ]
    cycles, read = 40, AccumulatorBank.read_latency(config)
    asked = rng.integers(config.parameter_words, size=cycles).tolist()
    index = rng.integers(config.groups, size=cycles).tolist()
    rows = rng.integers(-(1 << 31), 1 << 31, (cycles, columns))

    def bench():
        yield from rtl.bus_writes(config, Target.PARAMETERS, words)
        for cycle in range(cycles):
            outputs = yield {
                "enable": 1,
                "word": asked[cycle],
                "index": index[cycle],
                "index_soon": index[min(cycle + 1, cycles - 1)],
                "accumulators": rtl.int32_lanes(rows[cycle]),
            }
            if cycle > read:
                first = requantisers * index[cycle - 1]
                assert outputs["values"] == rtl.int32_lanes(rows[cycle - 1][first : first + requantisers])
                assert outputs["parameters"] == words[asked[cycle - OperandSelect.latency(config)]]

    rtl.run(OperandSelect(config), bench())


def test_parameters_stay_while_nothing_is_read():
    config = Config(rows=2, columns=2, parameter_tiles=2)

    def bench():
        yield {"enable": 1, "word": 1}
        yield {"enable": 0, "word": 0}
        for _ in range(OperandSelect.latency(config)):
            outputs = yield {}
        assert outputs["parameters"] == 7
        outputs = yield {}
        assert outputs["parameters"] == 7

    rtl.run(OperandSelect(config, init=[5, 7]), bench())
