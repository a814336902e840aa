"""One processing element against its recurrence."""

import numpy as np
import pytest
from support import rtl
from support.machines import small

from etchnet.hdl.core.array.element import ProcessingElement
from etchnet.hdl.isa import sum_width


@pytest.mark.parametrize("multiplier_latency", [1, 2, 3])
@pytest.mark.parametrize("row", [0, 3, 5])
def test_the_recurrence(multiplier_latency, row):
    """``sum_out[t + L] = sum_in[t + L - 1] + operand[t] * weight[t]``, the operand being a sample where `windowed`."""
    config = small(rows=6, columns=6, depthwise=2, multiplier_latency=multiplier_latency)
    element, random = ProcessingElement(config, row=row), np.random.default_rng(row)
    latency = ProcessingElement.latency(config)
    assert latency == multiplier_latency + 1
    assert element.has_sample == (row < 4)
    limit = 1 << sum_width(row) - 1 if row else 1

    def bench():
        history, weight = [], 0
        for cycle in range(200):
            inputs = {
                "load": int(random.random() < 0.3),
                "weight_in": int(random.integers(-128, 128)),
                "activation": int(random.choice([-128, 127, int(random.integers(-128, 128))])),
                "sum_in": int(random.integers(-limit // 2, limit // 2)),
            }
            operand = inputs["activation"]
            if element.has_sample:
                inputs |= {"windowed": int(random.random() < 0.5), "sample": int(random.integers(-128, 128))}
                operand = inputs["sample"] if inputs["windowed"] else operand
            seen = yield inputs
            history.append((inputs, operand * weight))
            if cycle:
                before, _ = history[-2]
                assert (seen["activation_out"], seen["load_out"]) == (before["activation"], before["load"])
                if element.has_sample:
                    assert seen["windowed_out"] == before["windowed"]
            if cycle >= latency + 1:
                assert seen["sum_out"] == history[-2][0]["sum_in"] + history[-1 - latency][1]
            if inputs["load"]:
                weight = inputs["weight_in"]

    rtl.run(element, bench())
