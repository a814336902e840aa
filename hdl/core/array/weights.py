"""The weight memory: a byte-wide bank per loaded row and column, each read when the wavefront reaches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay, delay_line
from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.core.loadable_memory import load_bus
from etchnet.hdl.isa import TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.passes import is_stored

__all__ = ["WeightMemory"]


class WeightMemory(wiring.Component):
    """Delivers a tile to the array in rows / weight_rows cycles, along the wavefront.

    Weight word j of a tile holds, in byte b * columns + c, the weight of row b * load_cycles + j and column c, for
    every band b of load_cycles rows. Bank (b, c) holds that byte of all words. One word is requested per cycle, the
    first with `first`; bank (b, c) sees each address b * load_cycles + c cycles later, so that the weight of element
    (r, c) is on `weights` in cycle t + r + c + `latency`, where t is the cycle of `first`. Only addresses are delayed,
    not data, which keeps the wavefront cheap for any `weight_rows`.

    For a diagonal tile every request names the same word: elements on the diagonal take their byte of it, all others
    zero. For an identity tile the diagonal takes 1, and the memory's contents do not matter. A depthwise tile is
    delivered as a stored one.

    =======  =========  =================================  =======================================================
    port     direction  shape                              meaning
    =======  =========  =================================  =======================================================
    write    in         1                                  store the chunk on `bus`
    bus      in         `load_bus`                         a chunk of a weight word
    request  in         `request_layout`                   the weight word to read
    load     out        1                                  a tile arrives: `request.first`, `latency` cycles later
    weights  out        weight_rows x columns x signed(8)  the weight of band b and column c in this cycle
    =======  =========  =================================  =======================================================
    """

    def __init__(self, config: Config, *, init: Sequence[int] = ()) -> None:
        self._config, self._init = config, init
        super().__init__(
            {
                "write": In(1),
                "bus": In(load_bus(config)),
                "request": In(self.request_layout(config)),
                "load": Out(1),
                "weights": Out(data.ArrayLayout(data.ArrayLayout(signed(8), config.columns), config.weight_rows)),
            }
        )

    @staticmethod
    def request_layout(config: Config) -> data.StructLayout:
        """Return the layout of a request: `valid`, `first` word of a tile, `kind` of the tile, `address`."""
        return data.StructLayout(
            {
                "valid": unsigned(1),
                "first": unsigned(1),
                "kind": TileKind,
                "address": unsigned(config.address_bits(config.weight_words)),
            }
        )

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from a request to the weight of element (0, 0)."""
        return config.memory_latency

    @staticmethod
    def request_stages(config: Config) -> int:
        """Return the stages of the delay line of requests, which reaches the data of the last bank."""
        return config.rows - config.load_cycles + config.columns - 1 + WeightMemory.latency(config)

    @staticmethod
    def first_stages(config: Config) -> int:
        """Return the stages of the delay line of `first`, which reaches the last element of the diagonal."""
        return 2 * (min(config.rows, config.columns) - 1) + WeightMemory.latency(config)

    def elaborate(self, platform: Any) -> Module:
        """Delay the requests, read the banks, expand diagonal tiles."""
        m = Module()
        config = self._config
        band = config.load_cycles
        latency = self.latency(config)
        requests = delay_line(m, self.request, self.request_stages(config), name="request", resets=False)
        diagonal = delay_line(m, self.request.first, self.first_stages(config), name="first", resets=False)
        # `load` changes the array's weights, so unlike the lines above it must be cleared by a reset.
        m.d.comb += self.load.eq(delay(m, self.request.first, latency, name="load"))
        lanes = config.link_bits // 8
        for b in range(config.weight_rows):
            for c in range(config.columns):
                byte = b * config.columns + c
                init = [word >> 8 * byte & 0xFF for word in self._init]
                bank = Ram(bits=8, depth=config.weight_words, init=init, name=f"weights_{b}_{c}", latency=latency)
                submodule(m, platform, f"bank_{b}_{c}", bank)
                now, then = requests[b * band + c], requests[b * band + c + latency]
                stored = Signal(signed(8), name=f"stored_{b}_{c}")
                m.d.comb += [
                    bank.write_address.eq(self.bus.address),
                    bank.write_data.eq(self.bus.data.word_select(byte % lanes, 8)),
                    bank.write_lanes.eq(self.write & (self.bus.chunk == byte // lanes)),
                    bank.address.eq(now.address),
                    bank.enable.eq(now.valid),
                    stored.eq(bank.data),
                ]
                spread: Any = 0
                if b * band <= c < (b + 1) * band:
                    spread = Mux(diagonal[2 * c + latency], Mux(then.kind == TileKind.IDENTITY, 1, stored), 0)
                whole = is_stored(then.kind)
                m.d.comb += self.weights[b][c].eq(Mux(whole, stored, spread))
        return m
