"""The product of a requantiser."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, signed, unsigned

__all__ = ["product"]


def product(m: Module, value: Any, factor: Any) -> Any:
    """Signed 32-bit `value` times unsigned 32-bit `factor`, 64 bits, one cycle later.

    Four partial products of at most 17 x 17 signed bits, the size of common FPGA multipliers, are registered; their
    sum is not.
    """
    value_high, value_low = value[16:].as_signed(), value[:16]
    factor_high, factor_low = factor[16:], factor[:16]
    high_high = Signal(signed(32), reset_less=True)
    high_low = Signal(signed(33), reset_less=True)
    low_high = Signal(unsigned(32), reset_less=True)
    low_low = Signal(unsigned(32), reset_less=True)
    m.d.sync += [
        high_high.eq(value_high * factor_high),
        high_low.eq(value_high * factor_low),
        low_high.eq(value_low * factor_high),
        low_low.eq(value_low * factor_low),
    ]
    return (high_high << 32) + ((high_low + low_high) << 16) + low_low
