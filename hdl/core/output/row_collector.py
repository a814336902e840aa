"""The groups of a row, put together again."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.isa.config import Config

__all__ = ["RowCollector"]


class RowCollector(wiring.Component):
    """Registers that hold the groups of a row until its last one arrives, which passes straight through.

    `row` is whole in the cycle of the last group; there is no flow control.

    =======  =========  ===========================  ==========================================
    port     direction  shape                        meaning
    =======  =========  ===========================  ==========================================
    valid    in         1                            there is a group
    index    in         bits of `groups`             which group of the row it is
    results  in         `requantisers` x signed(32)  its results
    row      out        `columns` x signed(32)       the groups held, and `results` as the last
    =======  =========  ===========================  ==========================================
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
