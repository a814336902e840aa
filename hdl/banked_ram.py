"""A deep memory cut into banks, so that every block RAM of a device has a register right behind it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.utils import ceil_log2

from etchnet.hdl.hierarchy import submodule
from etchnet.hdl.memory import Ram

__all__ = ["BANK_WORDS", "BankedRam"]

BANK_WORDS = 2048
"""words of a bank: what a block RAM of common FPGAs holds as bytes"""


class BankedRam(wiring.Component):
    """The same as a `Ram` whose reads take two cycles, with the choice between its banks behind the second register.

    Without it synthesis chooses between block RAMs before the register, and their outputs, which take most of a cycle,
    cross the device and a multiplexer in the same cycle.
    """

    def __init__(self, ram: Ram) -> None:
        if ram.latency < 2:
            raise ValueError(f"ram must have a latency of 2, not {ram.latency}")
        self.ram = ram
        super().__init__(dict(ram.signature.members))

    def elaborate(self, platform: Any) -> Module:
        """Banks, and which of them the word came from."""
        m = Module()
        ram = self.ram
        low = ceil_log2(BANK_WORDS)
        starts = range(0, ram.depth, BANK_WORDS)
        self_: Any = self
        chosen, came = (Signal(range(len(starts)), name=name, reset_less=True) for name in ("chosen", "came"))
        with m.If(self_.enable):
            m.d.sync += chosen.eq(self_.address[low:])
        m.d.sync += came.eq(chosen)
        words = Signal(data.ArrayLayout(unsigned(ram.bits), len(starts)))
        for index, start in enumerate(starts):
            depth = min(BANK_WORDS, ram.depth - start)
            bank = Ram(bits=ram.bits, depth=depth, lanes=ram.lanes, init=ram.init[start : start + depth],
                       name=f"{ram.name}_{index}", latency=ram.latency)  # fmt: skip
            submodule(m, platform, f"bank_{index}", bank)
            m.d.comb += [
                bank.write_address.eq(self_.write_address[:low]),
                bank.write_data.eq(self_.write_data),
                bank.write_lanes.eq(Mux(self_.write_address[low:] == index, self_.write_lanes, 0)),
                bank.address.eq(self_.address[:low]),
                bank.enable.eq(self_.enable & (self_.address[low:] == index)),
                words[index].eq(bank.data),
            ]
        m.d.comb += self_.data.eq(Cat(*(words[i] for i in range(len(starts)))).word_select(came, ram.bits))
        return m
