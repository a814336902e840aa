"""The product of a requantiser."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, signed

from etchnet.hdl.config import Config
from etchnet.hdl.technology import technology_of

__all__ = ["product"]


def product(m: Module, platform: Any, config: Config, value: Any, factor: Any) -> Any:
    """Signed 32-bit `value` times unsigned 32-bit `factor`, 64 bits, `config.product_latency` cycles later.

    Four partial products of at most 17 x 17 signed bits, the size of common FPGA multipliers, are registered. Their sum
    is registered too from two cycles on; what is left of the latency is the multipliers'.
    """
    value_high, value_low = value[16:].as_signed(), value[:16]
    factor_high, factor_low = factor[16:], factor[:16]
    sum_stages = min(1, config.product_latency - 1)
    technology, latency = technology_of(platform), config.product_latency - sum_stages
    high_high, high_low, low_high, low_low = (
        technology.multiply(m, a, b, latency, name=name)
        for name, a, b in (
            ("high_high", value_high, factor_high),
            ("high_low", value_high, factor_low),
            ("low_high", value_low, factor_high),
            ("low_low", value_low, factor_low),
        )
    )
    whole: Any = (high_high << 32) + ((high_low + low_high) << 16) + low_low
    if sum_stages:
        total = Signal(signed(64), name="product_sum", reset_less=True)
        m.d.sync += total.eq(whole)
        return total
    return whole
