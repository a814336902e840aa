"""The requantisers in any cycle: the formula of each pipeline register, for valid and invalid groups alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from etchnet.hdl.blocks.technology.portable import PORTABLE
from etchnet.hdl.core.output.operands import OperandSelect
from etchnet.hdl.core.output.product import sum_stages
from etchnet.hdl.core.output.requantiser import Requantiser
from etchnet.hdl.core.output.scalers.double import DoubleRoundingScaler
from etchnet.hdl.core.output.scalers.float import FloatScaler
from etchnet.hdl.core.output.scalers.single import SingleRoundingScaler
from etchnet.hdl.isa import Parameters
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.contracts import ONNX_FLOAT, TFLITE_DOUBLE, TFLITE_SINGLE
from etchnet.sim.state.registers import Layout, Register, Wire, as_signed

__all__ = ["SCALERS", "RequantiserState"]

_CACHED = 1 << 6
"""cycles of a register that are cached: more than a pipeline has stages"""


class _Inputs(Protocol):
    """The inputs of a requantiser, from the output stage."""

    def lane(self, cycle: int, lane: int) -> tuple[int, int]:
        """Return the accumulator and the packed parameters of a requantiser."""
        ...

    def field(self, cycle: int, stage: int, name: str) -> int:
        """Return one field of the group at a stage of the output pipeline."""
        ...

    def late(self, cycle: int, delay: int, name: str) -> int:
        """Return a late field of the drain whose group was at the requantisers `delay` cycles before."""
        ...


class _Pipeline:
    """Registers without an enable, each a function of wires in the cycle before; all are 0 in cycle 0."""

    def __init__(self) -> None:
        self.registers: dict[str, Register] = {}

    def add(self, name: str, width: int, following: Wire, *, signed: bool = False) -> Wire:
        """Add a register that takes the value that `following` had in the cycle before; return its wire."""

        def value(cycle: int) -> int:
            if cycle < 1:
                return 0
            word = int(following(cycle - 1))
            return as_signed(word, width) if signed else word & (1 << width) - 1

        wire: Wire = lru_cache(_CACHED)(value)
        self.registers[name] = Register(wire, width, signed)
        return wire

    def taps(self, name: str, width: int, wire: Wire, stages: int, *, signed: bool = False) -> list[Wire]:
        """Return a wire and the stages of a shift register after it."""
        chain = [wire]
        for stage in range(1, stages + 1):
            chain.append(self.add(f"{name}_{stage}", width, chain[-1], signed=signed))
        return chain

    def product(self, value: Wire, factor: Wire, config: Config) -> Wire:
        """Return a signed 32-bit value times an unsigned factor, as `etchnet.hdl.core.output.product` computes it."""
        sums = sum_stages(config)
        latency = config.product_latency - sums
        operands = PORTABLE.operand_stages(latency)
        parts: list[Wire] = []
        for name, a, b in (("high_high", 16, 16), ("high_low", 16, 0), ("low_high", 0, 16), ("low_low", 0, 0)):
            widths = (16, 15 if b else 16)
            wires: list[Wire] = [
                lambda t, a=a: value(t) >> 16 if a else value(t) & 0xFFFF,
                lambda t, b=b: factor(t) >> 16 if b else factor(t) & 0xFFFF,
            ]
            if operands:
                wires = [
                    self.add(f"{name}_{side}_1", width, wire, signed=bool(a) and side == "a")
                    for side, width, wire in zip("ab", widths, wires, strict=True)
                ]
            whole: Wire = lambda t, wires=wires: wires[0](t) * wires[1](t)  # noqa: E731 - a wire between registers
            parts.append(self.taps(name, sum(widths), whole, latency - operands, signed=bool(a))[-1])
        high_high, high_low, low_high, low_low = parts

        def outer(t: int) -> int:
            return (high_high(t) << 32) + low_low(t)

        def inner(t: int) -> int:
            return high_low(t) + low_high(t)

        if sums > 1:
            outer = self.add("product_outer_1", 63, outer, signed=True)
            inner = self.add("product_inner_1", 33, inner, signed=True)

        def total(t: int) -> int:
            return outer(t) + (inner(t) << 16)

        return self.add("product_sum", 64, total, signed=True) if sums else total


def _bits(value: int, first: int, end: int) -> int:
    return value >> first & (1 << (end - first)) - 1


def _half_and_below(value: int, right: int, width: int) -> tuple[int, bool]:
    """Return a value divided by 2**right, with one fraction bit, and whether any lower bit of the value is set."""
    return (value << 1) >> right, bool(value & ((1 << right) - 1) >> 1 & (1 << width) - 1)


def _double(
    p: _Pipeline, config: Config, value: Wire, multiplier: Wire, left: Wire, right: Wire, raw: Wire
) -> tuple[Wire, Wire]:
    """Add the registers of `DoubleRoundingScaler`; return the wires of its quotient and increment."""
    last = DoubleRoundingScaler.latency(config) - 1
    multipliers = p.taps("multiplier", 31, multiplier, 1)
    rights, raws = p.taps("right", 5, right, last), p.taps("raw", 1, raw, last - 1)
    shifted = p.add("shifted", 32, lambda t: value(t) << left(t), signed=True)
    product = p.product(shifted, multipliers[1], config)

    def rounded(t: int) -> int:
        return product(t) if raws[last - 1](t) else product(t) + (1 << 30) >> 31

    scaled = p.add("scaled", 32, rounded, signed=True)

    def increment(t: int) -> int:
        with_half, below = _half_and_below(scaled(t), rights[last](t), 32)
        return with_half & int(scaled(t) >= 0 or below)

    quotient = p.add("quotient", 32, lambda t: scaled(t) >> rights[last](t), signed=True)
    return quotient, p.add("increment", 1, increment)


def _single(
    p: _Pipeline, config: Config, value: Wire, multiplier: Wire, left: Wire, right: Wire, raw: Wire
) -> tuple[Wire, Wire]:
    """Add the registers of `SingleRoundingScaler`; return the wires of its quotient and increment."""
    last = SingleRoundingScaler.latency(config) - 1
    multipliers, raws = p.taps("multiplier", 31, multiplier, 1), p.taps("raw", 1, raw, last)
    moved = p.add("value", 32, lambda t: value(t) << (left(t) if raw(t) else 0), signed=True)
    distance = p.add("right", 6, lambda t: right(t) + (0 if raw(t) else 31 - left(t)))
    rights = p.taps("right", 6, distance, last - 2)
    product = p.product(moved, multipliers[1], config)
    cut = raws[last - 2]
    total = p.add("total", 64, lambda t: as_signed(product(t), 32) if cut(t) else product(t), signed=True)

    def tie(t: int) -> int:
        with_half = (total(t) << 1) >> rights[last - 2](t)
        below = _bits(total(t), 0, 32) & ((1 << (rights[last - 2](t) & 31)) - 1) >> 1
        return with_half & int(not raws[last - 1](t) or total(t) >= 0 or below != 0)

    shifted = p.add("shifted", 64, lambda t: total(t) >> rights[last - 2](t), signed=True)
    half = p.add("half", 1, tie)

    def outside(t: int) -> bool:
        return not -(1 << 31) <= shifted(t) < 1 << 31

    def saturated(t: int) -> int:
        return max(-(1 << 31), min((1 << 31) - 1, shifted(t)))

    def increment(t: int) -> int:
        largest = _bits(shifted(t), 0, 32) == (1 << 31) - 1
        return half(t) & int(not outside(t) and bool(raws[last](t) or not largest))

    return p.add("quotient", 32, saturated, signed=True), p.add("increment", 1, increment)


def _float(
    p: _Pipeline, config: Config, value: Wire, multiplier: Wire, left: Wire, right: Wire, raw: Wire
) -> tuple[Wire, Wire]:
    """Add the registers of `FloatScaler`; return the wires of its quotient and increment."""
    last = FloatScaler.latency(config) - 1
    raws, multipliers = p.taps("raw", 1, raw, last), p.taps("multiplier", 31, multiplier, 4)
    negatives = p.taps("negative", 1, lambda t: int(not raw(t) and value(t) < 0), last)
    normal = p.add("magnitude", 32, lambda t: value(t) << left(t) if raw(t) else abs(value(t)))
    spread = p.add("spread", 7, lambda t: right(t) + (0 if raw(t) else 1 - left(t)), signed=True)

    def normalise(t: int, source: Wire, stage: int, steps: tuple[int, ...]) -> tuple[int, int]:
        word, zeros = source(t), 0
        for step in steps:
            if not raws[stage](t) and not word >> 32 - step:
                word, zeros = word << step, zeros + step
        return word, zeros

    first, second = (16, 8), (4, 2, 1)
    normal_1 = p.add("normal_1_1", 32, lambda t: normalise(t, normal, 1, first)[0])
    zeros_1 = p.add("zeros_1_1", len(first), lambda t: normalise(t, normal, 1, first)[1] // first[-1])
    normal_2 = p.add("normal_2_1", 32, lambda t: normalise(t, normal_1, 2, second)[0])
    zeros_2 = p.add(
        "zeros_2_1",
        len(first) + len(second),
        lambda t: normalise(t, normal_1, 2, second)[1] + zeros_1(t) * first[-1],
    )

    def rounded(t: int) -> int:
        word = normal_2(t)
        return word if raws[3](t) else (word >> 8) + (word >> 7 & int(bool(word & 0x7F) or bool(word >> 8 & 1)) & 1)

    short = p.add("value", 32, rounded, signed=True)
    spreads = p.taps("spread", 7, spread, 2, signed=True)
    shift = p.add("shift", 7, lambda t: spreads[2](t) + zeros_2(t), signed=True)
    shifts = p.taps("shift", 7, shift, last - 6, signed=True)

    def factor(t: int) -> int:
        word = multipliers[4](t)
        if raws[4](t):
            return word
        return word >> 7 if word >> 30 & 1 else 0

    total = p.add("total", 64, p.product(short, factor, config), signed=True)

    def top(t: int) -> int:
        return total(t) >> 47 & 1

    def twice_rounded(t: int) -> int:
        word = total(t)
        if raws[last - 2](t):
            return as_signed(word, 32)
        kept = _bits(word, 24, 48) if top(t) else _bits(word, 23, 47)
        half = word >> (23 if top(t) else 22) & 1
        below = bool(_bits(word, 0, 22)) or bool(top(t) and word >> 22 & 1)
        return kept + (half & int(below or bool(kept & 1))) << 8

    scaled = p.add("scaled", 34, twice_rounded, signed=True)
    whole, shift = raws[last - 2], shifts[last - 6]
    last_shift = p.add("last_shift", 7, lambda t: shift(t) - int(top(t) and not whole(t)), signed=True)

    def up_of(t: int) -> int:
        with_half, below = _half_and_below(scaled(t), last_shift(t) & 63, 34)
        even = scaled(t) >= 0 if raws[last - 1](t) else bool(with_half >> 1 & 1)
        return with_half & int(below or even)

    shifted = p.add("shifted", 34, lambda t: scaled(t) >> (last_shift(t) & 63), signed=True)
    up = p.add("up", 1, up_of)
    too_large = p.add("too_large", 1, lambda t: int(last_shift(t) < 0 and bool(_bits(scaled(t), 31, 33))))

    def outside(t: int) -> bool:
        return not raws[last](t) and bool(too_large(t) or _bits(shifted(t), 31, 33))

    def signed_result(t: int) -> int:
        magnitude = (1 << 31) - 1 if outside(t) else shifted(t)
        return ~magnitude if negatives[last](t) else magnitude

    def increment(t: int) -> int:
        return (negatives[last](t) if outside(t) else up(t)) ^ negatives[last](t)

    return p.add("quotient", 32, signed_result, signed=True), p.add("increment", 1, increment)


SCALERS: dict[str, Callable[..., tuple[Wire, Wire]]] = {
    TFLITE_DOUBLE: _double,
    TFLITE_SINGLE: _single,
    ONNX_FLOAT: _float,
}
"""the pipeline registers of each rounding contract"""


class RequantiserState:
    """One requantiser: no register has an enable, so each is a function of the inputs a fixed number of cycles before.

    Attributes
    ----------
    result
        The output, int32.
    """

    def __init__(self, config: Config, inputs: _Inputs, lane: int) -> None:
        self._layout = Layout(Parameters.layout(config))
        select = OperandSelect.latency(config)
        outer, inner = _Pipeline(), _Pipeline()

        def parameter(name: str) -> Wire:
            return lambda t: self._layout.get(inputs.lane(t, lane)[1], name)

        bias = parameter("bias")
        biased = outer.add("biased", 32, lambda t: inputs.lane(t, lane)[0] + bias(t), signed=True)
        multiplier, left, right = (
            outer.add(f"{name}_1", self._layout.fields[name][1], parameter(name))
            for name in ("multiplier", "left", "right")
        )
        raw = outer.add("raw_1", 1, lambda t: inputs.field(t, select, "raw"))
        scaler = SCALERS[config.contract]
        quotient, increment = scaler(inner, config, biased, multiplier, left, right, raw)
        zero, clamp = Requantiser.zero_point_delay(config), Requantiser.clamp_delay(config)
        offset = outer.add(
            "offset", 34, lambda t: quotient(t) + increment(t) + inputs.late(t, zero, "zero_point"), signed=True
        )

        def clamped(t: int) -> int:
            low, high = inputs.late(t, clamp, "low"), inputs.late(t, clamp, "high")
            if offset(t) < low:
                return low
            return min(offset(t), high)

        self.result: Wire = outer.add("result", 32, clamped, signed=True)
        self._registers = outer.registers | {f"scaler.{name}": r for name, r in inner.registers.items()}

    def registers(self) -> dict[str, Register]:
        """Return the registers by name."""
        return self._registers
