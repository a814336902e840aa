"""The rounding contract `onnx-float` in gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, signed

from etchnet.hdl.blocks.delay_line import delay, delay_line
from etchnet.hdl.core.output.product import product
from etchnet.hdl.core.output.scalers.base import Scaler
from etchnet.hdl.isa.config import Config

__all__ = ["FloatScaler"]


class FloatScaler(Scaler):
    """``rint(fl32(fl32(value) * g))``, saturated to int32: `arithmetic.contracts.scale_float`.

    All roundings are to nearest, ties to even. The 24-bit significand of g is bits 7 to 30 of the multiplier; where
    bit 30 is clear, g is 0. Sign and magnitude are separate until the end. A raw value takes the same path, without
    normalisation and without rounding before the last shift.
    """

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from a value to its result."""
        return 8 + config.product_latency

    def elaborate(self, platform: Any) -> Module:
        """Take the magnitude, normalise in two stages, round to 24 bits, multiply, add, round, shift, set the sign."""
        m = Module()
        products = self._config.product_latency
        raw = delay_line(m, self.raw, products + 7, name="raw", resets=False)
        multiplier = delay_line(m, self.multiplier, 4, name="multiplier", resets=False)
        negative = delay_line(m, ~self.raw & (self.value < 0), products + 7, name="negative", resets=False)

        # A raw value is shifted left here. The last shift is to the right, by 1 + right - left plus the leading zeros
        # of the magnitude; by one less if the product of the significands has its leading one in bit 47 instead of bit
        # 46. The last shift of a raw value is by `right`.
        magnitude = Signal(32, reset_less=True)
        spread = Signal(signed(7), reset_less=True)
        m.d.sync += [
            magnitude.eq(Mux(self.raw, self.value << self.left, Mux(self.value < 0, -self.value, self.value))),
            spread.eq(self.right + Mux(self.raw, 0, 1 - self.left)),
        ]
        normal, zeros = self._normalise(m, magnitude, raw)

        # fl32 of the value: 24 bits, or 2**24 where they round up to it.
        rounded = normal[8:] + (normal[7] & (normal[:7].any() | normal[8]))
        value = Signal(signed(32), reset_less=True)
        shift = Signal(signed(7), reset_less=True)
        m.d.sync += [
            value.eq(Mux(raw[3], normal, rounded)),
            shift.eq(delay_line(m, spread, 2, name="spread", resets=False)[2] + zeros),
        ]
        shifts = delay_line(m, shift, 1 + products, name="shift", resets=False)

        significand = Mux(multiplier[4][30], multiplier[4][7:], 0)
        total = Signal(signed(64), reset_less=True)
        m.d.sync += total.eq(product(m, platform, self._config, value, Mux(raw[4], multiplier[4], significand)))
        scaled, last_shift = self._round_product(m, total, shifts[products + 1], raw[products + 5])
        shifted, up, too_large = self._shift_right(m, scaled, last_shift, raw[products + 6])

        # -(shifted + up) is ~shifted + 1 - up, and the magnitude of the smallest int32 is that of the largest plus 1.
        outside = ~raw[products + 7] & (too_large | shifted[31:33].any())
        quotient = Signal(signed(32), reset_less=True)
        increment = Signal(reset_less=True)
        m.d.sync += [
            quotient.eq(Mux(outside, (1 << 31) - 1, shifted[:32]) ^ negative[products + 7].replicate(32)),
            increment.eq(Mux(outside, negative[products + 7], up) ^ negative[products + 7]),
        ]
        m.d.comb += [self.quotient.eq(quotient), self.increment.eq(increment)]
        return m

    def _normalise(self, m: Module, magnitude: Signal, raw: Sequence[Any]) -> tuple[Any, Any]:
        """Shift the leading one to the top in two stages; return the shifted value and the number of leading zeros."""
        normal: Any = magnitude
        zeros: list[Any] = []
        for stage, steps in enumerate(((16, 8), (4, 2, 1)), start=1):
            for step in steps:
                clear, moved = Signal(name=f"clear_{step}"), Signal(32, name=f"moved_{step}")
                m.d.comb += [
                    clear.eq(~raw[stage] & ~normal[-step:].any()),
                    moved.eq(Mux(clear, normal << step, normal)),
                ]
                normal, zeros = moved, [clear, *zeros]
            normal = delay(m, normal, 1, name=f"normal_{stage}", resets=False)
            zeros = list(delay(m, Cat(*zeros), 1, name=f"zeros_{stage}", resets=False))
        return normal, Cat(*zeros)

    def _round_product(self, m: Module, total: Signal, shift: Any, raw: Any) -> tuple[Signal, Signal]:
        """Return fl32 of the product, followed by 8 zero bits for the last shift, and the amount of that shift."""
        # 24 bits; at most 2**24, where they round up to it.
        top = total[47]
        kept = Mux(top, total[24:48], total[23:47])
        half = Mux(top, total[23], total[22])
        below = total[:22].any() | (top & total[22])
        scaled = Signal(signed(34), name="scaled", reset_less=True)
        last_shift = Signal(signed(7), name="last_shift", reset_less=True)
        m.d.sync += [
            scaled.eq(Mux(raw, total[:32].as_signed(), Cat(C(0, 8), kept + (half & (below | kept[0]))))),
            last_shift.eq(shift - (top & ~raw)),
        ]
        return scaled, last_shift

    def _shift_right(self, m: Module, scaled: Signal, shift: Signal, raw: Any) -> tuple[Signal, Signal, Signal]:
        """Shift right; return the quotient, whether it rounds up, and whether it overflows int32 with a negative shift.

        Ties go to even; those of raw values away from zero, as in the other contracts. A nonzero product is at least
        2**31 before this shift, so any left shift overflows int32.
        """
        with_half = Signal(signed(35))
        below_half = Signal(34)
        m.d.comb += [
            with_half.eq(Cat(0, scaled).as_signed() >> shift[:6]),
            below_half.eq(scaled & Cat(shift[:6] > bit + 1 for bit in range(34))),
        ]
        shifted = Signal(signed(34), name="shifted", reset_less=True)
        up, too_large = (Signal(name=name, reset_less=True) for name in ("up", "too_large"))
        m.d.sync += [
            shifted.eq(with_half[1:]),
            up.eq(with_half[0] & (below_half.any() | Mux(raw, scaled >= 0, with_half[1]))),
            too_large.eq(shift[-1] & scaled[31:33].any()),
        ]
        return shifted, up, too_large
