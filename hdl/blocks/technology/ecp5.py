"""Lattice ECP5."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Mux, Signal, Value, signed
from amaranth.lib.cdc import FFSynchronizer

from etchnet.hdl.blocks.delay_line import delay
from etchnet.hdl.blocks.technology.portable import Technology, product_shape

__all__ = ["Ecp5"]


class Ecp5(Technology):
    """Lattice ECP5: 18 x 18-bit multipliers with registers of their own (`MULT18X18D`, FPGA-TN-02205)."""

    name = "ecp5"
    powers_up = True
    WIDTH = 18

    def start(self, m: Module, clock: Value, ready: Value) -> None:
        """Gate the clock until it is stable, so that no reset has to reach every register within one cycle."""
        m.domains.free = ClockDomain(reset_less=True, local=True)
        m.domains.sync = ClockDomain(reset_less=True)
        running = Signal()
        m.submodules.release = FFSynchronizer(ready, running, o_domain="free", stages=3)
        m.submodules.gate = Instance("DCCA", i_CLKI=clock, i_CE=running, o_CLKO=ClockSignal())
        m.d.comb += ClockSignal("free").eq(clock)

    def multiply(self, m: Module, a: Value, b: Value, latency: int, *, name: str, hard: bool = True) -> Value:
        """Return ``a * b`` from a `MULT18X18D`, using its own registers: output first, then input, then pipeline."""
        if not hard:
            if latency < 3 or (len(a), len(b)) != (8, 8):
                return super().multiply(m, a, b, latency, name=name, hard=hard)
            return self._multiply_by_adding(m, a, b, latency, name=name)
        registers = {"OUTPUT": True, "INPUTA": latency > 1, "INPUTB": latency > 1, "PIPELINE": latency > 2}
        shape = product_shape(a, b)
        # Operands use the highest bits: the bits below them are tied to ground at the block, whereas copies of a sign
        # bit would have to be routed.
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
            ports |= {
                f"i_CLK{number}": ClockSignal() if number == 0 else Const(0, 1),
                f"i_CE{number}": Const(1, 1),
                f"i_RST{number}": Const(0, 1),
            }
        parameters = {f"p_REG_{register}_CLK": "CLK0" if used else "NONE" for register, used in registers.items()}
        m.submodules[f"{name}_multiplier"] = Instance("MULT18X18D", **parameters, **ports)
        low = 2 * self.WIDTH - shape.width
        found = Signal(shape, name=f"{name}_product")
        m.d.comb += found.eq(result[low:])
        return delay(m, found, max(0, latency - 3), name=f"{name}_after", resets=False)

    def _multiply_by_adding(self, m: Module, a: Value, b: Value, latency: int, *, name: str) -> Value:
        """Return a signed 8 x 8 product made of carry chains: a third of the lookup tables that synthesis uses for `*`.

        Each chain takes two bits of `b`: a carry chain's lookup tables form the AND terms along with the sum.
        """
        (a, b) = (delay(m, value, 1, name=f"{name}_{side}", resets=False) for side, value in (("a", a), ("b", b)))
        pairs: list[Value] = [self._add_pair(m, a, b[i], b[i + 1], name=f"{name}_pair_{i}") for i in (0, 2, 4)]
        # The sign bit has a negative weight.
        pairs.append(Mux(b[6], a, 0) - (Mux(b[7], a, 0) << 1))
        halves = []
        for half in range(2):
            register = Signal(signed(12), name=f"{name}_half_{half}", reset_less=True)
            m.d.sync += register.eq(pairs[2 * half] + (pairs[2 * half + 1] << 2))
            halves.append(register)
        whole = Signal(signed(16), name=name)
        m.d.comb += whole.eq(halves[0] + (halves[1] << 4))
        return delay(m, whole, latency - 2, name=name, resets=False)

    @staticmethod
    def _add_pair(m: Module, a: Value, low: Value, high: Value, *, name: str) -> Value:
        """Return ``a * low + 2 * a * high`` for bits `low` and `high`, in `CCU2C`s that add A & B and C & D."""
        first: list[Value] = [*(a[i] for i in range(8)), a[7], a[7]]
        second: list[Value] = [Const(0, 1), *(a[i] for i in range(8)), a[7]]
        total = Signal(signed(10), name=name)
        carry: Value = Const(0, 1)
        for index in range(0, 10, 2):
            following = Signal(name=f"{name}_carry_{index}")
            ports: dict[str, Any] = {}
            for half in range(2):
                inputs = (first[index + half], low, second[index + half], high)
                ports |= {f"i_{port}{half}": value for port, value in zip("ABCD", inputs, strict=True)}
                ports[f"o_S{half}"] = total[index + half]
            m.submodules[f"{name}_{index}"] = Instance(
                "CCU2C",
                p_INIT0=Const(0x7888, 16),
                p_INIT1=Const(0x7888, 16),
                p_INJECT1_0="NO",
                p_INJECT1_1="NO",
                i_CIN=carry,
                o_COUT=following,
                **ports,
            )
            carry = following
        return total

    def duplicate_register(self, m: Module, before: Value, after: Value, count: int, *, name: str) -> list[Value]:
        """Return `count` flip-flops of the device, loaded from `before`, which synthesis does not merge."""
        found: list[Value] = []
        for copy in range(count):
            register = Signal(len(after), name=f"{name}_copy_{copy}")
            for bit in range(len(after)):
                m.submodules[f"{name}_copy_{copy}_{bit}"] = Instance(
                    "TRELLIS_FF",
                    p_GSR="DISABLED",
                    p_CEMUX="1",
                    p_LSRMUX="LSR",
                    p_REGSET="RESET",
                    p_SRMODE="LSR_OVER_CE",
                    i_CLK=ClockSignal(),
                    i_LSR=Const(0, 1),
                    i_CE=Const(1, 1),
                    i_DI=before[bit],
                    o_Q=register[bit],
                )
            found.append(register)
        return found
