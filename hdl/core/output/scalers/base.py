"""The interface of a scaler, which implements one rounding contract in gates."""

from __future__ import annotations

from abc import abstractmethod

from amaranth.hdl import signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.isa import Parameters
from etchnet.hdl.isa.config import Config

__all__ = ["Scaler"]


class Scaler(wiring.Component):
    """``value * multiplier * 2**(left - right - 31)``, rounded by the contract of the subclass.

    One value per cycle, without flow control. The result is `quotient` + `increment`, which the next stage adds; the
    sum fits int32. With `raw` every contract does the same: the low 32 bits of ``value * 2**left * multiplier``,
    divided by 2**right to nearest, ties away from zero.

    ===========  =========  ============  ===================================================================
    port         direction  shape         meaning
    ===========  =========  ============  ===================================================================
    value        in         signed(32)    a biased accumulator
    multiplier   in         unsigned(31)  its multiplier, a fraction of 31 bits
    left, right  in         unsigned(5)   its shifts
    raw          in         1             use the low bits of the product instead of rounding by the contract
    quotient     out        signed(32)    the result less `increment`, `latency` cycles after `value`
    increment    out        1             1 where the result was rounded up
    ===========  =========  ============  ===================================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        fields = {name: Parameters.layout(config)[name].shape for name in ("multiplier", "left", "right")}
        super().__init__(
            {
                "value": In(signed(32)),
                **{name: In(shape) for name, shape in fields.items()},
                "raw": In(1),
                "quotient": Out(signed(32)),
                "increment": Out(1),
            }
        )

    @staticmethod
    @abstractmethod
    def latency(config: Config) -> int:
        """Return the cycles from a value to its result."""
