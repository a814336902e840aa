"""What gateware is made of: the multipliers of a device, or none in particular."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, Value, signed, unsigned

from etchnet.hdl.config import Config
from etchnet.hdl.delay import delay

__all__ = ["PORTABLE", "Ecp5", "Technology", "technology_of"]


class Technology:
    """Registers and operators that any synthesis takes; a device that has better ones overrides them.

    Whatever a technology makes of a product has the latency it was asked for, so that machines are equal in every bit
    and in every cycle, whatever they are made of.
    """

    name = "portable"

    def elements(self, config: Config) -> int:
        """Elements whose multipliers are the device's own; those after them, row by row, are made of gates."""
        return config.multipliers

    def multiply(self, m: Module, a: Value, b: Value, latency: int, *, name: str, hard: bool = True) -> Value:
        """``a * b`` of `latency` cycles ago (at least 1), of as many bits as both together. Registers are not reset.

        From two cycles on the operands are registered first. `hard` asks for the device's own multiplier.
        """
        operands = [a, b]
        if latency > 1:
            operands = [delay(m, value, 1, name=f"{name}_{side}", resets=False) for side, value in (("a", a), ("b", b))]
        whole = Signal(product_shape(a, b), name=name)
        m.d.comb += whole.eq(operands[0] * operands[1])
        return delay(m, whole, max(1, latency - 1), name=name, resets=False)


PORTABLE = Technology()


def product_shape(a: Value, b: Value) -> Any:
    """The shape of a product: signed where a factor is."""
    either = signed if a.shape().signed or b.shape().signed else unsigned
    return either(len(a) + len(b))


def technology_of(platform: Any) -> Technology:
    """What a component is elaborated for; the portable one where nothing is said, as in simulation."""
    return getattr(platform, "technology", PORTABLE)


class Ecp5(Technology):
    """Lattice ECP5: multipliers of 18 x 18 bits with registers of their own (`MULT18X18D`, FPGA-TN-02205).

    Parameters
    ----------
    multipliers
        How many the device has.
    """

    name = "ecp5"
    WIDTH = 18

    def __init__(self, multipliers: int = 156) -> None:
        self.multipliers = multipliers

    def elements(self, config: Config) -> int:
        """What the requantisers leave, which take four each (`hdl.product`)."""
        assert config.requantisers is not None
        return max(0, min(config.multipliers, self.multipliers - 4 * config.requantisers))

    def multiply(self, m: Module, a: Value, b: Value, latency: int, *, name: str, hard: bool = True) -> Value:
        """Input, pipeline and output registers are the multiplier's own, in this order: output, input, pipeline."""
        if not hard:
            return super().multiply(m, a, b, latency, name=name, hard=hard)
        registers = {"OUTPUT": True, "INPUTA": latency > 1, "INPUTB": latency > 1, "PIPELINE": latency > 2}
        shape = product_shape(a, b)
        # Operands lie in the highest bits: what is below is tied to ground in place, where signs would be routed.
        sides = {}
        for side, value in (("A", a), ("B", b)):
            value_signed = value.shape().signed
            spare = self.WIDTH - len(value)
            sides[side] = [*([Const(0, 1)] * spare), *(value[i] for i in range(len(value)))]
            sides[f"SIGNED{side}"] = [Const(int(value_signed), 1)]
        result = Signal(2 * self.WIDTH, name=name)
        ports: dict[str, Any] = {}
        for port, bits in sides.items():
            for index, bit in enumerate(bits):
                ports[f"i_{port}{index if port in 'AB' else ''}"] = bit
        for index in range(2 * self.WIDTH):
            ports[f"o_P{index}"] = result[index]
        for number in range(4):
            ports |= {f"i_CLK{number}": ClockSignal() if number == 0 else Const(0, 1),
                      f"i_CE{number}": Const(1, 1), f"i_RST{number}": Const(0, 1)}  # fmt: skip
        parameters = {f"p_REG_{register}_CLK": "CLK0" if used else "NONE" for register, used in registers.items()}
        m.submodules[f"{name}_multiplier"] = Instance("MULT18X18D", **parameters, **ports)
        low = 2 * self.WIDTH - shape.width
        found = Signal(shape, name=f"{name}_product")
        m.d.comb += found.eq(result[low:])
        return delay(m, found, max(0, latency - 3), name=f"{name}_after", resets=False)
