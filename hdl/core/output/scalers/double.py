"""The rounding contract `tflite-double` in gates."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed

from etchnet.hdl.blocks.delay_line import delay_line
from etchnet.hdl.core.output.product import product
from etchnet.hdl.core.output.scalers.base import Scaler
from etchnet.hdl.isa.config import Config

__all__ = ["DoubleRoundingScaler"]


class DoubleRoundingScaler(Scaler):
    """``round(round(value * 2**left * multiplier / 2**31) / 2**right)``: `arithmetic.reference.scale_double`.

    The first rounding is to nearest with ties upwards, the second to nearest with ties away from zero: TensorFlow
    Lite's MultiplyByQuantizedMultiplier with double rounding. ``value * 2**left`` is taken modulo 2**32; the compiler
    refuses parameters with which it could overflow.
    """

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from a value to its result."""
        return 3 + config.product_latency

    def elaborate(self, platform: Any) -> Module:
        """Shift left, multiply, round, shift right: one register stage each, plus those of the product."""
        m = Module()
        last = self.latency(self._config) - 1  # the stage before the last shift
        multiplier = delay_line(m, self.multiplier, 1, name="multiplier", resets=False)
        right = delay_line(m, self.right, last, name="right", resets=False)
        raw = delay_line(m, self.raw, last - 1, name="raw", resets=False)

        shifted = Signal(signed(32), reset_less=True)
        m.d.sync += shifted.eq(self.value << self.left)

        total = Signal(signed(64))
        scaled = Signal(signed(32), reset_less=True)
        whole = product(m, platform, self._config, shifted, multiplier[1])
        m.d.comb += total.eq(whole + Mux(raw[last - 1], 0, 1 << 30))
        m.d.sync += scaled.eq(Mux(raw[last - 1], total[:32], total[31:63]))

        # Ties away from zero: a half rounds up, for a negative value only if a bit below the half is set.
        with_half = Signal(signed(33))
        below_half = Signal(32)
        m.d.comb += [
            with_half.eq(Cat(0, scaled).as_signed() >> right[last]),
            below_half.eq(scaled & Cat(right[last] > bit + 1 for bit in range(30))),
        ]
        quotient = Signal(signed(32), reset_less=True)
        increment = Signal(reset_less=True)
        m.d.sync += [
            quotient.eq(with_half[1:]),
            increment.eq(with_half[0] & ((scaled >= 0) | below_half.any())),
        ]
        m.d.comb += [self.quotient.eq(quotient), self.increment.eq(increment)]
        return m
