"""What gateware is made of: the multipliers of a device, or none in particular."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    Shape,
    Signal,
    Value,
    signed,
    unsigned,
)
from amaranth.lib.cdc import FFSynchronizer, ResetSynchronizer

from etchnet.hdl.blocks.delay_line import delay
from etchnet.hdl.isa.config import Config

__all__ = ["MULTIPLIERS_OF_A_REQUANTISER", "PORTABLE", "Ecp5", "Ice40", "Technology", "technology_of"]


MULTIPLIERS_OF_A_REQUANTISER = 4
"""products of a requantiser, of at most 17 x 17 bits each: `etchnet.hdl.core.output.product`"""


class Technology:
    """Registers and operators that any synthesis takes; a device that has better ones overrides them.

    Whatever a technology makes of a product has the latency it was asked for, so that machines are equal in every bit
    and in every cycle, whatever they are made of.

    Parameters
    ----------
    multipliers
        How many the device has; without a number there are always more.
    """

    name = "portable"
    products = 1
    """int8 products of one of the device's multipliers: where it is 2, elements share them by `multiply_together`"""

    powers_up = False
    """whether registers have their values after a reset from the beginning, by the device's configuration"""

    def __init__(self, multipliers: int | None = None) -> None:
        self.multipliers = multipliers

    def elements(self, config: Config) -> int:
        """Elements whose multipliers are the device's own; those after them, row by row, are made of gates.

        There are `products` of them for each multiplier that the requantisers leave.
        """
        if self.multipliers is None:
            return config.multipliers
        left = self.multipliers - MULTIPLIERS_OF_A_REQUANTISER * config.requantisers
        return max(0, min(config.multipliers, self.products * left))

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

    def multiply_together(
        self, m: Module, factors: list[tuple[Value, Value]], latency: int, *, name: str
    ) -> list[Value]:
        """The products of up to `products` pairs of int8, as `multiply` gives them."""
        return [self.multiply(m, a, b, latency, name=f"{name}_{i}") for i, (a, b) in enumerate(factors)]

    def start(self, m: Module, clock: Value, ready: Value) -> None:
        """Add the clock domain `sync`, which runs on `clock` and begins with every register as it is after a reset.

        `ready` says, of no clock, that `clock` has come to be regular.
        """
        m.domains.sync = ClockDomain()
        m.d.comb += ClockSignal().eq(clock)
        m.submodules.release = ResetSynchronizer(~ready)

    def duplicate_register(self, m: Module, before: Value, after: Value, count: int, *, name: str) -> list[Value]:
        """`count` values that equal `after`, a register of `before`, for as many places far from one another.

        Synthesis merges registers that are written twice; a device's own are left as they are.
        """
        return [after] * count


PORTABLE = Technology()


def product_shape(a: Value, b: Value) -> Any:
    """The shape of a product: signed where a factor is."""
    either = signed if a.shape().signed or b.shape().signed else unsigned
    return either(len(a) + len(b))


def technology_of(platform: Any) -> Technology:
    """What a component is elaborated for; the portable one where nothing is said, as in simulation."""
    return getattr(platform, "technology", PORTABLE)


class Ecp5(Technology):
    """Lattice ECP5: multipliers of 18 x 18 bits with registers of their own (`MULT18X18D`, FPGA-TN-02205)."""

    name = "ecp5"
    powers_up = True
    WIDTH = 18

    def start(self, m: Module, clock: Value, ready: Value) -> None:
        """The clock begins when it is ready: no reset has to reach all registers within a cycle."""
        m.domains.free = ClockDomain(reset_less=True, local=True)
        m.domains.sync = ClockDomain(reset_less=True)
        running = Signal()
        m.submodules.release = FFSynchronizer(ready, running, o_domain="free", stages=3)
        m.submodules.gate = Instance("DCCA", i_CLKI=clock, i_CE=running, o_CLKO=ClockSignal())
        m.d.comb += ClockSignal("free").eq(clock)

    def multiply(self, m: Module, a: Value, b: Value, latency: int, *, name: str, hard: bool = True) -> Value:
        """Input, pipeline and output registers are the multiplier's own, in this order: output, input, pipeline."""
        if not hard:
            if latency < 3 or (len(a), len(b)) != (8, 8):
                return super().multiply(m, a, b, latency, name=name, hard=hard)
            return self._multiply_by_adding(m, a, b, latency, name=name)
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
        """A signed 8 x 8 product of carry chains, a third of the lookup tables of what synthesis makes of `*`.

        Two bits of `b` at a time: what a carry chain's lookup tables take besides the sum are the conjunctions.
        """
        (a, b) = (delay(m, value, 1, name=f"{name}_{side}", resets=False) for side, value in (("a", a), ("b", b)))
        pairs: list[Value] = [self._add_pair(m, a, b[i], b[i + 1], name=f"{name}_pair_{i}") for i in (0, 2, 4)]
        # The highest bit counts negative.
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
        """``a * low + 2 * a * high`` for bits `low` and `high`, as `CCU2C`s (A and B, and C and D, are conjoined)."""
        first: list[Value] = [*(a[i] for i in range(8)), a[7], a[7]]
        second: list[Value] = [Const(0, 1), *(a[i] for i in range(8)), a[7]]
        total = Signal(signed(10), name=name)
        carry: Value = Const(0, 1)
        for index in range(0, 10, 2):
            following = Signal(name=f"{name}_carry_{index}")
            ports: dict[str, Any] = {}
            for place in range(2):
                inputs = (first[index + place], low, second[index + place], high)
                ports |= {f"i_{port}{place}": value for port, value in zip("ABCD", inputs, strict=True)}
                ports[f"o_S{place}"] = total[index + place]
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
        """Registers of the device, one for each place."""
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


