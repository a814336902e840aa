"""What layers become, where networks that run do not show it."""

import pytest

from etchnet.host.compiler import lowering
from etchnet.host.network.layers import NetworkError


def test_a_pool_is_scaled_so_that_no_shifted_sum_leaves_int32(monkeypatch):
    """4096 times -128, shifted left by 12, is the smallest int32; a shift by 8 does for larger sums."""
    monkeypatch.setattr(lowering, "_POOL_SHIFTS", (12, 8))
    assert lowering.pool_scaling(4095, "onnx-float").left == 12
    assert lowering.pool_scaling(4097, "onnx-float").left == 8
    monkeypatch.setattr(lowering, "_POOL_SHIFTS", (12,))
    with pytest.raises(NetworkError, match="no exact division by 4097"):
        lowering.pool_scaling(4097, "onnx-float")
