"""What every rounding contract in gates has in common: a scaler, from a biased value to a rounded one."""

from __future__ import annotations

from abc import abstractmethod

from amaranth.hdl import signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.isa import Parameters
from etchnet.hdl.isa.config import Config

__all__ = ["Scaler"]


class Scaler(wiring.Component):
    """One value a cycle: ``value * multiplier * 2**(left - right - 31)``, rounded by the contract of the subclass.

    The result is `quotient` + `increment`, for the next adder to add up, `latency` cycles after the value and its
    parameters; it is within int32. With `raw` every contract does the same: the low 32 bits of
    ``value * 2**left * multiplier``, divided by 2**right to nearest, ties away from zero.
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
        """Cycles from a value to its result."""
