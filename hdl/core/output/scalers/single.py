"""The rounding contract `tflite-single` in gates."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned

from etchnet.hdl.blocks.delay_line import delay_line
from etchnet.hdl.core.output.product import product
from etchnet.hdl.core.output.scalers.base import Scaler
from etchnet.hdl.isa.config import Config

__all__ = ["SingleRoundingScaler"]


class SingleRoundingScaler(Scaler):
    """``value * multiplier / 2**(31 - left + right)`` to nearest, ties upwards, saturated to int32.

    This is `arithmetic.contracts.scale_single`: TensorFlow Lite's MultiplyByQuantizedMultiplier with single rounding.
    """

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from a value to its result."""
        return 4 + config.product_latency

    def elaborate(self, platform: Any) -> Module:
        """Shift left (raw only), multiply, register the product, shift right, saturate: a stage each."""
        m = Module()
        products = self._config.product_latency
        multiplier = delay_line(m, self.multiplier, 1, name="multiplier", resets=False)
        raw = delay_line(m, self.raw, products + 3, name="raw", resets=False)

        # One right shift by 0 to 62. Raw values take the left shift by itself, modulo 2**32.
        value = Signal(signed(32), reset_less=True)
        right = Signal(unsigned(6), reset_less=True)
        m.d.sync += [
            value.eq(self.value << Mux(self.raw, self.left, 0)),
            right.eq(self.right + Mux(self.raw, 0, 31 - self.left)),
        ]
        right_stages = delay_line(m, right, 1 + products, name="right", resets=False)

        whole = product(m, platform, self._config, value, multiplier[1])
        total = Signal(signed(64), reset_less=True)
        m.d.sync += total.eq(Mux(raw[products + 1], whole[:32].as_signed(), whole))

        # A tie rounds up. A raw tie rounds away from zero: a negative value rounds up only if a bit below the half is
        # set.
        with_half = Signal(signed(65))
        below_half = Signal(32)
        m.d.comb += [
            with_half.eq(Cat(0, total).as_signed() >> right_stages[products + 1]),
            below_half.eq(total[:32] & Cat(right_stages[products + 1][:5] > bit + 1 for bit in range(30))),
        ]
        shifted = Signal(signed(64), reset_less=True)
        half = Signal(reset_less=True)
        m.d.sync += [
            shifted.eq(with_half[1:]),
            half.eq(with_half[0] & (~raw[products + 2] | (total >= 0) | below_half.any())),
        ]

        # The largest int32 is not incremented, so that the sum stays within int32.
        negative = shifted[-1]
        outside = shifted[31:] != negative.replicate(33)
        quotient = Signal(signed(32), reset_less=True)
        increment = Signal(reset_less=True)
        m.d.sync += [
            quotient.eq(Mux(outside, Cat((~negative).replicate(31), negative), shifted[:32])),
            increment.eq(half & ~outside & (raw[products + 3] | (shifted[:32] != (1 << 31) - 1))),
        ]
        m.d.comb += [self.quotient.eq(quotient), self.increment.eq(increment)]
        return m
