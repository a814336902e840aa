"""The bus on which the loader writes memories, and a memory that it writes."""

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
    """Return the layout of a link word on its way to a memory: memory word, chunk within that word, and contents."""
    most = max(chunks(word_bits(target, config), config) for target in Target)
    return data.StructLayout(
        {"address": unsigned(24), "chunk": unsigned(config.address_bits(most)), "data": unsigned(config.link_bits)}
    )


class LoadableMemory(wiring.Component):
    """A memory with one read port that stores a slice of packet words, written over the link chunk by chunk.

    A read takes `latency` cycles, and `data` holds the word until the next read delivers another. A word must not be
    read in the cycle that writes it.

    =======  =========  =============  ===============================
    port     direction  shape          meaning
    =======  =========  =============  ===============================
    write    in         1              store the chunk on `bus`
    bus      in         `load_bus`     a chunk of a packet word
    enable   in         1              read a word
    address  in         below `depth`  word to read
    data     out        `bits`         the slice of the last word read
    =======  =========  =============  ===============================

    Parameters
    ----------
    bits, depth
        Bits of the slice, and number of words.
    first
        First bit of the slice within a packet word.
    init
        Initial contents: whole packet words, as numbers.
    name
        Name of the file of initial contents in generated Verilog, without its suffix; not used if there are none.
    latency
        Cycles from an address to its word, 1 to 4, as in `Ram`.
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
        """Connect the bus to the write port, one lane per chunk."""
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
