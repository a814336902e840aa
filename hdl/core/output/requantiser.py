"""The requantiser: int32 in, scaled and clamped int32 out, by the rounding contract of its machine."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.compare import less
from etchnet.hdl.blocks.delay_line import delay_line
from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.core.output.scalers.base import Scaler
from etchnet.hdl.core.output.scalers.double import DoubleRoundingScaler
from etchnet.hdl.core.output.scalers.float import FloatScaler
from etchnet.hdl.core.output.scalers.single import SingleRoundingScaler
from etchnet.hdl.isa import Parameters
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.contracts import ONNX_FLOAT, TFLITE_DOUBLE, TFLITE_SINGLE

__all__ = ["SCALERS", "Requantiser"]

SCALERS: dict[str, type[Scaler]] = {
    TFLITE_DOUBLE: DoubleRoundingScaler,
    TFLITE_SINGLE: SingleRoundingScaler,
    ONNX_FLOAT: FloatScaler,
}
"""the scaler of every rounding contract"""


class Requantiser(wiring.Component):
    """``clamp(scale(value + bias) + zero_point)``, one value per cycle, without flow control.

    ``value + bias`` is taken modulo 2**32. The scaler of the machine's contract multiplies by ``multiplier *
    2**(left - right - 31)`` and rounds to int32, as `Contract.scale` in `sim.arithmetic`. With `raw` every contract
    does the same: it uses the low 32 bits of the product instead, so that multiplier 1 without shifts passes the biased
    value through unchanged.

    ==========  =========  ============  ==================================================================
    port        direction  shape         meaning
    ==========  =========  ============  ==================================================================
    value       in         signed(32)    an accumulator
    parameters  in         `Parameters`  bias, multiplier and shifts, together with `value`
    raw         in         1             use the low 32 bits of the product, together with `value`
    zero_point  in         signed(8)     added to the scaled value, `zero_point_delay` cycles after `value`
    low, high   in         signed(32)    bounds of the result, `clamp_delay` cycles after `value`
    result      out        signed(32)    the result, `latency` cycles after `value`
    ==========  =========  ============  ==================================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "value": In(signed(32)),
                "parameters": In(Parameters.layout(config)),
                "raw": In(1),
                "zero_point": In(signed(8)),
                "low": In(signed(32)),
                "high": In(signed(32)),
                "result": Out(signed(32)),
            }
        )

    @staticmethod
    def zero_point_delay(config: Config) -> int:
        """Return the cycles from a value to its zero point: one for the bias, then the scaler's."""
        return 1 + SCALERS[config.contract].latency(config)

    @staticmethod
    def clamp_delay(config: Config) -> int:
        """Return the cycles from a value to its bounds."""
        return Requantiser.zero_point_delay(config) + 1

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from a value to its result."""
        return Requantiser.clamp_delay(config) + 1

    def elaborate(self, platform: Any) -> Module:
        """Add the bias, scale, add the zero point, clamp: one register stage each, plus those of the scaler."""
        m = Module()
        biased = Signal(signed(32), reset_less=True)
        m.d.sync += biased.eq(self.value + self.parameters.bias)

        scaler = SCALERS[self._config.contract](self._config)
        submodule(m, platform, "scaler", scaler)
        m.d.comb += scaler.value.eq(biased)
        for name in ("multiplier", "left", "right"):
            m.d.comb += getattr(scaler, name).eq(delay_line(m, self.parameters[name], 1, name=name, resets=False)[1])
        m.d.comb += scaler.raw.eq(delay_line(m, self.raw, 1, name="raw", resets=False)[1])

        offset = Signal(signed(34), reset_less=True)
        m.d.sync += offset.eq(scaler.quotient + scaler.increment + self.zero_point)
        result = Signal(signed(32), reset_less=True)
        below, above = less(offset, self.low), less(self.high, offset)
        m.d.sync += result.eq(Mux(below, self.low, Mux(above, self.high, offset)))
        m.d.comb += self.result.eq(result)
        return m
