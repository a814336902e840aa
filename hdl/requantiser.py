"""The requantiser: int32 in, scaled and clamped int32 out, by the rounding contract `tflite-double`."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.config import Config
from etchnet.hdl.delay import taps
from etchnet.hdl.isa import Parameters

__all__ = ["Requantiser"]


class Requantiser(wiring.Component):
    """One value a cycle: ``clamp(round(round((value + bias) * 2**left * multiplier / 2**31) / 2**right) + zero)``.

    The first rounding is to nearest with ties upwards, the second to nearest with ties away from zero: TensorFlow
    Lite's MultiplyByQuantizedMultiplier with a double-rounding shift. ``(value + bias) * 2**left`` is taken modulo
    2**32; whoever chooses the parameters makes sure that it fits. With `raw` the low 32 bits of the product stand in
    for the first rounding, so that multiplier 1 and no shifts pass the biased value on exactly.

    `zero_point` belongs to the value of `zero_point_delay` cycles ago, `low` and `high` to that of `clamp_delay`
    cycles ago.
    """

    def __init__(self, config: Config) -> None:
        self._layout = Parameters.layout(config)
        super().__init__(
            {
                "value": In(signed(32)),
                "parameters": In(self._layout),
                "raw": In(1),
                "zero_point": In(signed(8)),
                "low": In(signed(32)),
                "high": In(signed(32)),
                "result": Out(signed(32)),
            }
        )

    @staticmethod
    def zero_point_delay(config: Config) -> int:
        """Cycles from a value to its zero point."""
        return 5

    @staticmethod
    def clamp_delay(config: Config) -> int:
        """Cycles from a value to its bounds."""
        return Requantiser.zero_point_delay(config) + 1

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from a value to its result."""
        return Requantiser.clamp_delay(config) + 1

    def elaborate(self, platform: Any) -> Module:
        """Bias, left shift, product, first rounding, right shift, zero point, clamp: one register stage each."""
        m = Module()
        multiplier = taps(m, self.parameters.multiplier, 2, name="multiplier", resets=False)
        left = taps(m, self.parameters.left, 1, name="left", resets=False)
        right = taps(m, self.parameters.right, 4, name="right", resets=False)
        raw = taps(m, self.raw, 3, name="raw", resets=False)

        biased = Signal(signed(32), reset_less=True)
        shifted = Signal(signed(32), reset_less=True)
        m.d.sync += [biased.eq(self.value + self.parameters.bias), shifted.eq(biased << left[1])]

        # Four partial products of at most 17 x 17 signed bits, the size of common FPGA multipliers.
        value_high, value_low = shifted[16:].as_signed(), shifted[:16]
        factor_high, factor_low = multiplier[2][16:], multiplier[2][:16]
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

        product = Signal(signed(64))
        scaled = Signal(signed(32), reset_less=True)
        m.d.comb += product.eq((high_high << 32) + ((high_low + low_high) << 16) + low_low + Mux(raw[3], 0, 1 << 30))
        m.d.sync += scaled.eq(Mux(raw[3], product[:32], product[31:63]))

        # Ties away from zero: round the half up, but for a negative value only when something below the half is set.
        quotient = Signal(signed(32), reset_less=True)
        increment = Signal(reset_less=True)
        with_half = Signal(signed(33))
        below_half = Signal(32)
        m.d.comb += [
            with_half.eq(Cat(0, scaled).as_signed() >> right[4]),
            below_half.eq(scaled & (((1 << right[4]) - 1) >> 1)),
        ]
        m.d.sync += [
            quotient.eq(with_half[1:]),
            increment.eq(with_half[0] & ((scaled >= 0) | below_half.any())),
        ]

        offset = Signal(signed(34), reset_less=True)
        m.d.sync += offset.eq(quotient + increment + self.zero_point)
        result = Signal(signed(32), reset_less=True)
        m.d.sync += result.eq(Mux(offset < self.low, self.low, Mux(offset > self.high, self.high, offset)))
        m.d.comb += self.result.eq(result)
        return m
