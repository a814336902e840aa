"""Lattice iCE40 UltraPlus."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Shape, Signal, Value, signed

from etchnet.hdl.blocks.delay_line import delay
from etchnet.hdl.blocks.technology.portable import Technology, product_shape

__all__ = ["Ice40"]


class Ice40(Technology):
    """Lattice iCE40 UltraPlus: one 16 x 16 or two 8 x 8 products per `SB_MAC16` block (FPGA-TN-02007)."""

    name = "ice40"
    products = 2

    def multiply(self, m: Module, a: Value, b: Value, latency: int, *, name: str, hard: bool = True) -> Value:
        """Return ``a * b`` from one block, using its own registers: output first, then input, then pipeline."""
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
        """Return the one or two signed 8 x 8 products of one block, timed as in `multiply`."""
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
        """Instantiate a block, with input registers from a latency of 2 on, and return its 32 output bits."""
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
