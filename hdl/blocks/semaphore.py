"""Counting semaphores: how the links and the sequencer wait for each other."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Semaphore"]


class Semaphore(wiring.Component):
    """Counts tokens: `put` adds one, `take` removes one, `available` says that there is one.

    Both show in `available` and `count` from the next cycle on. `take` without `available`, and more than `maximum`
    tokens, are the user's errors and not checked.
    """

    def __init__(self, *, initial: int, maximum: int) -> None:
        self._initial = initial
        self.variant = f"{initial}_{maximum}"
        super().__init__({"put": In(1), "take": In(1), "available": Out(1), "count": Out(range(maximum + 1))})

    def elaborate(self, platform: Any) -> Module:
        """An up-down counter, and whether it is above 0, which is worked out a cycle ahead."""
        m = Module()
        count = Signal(self.count.shape(), init=self._initial)
        available = Signal(init=self._initial > 0)
        m.d.sync += [
            count.eq(count + self.put - self.take),
            available.eq(self.put | Mux(self.take, count[1:].any(), available)),
        ]
        m.d.comb += [self.available.eq(available), self.count.eq(count)]
        return m
