"""The processing element: one multiplication and one addition per cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.technology import technology_of
from etchnet.hdl.isa.config import Config, sum_width

__all__ = ["ProcessingElement"]


class ProcessingElement(wiring.Component):
    """Adds activation x weight to the sum from above, and passes the activation to the right.

    Recurrence, with latency L = `latency`: ``sum_out[t + L] = sum_in[t + L - 1] + activation[t] * weight[t]``, where
    ``weight[t + 1] = weight_in[t] if load[t] else weight[t]``. One result per cycle, no flow control; data registers
    are not reset.

    One weight register is enough. Weights arrive along the same diagonal wavefront as the pixels that they are for,
    each in the cycle before its pixel: the wavefront divides the array between two tiles, and a second register would
    only hold a copy.

    ==============  =========  ====================  =============================================================
    port            direction  shape                 meaning
    ==============  =========  ====================  =============================================================
    load            in         1                     take `weight_in`
    load_out        out        1                     `load`, a cycle later
    weight_in       in         signed(8)             a weight
    activation      in         signed(8)             operand; passed to the element on the right
    activation_out  out        signed(8)             `activation`, a cycle later
    sum_in          in         `sum_width(row)`      sum of the rows above, signed; 1 bit in row 0
    sum_out         out        `sum_width(row + 1)`  sum of these rows and this one, signed
    windowed        in         1                     with taps only: multiply `sample` instead of `activation`
    windowed_out    out        1                     with taps only: `windowed`, a cycle later
    sample          in         signed(8)             with taps only: operand of a depthwise pass
    factors         out        2 x signed(8)         shared only: operand and weight
    product         in         signed(16)            shared only: their product, `multiplier_latency` cycles later
    ==============  =========  ====================  =============================================================

    Parameters
    ----------
    config
        The machine; its `multiplier_latency` is the number of register stages of the multiplier.
    row
        Row of the array, from 0. It sets the widths of the sums, and whether the element has the ports of a tap of a
        depthwise window.
    hard
        Whether it uses a multiplier of the device, if the technology has any.
    shared
        Whether it shares that multiplier, which is then outside, with another element.
    """

    def __init__(self, config: Config, *, row: int, hard: bool = True, shared: bool = False) -> None:
        self._config, self._row, self._hard, self._shared = config, row, hard, hard and shared
        self._taps = row < config.depthwise**2
        windowed = {"windowed": In(1), "windowed_out": Out(1), "sample": In(signed(8))} if self._taps else {}
        outside = {"factors": Out(data.ArrayLayout(signed(8), 2)), "product": In(signed(16))}
        super().__init__(
            {
                **windowed,
                **(outside if self._shared else {}),
                "load": In(1),
                "load_out": Out(1),
                "weight_in": In(signed(8)),
                "activation": In(signed(8)),
                "activation_out": Out(signed(8)),
                "sum_in": In(signed(sum_width(row) if row else 1)),
                "sum_out": Out(signed(sum_width(row + 1))),
            }
        )

    @property
    def row(self) -> int:
        """Row of the array."""
        return self._row

    @property
    def variant(self) -> str:
        """Name of the variant of this element's gateware: the widths of its sums, its taps and its multiplier."""
        widths = f"{len(self.sum_in)}_{len(self.sum_out)}"
        return (
            widths
            + ("_windowed" if self._taps else "")
            + ("_shared" if self._shared else "" if self._hard else "_soft")
        )

    @property
    def is_shared(self) -> bool:
        """Whether its multiplier is outside, shared with another element."""
        return self._shared

    @property
    def has_sample(self) -> bool:
        """Whether it can multiply a sample instead of its activation."""
        return self._taps

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from an activation to the sum that holds its product."""
        return config.multiplier_latency + 1

    def elaborate(self, platform: Any) -> Module:
        """Hold the weight, multiply, add."""
        m = Module()
        weight = Signal(signed(8), reset_less=True)
        right = Signal(signed(8), reset_less=True)
        load_right = Signal(reset_less=True)
        total = Signal(self.sum_out.shape(), reset_less=True)
        with m.If(self.load):
            m.d.sync += weight.eq(self.weight_in)

        operand: Any = self.activation
        if self._taps:
            operand = Mux(self.windowed, self.sample, self.activation).as_signed()
            windowed_right = Signal(reset_less=True)
            m.d.sync += windowed_right.eq(self.windowed)
            m.d.comb += self.windowed_out.eq(windowed_right)
        latency, technology = self._config.multiplier_latency, technology_of(platform)
        registered: Any
        if self._shared:
            m.d.comb += [self.factors[0].eq(operand), self.factors[1].eq(weight)]
            registered = self.product
        else:
            registered = technology.multiply(m, operand, weight, latency, name="product", hard=self._hard)
        m.d.sync += [right.eq(self.activation), load_right.eq(self.load), total.eq(self.sum_in + registered)]

        m.d.comb += [self.activation_out.eq(right), self.load_out.eq(load_right), self.sum_out.eq(total)]
        return m
