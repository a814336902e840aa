"""Cells of devices in Amaranth, for simulations of what instantiates them; after FPGA-TN-02205 and FPGA-TN-02007."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Elaboratable, Module, Signal, Value, signed, unsigned


class Cell(Elaboratable):
    """An instance of a cell, by its arguments; it fails if it is connected in a way that the model does not know."""

    def __init__(self, kind: str, **arguments: Any) -> None:
        self._elaborate = {
            "MULT18X18D": self._ecp5_multiplier,
            "CCU2C": self._ecp5_carry,
            "TRELLIS_FF": self._ecp5_register,
            "SB_MAC16": self._ice40_multiplier,
            "DCCA": self._ecp5_gate,
        }[kind]
        self._parts = {part: {n[2:]: v for n, v in arguments.items() if n[0] == part} for part in "pio"}
        self._used: set[str] = set()

    def elaborate(self, platform: Any) -> Module:
        """Build the model, and check that it knows all inputs."""
        m = Module()
        self._elaborate(m)
        assert self._used == set(self._parts["i"])
        return m

    def _input(self, name: str) -> Value:
        self._used.add(name)
        return Value.cast(self._parts["i"][name])

    def _parameter(self, name: str) -> Any:
        value = self._parts["p"][name]
        return value.value if isinstance(value, Const) else value

    def _tie(self, value: int, *names: str) -> None:
        for name in names:
            tied = self._input(name)
            assert isinstance(tied, Const), name
            assert tied.value == value, name

    def _clock(self, name: str) -> None:
        assert isinstance(self._input(name), ClockSignal)

    def _vector(self, port: str, bits: int) -> Value:
        return Cat(*(self._input(f"{port}{bit}") for bit in range(bits)))

    def _is_signed(self, port: str) -> bool:
        value = self._input(port)
        assert isinstance(value, Const)
        return bool(value.value)

    @staticmethod
    def _register(m: Module, value: Value, used: bool) -> Value:
        if not used:
            return value
        held = Signal(value.shape())
        m.d.sync += held.eq(value)
        return held

    def _ecp5_multiplier(self, m: Module) -> None:
        clocks = {name: self._parameter(f"REG_{name}_CLK") for name in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")}
        assert set(clocks.values()) <= {"CLK0", "NONE"}
        self._clock("CLK0")
        self._tie(1, *(f"CE{number}" for number in range(4)))
        self._tie(0, *(f"RST{number}" for number in range(4)), *(f"CLK{number}" for number in range(1, 4)))
        sides = []
        for side in "AB":
            value = self._register(m, self._vector(side, 18), clocks[f"INPUT{side}"] == "CLK0")
            sides.append(value.as_signed() if self._is_signed(f"SIGNED{side}") else value)
        whole = self._register(m, sides[0] * sides[1], clocks["PIPELINE"] == "CLK0")
        whole = self._register(m, whole, clocks["OUTPUT"] == "CLK0")
        m.d.comb += Cat(*(self._parts["o"][f"P{bit}"] for bit in range(36))).eq(whole)

    def _ecp5_carry(self, m: Module) -> None:
        assert self._parameter("INJECT1_0") == self._parameter("INJECT1_1") == "NO"
        carry = self._input("CIN")
        for half in range(2):
            init = Const(self._parameter(f"INIT{half}"), 16)
            pins = [self._input(f"{pin}{half}") for pin in "ABCD"]
            four, two = init.bit_select(Cat(*pins), 1), init[:4].bit_select(Cat(*pins[:2]), 1)
            m.d.comb += self._parts["o"][f"S{half}"].eq(four ^ carry)
            carry = (~four & two) | (four & carry)
        m.d.comb += self._parts["o"]["COUT"].eq(carry)

    def _ecp5_register(self, m: Module) -> None:
        fixed = {
            "GSR": "DISABLED",
            "CEMUX": "1",
            "LSRMUX": "LSR",
            "REGSET": "RESET",
            "SRMODE": "LSR_OVER_CE",
        }
        assert self._parts["p"] == fixed
        self._clock("CLK")
        self._tie(0, "LSR")
        self._tie(1, "CE")
        m.d.comb += self._parts["o"]["Q"].eq(self._register(m, self._input("DI"), True))

    def _ecp5_gate(self, m: Module) -> None:
        # Without the latch that holds the enable while the clock is high: the edge that sets it passes the gate.
        m.d.comb += self._parts["o"]["CLKO"].eq(self._input("CLKI") & self._input("CE"))

    def _ice40_multiplier(self, m: Module) -> None:
        names = ("AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP", "OLOADBOT")
        names += ("ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN", "C", "D")
        self._tie(0, *names)
        self._tie(1, "CE")
        self._clock("CLK")
        p = {
            name: self._parts["p"][name].value if name in self._parts["p"] else 0
            for name in (
                *("A_REG", "B_REG", "TOPOUTPUT_SELECT", "BOTOUTPUT_SELECT", "TOP_8x8_MULT_REG", "BOT_8x8_MULT_REG"),
                *("PIPELINE_16x16_MULT_REG1", "PIPELINE_16x16_MULT_REG2", "MODE_8x8", "A_SIGNED", "B_SIGNED"),
            )
        }
        assert set(self._parts["p"]) <= set(p)
        assert p["TOPOUTPUT_SELECT"] == p["BOTOUTPUT_SELECT"] == (2 if p["MODE_8x8"] else 3)
        assert p["TOP_8x8_MULT_REG"] == p["BOT_8x8_MULT_REG"]
        a, b = (self._register(m, self._input(side), p[f"{side}_REG"]) for side in "AB")

        def as_side(value: Value, side: str) -> Value:
            return value.as_signed() if p[f"{side}_SIGNED"] else value.as_unsigned()

        if p["MODE_8x8"]:
            parts = [as_side(a[low : low + 8], "A") * as_side(b[low : low + 8], "B") for low in (0, 8)]
            out = self._register(m, Cat(*(part[:16] for part in parts)), p["TOP_8x8_MULT_REG"])
        else:
            assert p["TOP_8x8_MULT_REG"] == p["PIPELINE_16x16_MULT_REG1"]
            out = self._register(m, as_side(a, "A") * as_side(b, "B"), p["PIPELINE_16x16_MULT_REG1"])
            out = self._register(m, out, p["PIPELINE_16x16_MULT_REG2"])
        m.d.comb += self._parts["o"]["O"].eq(out)


SHAPES = [
    (signed(8), signed(8)),
    (signed(16), unsigned(16)),
    (unsigned(16), unsigned(16)),
    (signed(16), signed(5)),
    (signed(17), signed(17)),
    (signed(17), signed(8)),
]
"""shapes of factors that some multiplier of a device takes"""
