"""The line buffer: a delay line whose length is an input."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.isa.config import Config

__all__ = ["LineBuffer"]


class LineBuffer(wiring.Component):
    """A delay of 2 to `line_words` cycles, set in every cycle: ``delayed[t] = word[t - delay[t - 1]]``.

    The memory is a ring buffer that is written every cycle, so any delay may follow any other. The result of a delay
    below 2 is undefined. No flow control.

    =======  =========  =================  ====================================================
    port     direction  shape              meaning
    =======  =========  =================  ====================================================
    word     in         8 x rows           the word to delay
    delay    in         0 to `line_words`  how far to look back, counted from the next cycle
    delayed  out        8 x rows           the word selected by the `delay` of the cycle before
    =======  =========  =================  ====================================================

    Parameters
    ----------
    config
        The machine; its `line_words` is a power of two.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "word": In(8 * config.rows),
                "delay": In(range(config.line_words + 1)),
                "delayed": Out(8 * config.rows),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Address both ports by a counter of cycles."""
        m = Module()
        memory = Ram(bits=8 * self._config.rows, depth=self._config.line_words, name="line")
        submodule(m, platform, "memory", memory)
        now = Signal(range(self._config.line_words))
        m.d.sync += now.eq(now + 1)
        m.d.comb += [
            memory.write_lanes.eq(1),
            memory.write_address.eq(now),
            memory.write_data.eq(self.word),
            memory.enable.eq(1),
            memory.address.eq(now + 1 - self.delay),
            self.delayed.eq(memory.data),
        ]
        return m
