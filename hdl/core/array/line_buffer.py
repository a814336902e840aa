"""The line buffer: a word as it was some cycles ago, the number of cycles given as it runs."""

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
    """``delayed[t] = word[t - delay[t - 1]]`` for words of `rows` bytes, delays from 2 to `line_words`.

    A memory that is written in every cycle, round and round: any delay may follow any other. Shorter delays give a word
    of no meaning.

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
        """A counter of cycles addresses both ports."""
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
