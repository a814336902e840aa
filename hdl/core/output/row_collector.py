"""The assembly of a row from its groups."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.isa.config import Config

__all__ = ["RowCollector"]


class RowCollector(wiring.Component):
    """Registers that hold the groups of a row until the last one arrives, which passes straight through.

    `row` is complete in the cycle of the last group; there is no flow control.

    =======  =========  ===========================  ======================================
    port     direction  shape                        meaning
    =======  =========  ===========================  ======================================
    valid    in         1                            a group arrives
    index    in         bits of `groups`             number of the group within its row
    results  in         `requantisers` x signed(32)  results of the group
    row      out        `columns` x signed(32)       the groups held, followed by `results`
    =======  =========  ===========================  ======================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "valid": In(1),
                "index": In(unsigned(config.address_bits(config.groups))),
                "results": In(data.ArrayLayout(signed(32), config.requantisers)),
                "row": Out(data.ArrayLayout(signed(32), config.columns)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Hold every group but the last in a register."""
        m = Module()
        groups = []
        for index in range(self._config.groups - 1):
            held = Signal(self.results.shape(), name=f"held_{index}", reset_less=True)
            with m.If(self.valid & (self.index == index)):
                m.d.sync += held.eq(self.results)
            groups.append(held)
        m.d.comb += self.row.eq(Cat(*groups, self.results))
        return m
