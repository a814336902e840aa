"""The memory block that every memory of the machine is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from amaranth.hdl import ClockSignal, Instance, Module, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from etchnet.hdl.config import Config

__all__ = ["RAM_MODULE", "Ram", "RamPlatform"]

RAM_MODULE = "etchnet_ram"


@runtime_checkable
class RamPlatform(Protocol):
    """A platform with a memory module of its own; `Ram` then becomes an instance of `RAM_MODULE`."""

    def ram_contents(self, name: str, bits: int, init: Sequence[int]) -> str:
        """Keep the initial words of the memory `name` and return the name of the file that will hold them."""
        ...


class Ram(wiring.Component):
    """One write port and one read port of a whole word each.

    A read takes `latency` cycles, and its data stay until the next cycle with `enable`. `write_lanes` enables equal parts
    of the word. Reading a word in the cycle that writes it gives the old word in simulation and should not be relied on.

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
    """

    def __init__(self, *, bits: int, depth: int, lanes: int = 1, init: Sequence[int] = (), name: str) -> None:
        self._bits, self._depth, self._lanes, self._init, self._name = bits, depth, lanes, init, name
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

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from an address to its word."""
        return 1

    def elaborate(self, platform: Any) -> Module:
        """Amaranth's memory, or an instance of the platform's."""
        m = Module()
        if isinstance(platform, RamPlatform):
            contents = platform.ram_contents(self._name, self._bits, self._init) if len(self._init) else ""
            m.submodules.ram = Instance(
                RAM_MODULE,
                p_WIDTH=self._bits,
                p_DEPTH=self._depth,
                p_LANES=self._lanes,
                p_ADDRESS=len(self.address),
                p_INIT=contents,
                i_clk=ClockSignal(),
                i_write_lanes=self.write_lanes,
                i_write_address=self.write_address,
                i_write_data=self.write_data,
                i_enable=self.enable,
                i_address=self.address,
                o_data=self.data,
            )
            return m
        m.submodules.memory = memory = Memory(shape=unsigned(self._bits), depth=self._depth, init=list(self._init))
        write, read = memory.write_port(granularity=self._bits // self._lanes), memory.read_port()
        m.d.comb += [
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write_lanes),
            read.addr.eq(self.address),
            read.en.eq(self.enable),
            self.data.eq(read.data),
        ]
        return m
