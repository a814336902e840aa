"""The wide multiplication of a requantiser, cut for the multipliers of FPGAs."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, signed

from etchnet.hdl.blocks.delay_line import delay
from etchnet.hdl.blocks.technology import technology_of
from etchnet.hdl.isa.config import Config

__all__ = ["product", "sum_stages"]


def sum_stages(config: Config) -> int:
    """Return how many cycles of the product's latency add up the partial products; the multipliers take the others."""
    return min(1, config.product_latency - 1) + (config.product_latency > 4)


def product(m: Module, platform: Any, config: Config, value: Any, factor: Any) -> Any:
    """Multiply signed 32-bit `value` by unsigned 32-bit `factor`: 64 bits, `config.product_latency` cycles later.

    Four partial products of at most 17 x 17 signed bits, the size of common FPGA multipliers, are registered. At a
    latency of 2 or more their sum is registered too, at 5 also the sum of the inner two; the remaining stages are
    inside the multipliers.
    """
    value_high, value_low = value[16:].as_signed(), value[:16]
    factor_high, factor_low = factor[16:], factor[:16]
    technology, latency = technology_of(platform), config.product_latency - sum_stages(config)
    high_high, high_low, low_high, low_low = (
        technology.multiply(m, a, b, latency, name=name)
        for name, a, b in (
            ("high_high", value_high, factor_high),
            ("high_low", value_high, factor_low),
            ("low_high", value_low, factor_high),
            ("low_low", value_low, factor_low),
        )
    )
    # The outer products do not overlap: concatenated they are one number, which saves an addition.
    outer = Cat(low_low, high_high).as_signed()
    # A signal, since a caller that uses the product twice would otherwise get two adders for it.
    inner = Signal((high_low + low_high).shape(), name="product_inner")
    m.d.comb += inner.eq(high_low + low_high)
    if config.product_latency > 4:
        outer, inner = (
            delay(m, part, 1, name=f"product_{name}", resets=False)
            for name, part in (("outer", outer), ("inner", inner))
        )
    whole: Any = outer + (inner << 16)
    if sum_stages(config):
        total = Signal(signed(64), name="product_sum", reset_less=True)
        m.d.sync += total.eq(whole)
        return total
    return whole