class Ice40(Technology):
    """Lattice iCE40 UltraPlus: one 16 x 16 or two 8 x 8 products of a block, `SB_MAC16` (FPGA-TN-02007)."""

    name = "ice40"
    products = 2

    def multiply(self, m: Module, a: Value, b: Value, latency: int, *, name: str, hard: bool = True) -> Value:
        """One product of 16 x 16 bits. Registers of the block, in this order: output, input, pipeline."""
        if not hard or max(len(a), len(b)) > 16:
            return super().multiply(m, a, b, latency, name=name, hard=hard)
        inner = int(latency > 2)
        shape = product_shape(a, b)
        result = self._block(
            m,
            a,
            b,
            latency,
            name=name,
            TOPOUTPUT_SELECT=3,
            BOTOUTPUT_SELECT=3,
            TOP_8x8_MULT_REG=inner,
            BOT_8x8_MULT_REG=inner,
            PIPELINE_16x16_MULT_REG1=inner,
            PIPELINE_16x16_MULT_REG2=1,
            A_SIGNED=int(a.shape().signed),
            B_SIGNED=int(b.shape().signed),
        )
        found = Signal(shape, name=f"{name}_product")
        m.d.comb += found.eq(result)
        return delay(m, found, max(0, latency - 3), name=f"{name}_after", resets=False)

    def multiply_together(
        self, m: Module, factors: list[tuple[Value, Value]], latency: int, *, name: str
    ) -> list[Value]:
        """The products of signed 8 x 8 bits that share a block; see `multiply`."""
        low, high = factors[0], factors[-1]
        result = self._block(
            m,
            Cat(low[0], high[0]),
            Cat(low[1], high[1]),
            latency,
            name=name,
            TOPOUTPUT_SELECT=2,
            BOTOUTPUT_SELECT=2,
            TOP_8x8_MULT_REG=1,
            BOT_8x8_MULT_REG=1,
            MODE_8x8=1,
            A_SIGNED=1,
            B_SIGNED=1,
        )
        products: list[Value] = []
        for index in range(len(factors)):
            found = Signal(signed(16), name=f"{name}_product_{index}")
            m.d.comb += found.eq(result[16 * index : 16 * index + 16])
            products.append(delay(m, found, max(0, latency - 2), name=f"{name}_after_{index}", resets=False))
        return products

    @staticmethod
    def _block(m: Module, a: Value, b: Value, latency: int, *, name: str, **parameters: int) -> Signal:
        """A block with its input registers where the latency asks for them, and its 32 bits of output."""
        extended: list[Value] = []
        for value in (a, b):
            wide = Signal(Shape(16, value.shape().signed), name=f"{name}_{'ab'[len(extended)]}")
            m.d.comb += wide.eq(value)
            extended.append(wide)
        result = Signal(32, name=name)
        widths = {"TOPOUTPUT_SELECT": 2, "BOTOUTPUT_SELECT": 2}
        parameters |= {"A_REG": int(latency > 1), "B_REG": int(latency > 1)}
        zeros = (
            "AHOLD",
            "BHOLD",
            "CHOLD",
            "DHOLD",
            "IRSTTOP",
            "IRSTBOT",
            "ORSTTOP",
            "ORSTBOT",
            "OLOADTOP",
            "OLOADBOT",
            "ADDSUBTOP",
            "ADDSUBBOT",
            "OHOLDTOP",
            "OHOLDBOT",
            "CI",
            "ACCUMCI",
            "SIGNEXTIN",
        )
        m.submodules[f"{name}_multiplier"] = Instance(
            "SB_MAC16",
            **{f"p_{key}": Const(value, widths.get(key, 1)) for key, value in parameters.items()},
            **{f"i_{port}": Const(0, 1) for port in zeros},
            i_C=Const(0, 16),
            i_D=Const(0, 16),
            i_A=extended[0],
            i_B=extended[1],
            i_CLK=ClockSignal(),
            i_CE=Const(1, 1),
            o_O=result,
        )
        return result
