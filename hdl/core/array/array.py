"""The systolic array: rows x columns processing elements between a skew and a deskew."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import C, Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay
from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.technology import technology_of
from etchnet.hdl.core.array.element import ProcessingElement
from etchnet.hdl.core.array.line_buffer import LineBuffer
from etchnet.hdl.core.multipliers import hard_elements
from etchnet.hdl.isa.config import Config, sum_width

__all__ = ["SystolicArray"]


class SystolicArray(wiring.Component):
    """Multiplies one vector of int8 by the tile in the array, every cycle.

    ``sums[c][t + latency] = sum(activations[r][t] * tile[r][c] for r in range(rows))``, exact. Activations enter row
    r after r cycles (the skew) and move right; sums move down, and column c is delayed by columns - 1 - c more cycles
    (the deskew), so that vectors enter and leave whole. No flow control.

    A new tile replaces the old one along a diagonal wavefront: after a `load` in cycle t, element (r, c) takes
    `weights[r // load_cycles][c]` in cycle t + r + c, and vectors from cycle t + 1 on meet the new tile. The weight
    memory delivers a tile every rows / weight_rows cycles; the array itself would accept one every cycle.

    With `windowed`, the elements of column c multiply a sample of channel c instead of the activation of their row: row
    i x k + j (k = `depthwise`) takes it from the vector that entered `line_delay` x (k - 1 - i) + `config.sample_delay`
    cycles before the one in row 0. The sum of the column is then that of a window with lines i and columns j, where
    vectors enter line by line, with `line_delay` + k vectors per line. The sum that starts with a vector belongs to the
    window whose first vector entered `config.window_lead` cycles before.

    ===========  =========  ===================================  ======================================================
    port         direction  shape                                meaning
    ===========  =========  ===================================  ======================================================
    activations  in         rows x signed(8)                     a vector
    load         in         1                                    the wavefront of a tile starts
    weights      in         weight_rows x columns x signed(8)    the weights at the wavefront, by band and column
    windowed     in         1                                    the vector belongs to a depthwise pass
    line_delay   in         0 to `line_words`                    vectors per line of a depthwise pass, less `depthwise`
    sums         out        columns x signed(`sum_width(rows)`)  sums of the vector that entered `latency` cycles ago
    ===========  =========  ===================================  ======================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "activations": In(data.ArrayLayout(signed(8), config.rows)),
                "load": In(1),
                "weights": In(data.ArrayLayout(data.ArrayLayout(signed(8), config.columns), config.weight_rows)),
                "windowed": In(1),
                "line_delay": In(range(config.line_words + 1)),
                "sums": Out(data.ArrayLayout(signed(sum_width(config.rows)), config.columns)),
            }
        )

    @property
    def config(self) -> Config:
        """The machine that the array belongs to."""
        return self._config

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from a vector of activations to its vector of sums."""
        return (config.rows - 1) + (config.columns - 1) + ProcessingElement.latency(config)

    def _samples(self, m: Module, platform: Any, skewed: list[Any]) -> list[list[Any]]:
        """Return the samples of every column for each line of a window.

        Those of the last line are from the current skewed vector, those of earlier lines from as many lines before.
        The skew delays a channel by as many cycles as the wavefront takes to its column, so one delay serves all.
        """
        taps = self._config.depthwise
        lines = []
        for line in range(taps):
            word: Any = Cat(*skewed)
            if lines_ago := taps - 1 - line:
                buffer = LineBuffer(self._config)
                submodule(m, platform, f"line_{line}", buffer)
                m.d.comb += [buffer.word.eq(word), buffer.delay.eq(self.line_delay * lines_ago)]
                word = buffer.delayed
            samples = Signal(data.ArrayLayout(signed(8), self._config.rows), name=f"samples_{line}", reset_less=True)
            m.d.sync += samples.eq(word)
            lines.append([samples[c] for c in range(self._config.columns)])
        return lines

    def elaborate(self, platform: Any) -> Module:
        """Skew the vectors, take samples of depthwise passes, wire the grid, deskew the sums."""
        m = Module()
        config = self._config
        technology = technology_of(platform)
        hard, shared = hard_elements(config, technology), []
        above: list[Any] = [C(0, signed(1))] * config.columns
        load: Any = self.load
        windowed: Any = self.windowed
        skewed = [delay(m, self.activations[r], r, name=f"skew_{r}", resets=False) for r in range(config.rows)]
        samples = self._samples(m, platform, skewed)
        for r in range(config.rows):
            right, right_load, right_windowed = skewed[r], load, windowed
            below = []
            for c in range(config.columns):
                element = ProcessingElement(
                    config, row=r, hard=r * config.columns + c < hard, shared=technology.products > 1
                )
                submodule(m, platform, f"element_{r}_{c}", element, variant=element.variant)
                m.d.comb += [
                    element.activation.eq(right),
                    element.load.eq(right_load),
                    element.weight_in.eq(self.weights[r // config.load_cycles][c]),
                    element.sum_in.eq(above[c]),
                ]
                if element.is_shared:
                    shared.append(element)
                if element.has_sample:
                    line = r // max(1, config.depthwise)
                    m.d.comb += [element.windowed.eq(right_windowed), element.sample.eq(samples[line][c])]
                    right_windowed = element.windowed_out
                right, right_load = element.activation_out, element.load_out
                below.append(element.sum_out)
            above = below
            down = Signal(2, name=f"down_{r + 1}", reset_less=True)
            m.d.sync += down.eq(Cat(load, windowed))
            load, windowed = down[0], down[1]
        for first in range(0, len(shared), technology.products):
            group = shared[first : first + technology.products]
            products = technology.multiply_together(
                m, [(e.factors[0], e.factors[1]) for e in group], config.multiplier_latency, name=f"products_{first}"
            )
            m.d.comb += [e.product.eq(product) for e, product in zip(group, products, strict=True)]
        for c in range(config.columns):
            m.d.comb += self.sums[c].eq(delay(m, above[c], config.columns - 1 - c, name=f"deskew_{c}", resets=False))
        return m
