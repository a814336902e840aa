"""The systolic array: rows x columns processing elements between a skew and a deskew."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import C, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.config import Config, sum_width
from etchnet.hdl.delay import delay
from etchnet.hdl.element import ProcessingElement
from etchnet.hdl.hierarchy import submodule

__all__ = ["SystolicArray"]


class SystolicArray(wiring.Component):
    """Multiplies one vector of int8 by the tile that is in the array, every cycle.

    ``sums[c][t + latency] = sum(activations[r][t] * tile[r][c] for r in range(rows))``, exact. Activations enter row
    r after r cycles and move right; sums move down and leave column c after columns - 1 - c more cycles, so that
    a vector goes in, and comes out, whole.

    A new tile replaces the old one behind a diagonal wavefront: where `load` is high in cycle t, element (r, c) takes
    `weights[r // load_cycles][c]` in cycle t + r + c, and activations from cycle t + 1 on meet the new tile. Until
    cycle t + rows / weight_rows the next `load` may not come, because the weight memory is busy; the array itself
    would take one every cycle.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "activations": In(data.ArrayLayout(signed(8), config.rows)),
                "load": In(1),
                "weights": In(data.ArrayLayout(data.ArrayLayout(signed(8), config.columns), config.weight_rows)),
                "sums": Out(data.ArrayLayout(signed(sum_width(config.rows)), config.columns)),
            }
        )

    @property
    def config(self) -> Config:
        """The machine this array belongs to."""
        return self._config

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from a vector of activations to its vector of sums."""
        return (config.rows - 1) + (config.columns - 1) + ProcessingElement.latency(config)

    def elaborate(self, platform: Any) -> Module:
        """Skew, grid, deskew."""
        m = Module()
        config = self._config
        above: list[Any] = [C(0, signed(1))] * config.columns
        load: Any = self.load
        for r in range(config.rows):
            right = delay(m, self.activations[r], r, name=f"skew_{r}", resets=False)
            right_load = load
            below = []
            for c in range(config.columns):
                element = ProcessingElement(config, row=r)
                submodule(m, platform, f"element_{r}_{c}", element, variant=element.variant)
                m.d.comb += [
                    element.activation.eq(right),
                    element.load.eq(right_load),
                    element.weight_in.eq(self.weights[r // config.load_cycles][c]),
                    element.sum_in.eq(above[c]),
                ]
                right, right_load = element.activation_out, element.load_out
                below.append(element.sum_out)
            above = below
            down = Signal(name=f"load_{r + 1}", reset_less=True)
            m.d.sync += down.eq(load)
            load = down
        for c in range(config.columns):
            m.d.comb += self.sums[c].eq(delay(m, above[c], config.columns - 1 - c, name=f"deskew_{c}", resets=False))
        return m
