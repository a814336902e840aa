"""Counting semaphores."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Semaphore"]


class Semaphore(wiring.Component):
    """A counter of tokens: one side puts them, the other takes them.

    Both inputs take effect in the next cycle. `take` without `available`, and `put` at `maximum` tokens, are errors
    that the gateware does not check.

    =========  =========  ==============  ====================
    port       direction  shape           meaning
    =========  =========  ==============  ====================
    put        in         1               add a token
    take       in         1               remove a token
    available  out        1               the count is above 0
    count      out        0 to `maximum`  number of tokens
    =========  =========  ==============  ====================

    Parameters
    ----------
    initial, maximum
        Number of tokens after reset, and the maximum number.
    """

    def __init__(self, *, initial: int, maximum: int) -> None:
        self._initial = initial
        self.variant = f"{initial}_{maximum}"
        super().__init__({"put": In(1), "take": In(1), "available": Out(1), "count": Out(range(maximum + 1))})

    def elaborate(self, platform: Any) -> Module:
        """Count up and down; compute a cycle ahead whether the count is above 0."""
        m = Module()
        count = Signal(self.count.shape(), init=self._initial)
        available = Signal(init=self._initial > 0)
        m.d.sync += [
            count.eq(count + self.put - self.take),
            available.eq(self.put | Mux(self.take, count[1:].any(), available)),
        ]
        m.d.comb += [self.available.eq(available), self.count.eq(count)]
        return m
