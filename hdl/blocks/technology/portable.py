"""Registers and operators that any synthesis tool accepts: the base of every technology."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Module, Shape, Signal, Value
from amaranth.lib.cdc import ResetSynchronizer

from etchnet.hdl.blocks.delay_line import delay

__all__ = ["PORTABLE", "Technology", "product_shape", "technology_of"]


class Technology:
    """Registers and operators that any synthesis tool accepts; a device with better primitives overrides them.

    Every technology keeps the requested latency, so that a machine behaves the same on every device, bit by bit and
    cycle by cycle.

    Parameters
    ----------
    multipliers
        Number of multipliers on the device; None for no limit.
    """

    name = "portable"
    products = 1
    """int8 products per multiplier of the device; where it is 2, elements share one through `multiply_together`"""

    powers_up = False
    """whether the device's configuration gives registers their reset values at power-up"""

    def __init__(self, multipliers: int | None = None) -> None:
        self.multipliers = multipliers

    def multiply(self, m: Module, a: Value, b: Value, latency: int, *, name: str, hard: bool = True) -> Value:
        """Return ``a * b``, `latency` cycles later (at least 1), as wide as both together.

        With a latency of 2 or more the operands are registered first. Registers are not reset. `hard` asks for a
        multiplier of the device.
        """
        stages = self.operand_stages(latency)
        operands = [delay(m, v, stages, name=f"{name}_{side}", resets=False) for side, v in (("a", a), ("b", b))]
        whole = Signal(product_shape(a, b), name=name)
        m.d.comb += whole.eq(operands[0] * operands[1])
        return delay(m, whole, latency - stages, name=name, resets=False)

    @staticmethod
    def operand_stages(latency: int) -> int:
        """Return how many cycles of a multiplier's latency register its operands; the others register its product."""
        return int(latency > 1)

    def multiply_together(
        self, m: Module, factors: list[tuple[Value, Value]], latency: int, *, name: str
    ) -> list[Value]:
        """Return the products of up to `products` pairs of int8 that share a multiplier, timed as in `multiply`."""
        return [self.multiply(m, a, b, latency, name=f"{name}_{i}") for i, (a, b) in enumerate(factors)]

    def start(self, m: Module, clock: Value, ready: Value) -> None:
        """Add the clock domain `sync`, driven by `clock`, in which every register starts at its reset value.

        `ready` is asynchronous and goes high once `clock` is stable.
        """
        m.domains.sync = ClockDomain()
        m.d.comb += ClockSignal().eq(clock)
        m.submodules.release = ResetSynchronizer(~ready)

    def duplicate_register(self, m: Module, before: Value, after: Value, count: int, *, name: str) -> list[Value]:
        """Return `count` values equal to the register `after`, whose next value is `before`, to split its fan-out.

        Here all of them are `after` itself, because synthesis would merge equal registers. Technologies with register
        primitives, which synthesis does not merge, override this.
        """
        return [after] * count


PORTABLE = Technology()
"""technology for simulation, and for any device or process without one of its own"""


def product_shape(a: Value, b: Value) -> Shape:
    """Return the shape of ``a * b``: as wide as both together, signed where a factor is."""
    return Shape(len(a) + len(b), a.shape().signed or b.shape().signed)


def technology_of(platform: Any) -> Technology:
    """Return the `technology` of `platform`, or the portable one if it has none, as in simulation."""
    technology: Technology = getattr(platform, "technology", PORTABLE)
    return technology
