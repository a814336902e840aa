"""The latencies of machines against sums of the stages on each path."""

import pytest

from etchnet.hdl.isa.config import Config
from etchnet.sim.timing import Latencies

SCALERS = {"tflite-double": 3, "tflite-single": 4, "onnx-float": 8}
"""register stages of each contract's scaler, besides the product"""


@pytest.mark.parametrize(("memory", "multiplier", "product"), [(1, 1, 1), (2, 3, 4), (3, 2, 5), (4, 1, 2)])
@pytest.mark.parametrize("contract", SCALERS)
def test_every_latency_is_the_sum_of_its_stages(contract, memory, multiplier, product):
    config = Config(
        rows=3,
        columns=5,
        contract=contract,
        memory_latency=memory,
        multiplier_latency=multiplier,
        product_latency=product,
    )
    # Read, select, skew, multiply and add, deskew; the bank reads the row while the last of these stages pass.
    fold_delay = memory + 1 + (3 - 1) + multiplier + 1 + (5 - 1) - memory
    # Read, select, bias, scale, zero point, clamp.
    result = memory + 1 + 1 + SCALERS[contract] + product + 1 + 1
    assert Latencies.of(config) == Latencies(
        decide=1,
        fetch=memory + 2 + (memory > 1),
        fold_delay=fold_delay,
        fold_write=fold_delay + memory + 1,
        fold_visible=fold_delay + memory + 2,
        drain_delay=fold_delay + memory + 2,
        chain=2,
        result=result,
        feedback=result - memory,
        accumulate=memory + 1,
        commit=int(memory > 2),
    )
