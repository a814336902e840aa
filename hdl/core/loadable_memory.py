"""How memories are loaded: one registered bus from the loader, and the memories that listen to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.isa import Target, chunks, stored_slice, word_bits
from etchnet.hdl.isa.config import Config

__all__ = ["LoadableMemory", "load_bus"]


def load_bus(config: Config) -> data.StructLayout:
    """One link word on its way to a memory: the address of the memory word and the number of the chunk within it."""
    most = max(chunks(word_bits(target, config), config) for target in Target)
    return data.StructLayout(
        {"address": unsigned(24), "chunk": unsigned(config.address_bits(most)), "data": unsigned(config.link_bits)}
    )


class LoadableMemory(wiring.Component):
    """A memory with one read port, written over the link in chunks of `link_bits`.

    A read takes `latency` cycles, and `data` stays until the next read with `enable`. A word must not be read in the
    cycle that writes it.

    Parameters
    ----------
    bits, depth
        Size of a word, and how many there are.
    first
        The first bit that it holds of a word as packets carry it, where others hold the rest.
    init
        Initial words, whole as packets carry them, as numbers.
    name
        Names the file of initial words, where there is one.
    latency
        Cycles from an address to its word, 1 or 2.
    """

    def __init__(
        self,
        config: Config,
        *,
        bits: int,
        depth: int,
        first: int = 0,
        init: Sequence[int] = (),
        name: str,
        latency: int,
    ) -> None:
        self._config, self._bits, self._depth, self._init, self._name = config, bits, depth, init, name
        self._first, self._latency = first, latency
        super().__init__(
            {
                "write": In(1),
                "bus": In(load_bus(config)),
                "enable": In(1),
                "address": In(range(depth)),
                "data": Out(bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """The memory and its two ports."""
        m = Module()
        held = stored_slice(self._config, bits=self._bits, first=self._first)
        count = len(held.parts)
        init = [word >> held.first & (1 << held.bits) - 1 for word in self._init]
        memory = Ram(bits=held.bits, depth=self._depth, lanes=count, init=init, name=self._name, latency=self._latency)
        submodule(m, platform, "memory", memory)
        m.d.comb += [
            memory.write_address.eq(self.bus.address),
            memory.write_data.eq(self.bus.data.replicate(count)[held.first - held.chunk * self._config.link_bits :]),
            memory.write_lanes.eq((self.write << self.bus.chunk)[held.chunk :]),
            memory.address.eq(self.address),
            memory.enable.eq(self.enable),
            self.data.eq(memory.data[self._first - held.first :]),
        ]
        return m
