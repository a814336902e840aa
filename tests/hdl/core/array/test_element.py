"""One processing element against its recurrence."""

import numpy as np
import pytest
from support import rtl
from support.machines import small

from etchnet.hdl.core.array.element import ProcessingElement
from etchnet.hdl.isa import sum_width


@pytest.mark.parametrize("multiplier_latency", [1, 3])
@pytest.mark.parametrize("row", [0, 3, 8, 9])
@pytest.mark.parametrize("shared", [False, True])
def test_the_recurrence(multiplier_latency, row, shared):
    """``sum_out[t + L] = sum_in[t + L - 1] + operand[t] * weight[t]``, the operand being a sample where `windowed`.

    The bench multiplies for an element that shares its multiplier.
    """
    config = small(rows=10, columns=10, depthwise=3, requantisers=1, multiplier_latency=multiplier_latency)
    element, random = ProcessingElement(config, row=row, shared=shared), np.random.default_rng(row)
    latency = ProcessingElement.latency(config)
    assert latency == multiplier_latency + 1
    assert (element.row, element.has_sample, element.is_shared) == (row, row < 9, shared)

    def bench():
        history, weight, products = [], 0, [0] * multiplier_latency
        for cycle in range(200):

            def byte():
                return int(random.choice([-128, 127, *random.integers(-128, 128, 2)]))

            inputs = {
                "load": int(random.random() < 0.3),
                "weight_in": byte(),
                "activation": byte(),
                "sum_in": row * byte() * int(random.choice([-128, 127])),
            }
            operand = inputs["activation"]
            if element.has_sample:
                inputs |= {"windowed": int(random.random() < 0.5), "sample": byte()}
                operand = inputs["sample"] if inputs["windowed"] else operand
            if shared:
                inputs["product"] = products[-multiplier_latency]
            seen = yield inputs
            if shared:
                assert (seen["factors.0"], seen["factors.1"]) == (operand, weight)
            products.append(operand * weight)
            history.append(inputs)
            if cycle:
                before = history[-2]
                assert (seen["activation_out"], seen["load_out"]) == (before["activation"], before["load"])
                if element.has_sample:
                    assert seen["windowed_out"] == before["windowed"]
            if cycle >= latency + 1:
                assert seen["sum_out"] == history[-2]["sum_in"] + products[-1 - latency]
            if inputs["load"]:
                weight = inputs["weight_in"]

    rtl.run(element, bench())


def test_elements_that_differ_have_variants_of_their_own():
    """The variant has the widths of both sums: 16 bits for a product, one more whenever the number of rows doubles."""
    config = small(rows=10, columns=10, depthwise=2, requantisers=1)
    variants = {
        ProcessingElement(config, row=row, hard=hard, shared=shared).variant
        for row, hard, shared in ((0, 1, 0), (1, 1, 1), (3, 0, 0), (4, 0, 1), (6, 1, 0), (7, 1, 1), (8, 1, 1))
    }
    assert variants == {
        "1_16_windowed",
        "16_17_windowed_shared",
        "17_18_windowed_soft",
        "18_18_soft",
        "18_18",
        "18_19_shared",
        "19_19_shared",
    }
    assert [sum_width(rows) for rows in (1, 2, 3, 4, 7, 8)] == [16, 17, 17, 18, 18, 19]
