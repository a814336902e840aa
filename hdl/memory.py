"""The memory block that every memory of the machine is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from etchnet.hdl.delay import delay

__all__ = ["Ram"]


class Ram(wiring.Component):
    """One write port and one read port of a whole word each.

    A read takes `latency` cycles, and its data stay until the next cycle with `enable`. `write_lanes` enables equal
    parts of the word. Reading a word in the cycle that writes it gives the old word in simulation and should not be
    relied on.

    Parameters
    ----------
    bits, depth
        Size of a word, and how many there are.
    lanes
        Parts of a word that can be written on their own; divides `bits`.
    init
        Initial words; the rest are zero.
    name
        Names the file of initial words, where there is one.
    latency
        Cycles from an address to its word: 1, or 2 with a register behind the memory.
    """

    def __init__(
        self, *, bits: int, depth: int, lanes: int = 1, init: Sequence[int] = (), name: str, latency: int = 1
    ) -> None:
        self.bits, self.depth, self.lanes, self.init, self.name = bits, depth, lanes, list(init), name
        self.latency = latency
        super().__init__(
            {
                "write_lanes": In(lanes),
                "write_address": In(range(max(2, depth))),
                "write_data": In(bits),
                "enable": In(1),
                "address": In(range(max(2, depth))),
                "data": Out(bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Amaranth's memory; generated Verilog has a module of its own instead (`hdl.verilog`)."""
        m = Module()
        m.submodules.memory = memory = Memory(shape=unsigned(self.bits), depth=self.depth, init=self.init)
        write, read = memory.write_port(granularity=self.bits // self.lanes), memory.read_port()
        m.d.comb += [
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write_lanes),
            read.addr.eq(self.address),
            read.en.eq(self.enable),
            self.data.eq(delay(m, read.data, self.latency - 1, name="data", resets=False)),
        ]
        return m
