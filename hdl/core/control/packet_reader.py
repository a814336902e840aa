"""The framing of packets on the incoming link."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.core.loadable_memory import load_bus
from etchnet.hdl.isa import Header, Target, chunks
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.packets import word_bits

__all__ = ["PacketReader", "PacketState"]


class PacketState(enum.Enum, shape=2):  # type: ignore[call-arg]  # Amaranth's own keyword, unknown to the checker
    """The part of a packet that comes next; or, after a COUNTERS packet, the wait for its answer."""

    HEADER = 0
    COUNT = 1
    DATA = 2
    COUNTERS = 3


class PacketReader(wiring.Component):
    """Separates headers and counts from data, and numbers the link words of the data.

    One link word is accepted per cycle, except while `blocked` holds up the data or a COUNTERS packet waits for its
    answer. A packet without data has no effect, whatever its target.

    =============  =========  =====================  =================================================
    port           direction  shape                  meaning
    =============  =========  =====================  =================================================
    link           in         stream of `link_bits`  packets
    blocked        in         1                      data are not accepted in this cycle
    header         out        `Header`               header of the packet in progress
    address        out        24                     memory word that the data of this cycle belong to
    chunk          out        as in `load_bus`       link word within the memory word
    first          out        1                      no data of the packet have been accepted yet
    accepted       out        1                      data are accepted in this cycle
    last           out        1                      the data accepted are the last of the packet
    counters       out        1                      a COUNTERS packet waits
    counters_done  in         1                      the COUNTERS packet has been answered
    =============  =========  =====================  =================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "link": In(stream.Signature(config.link_bits)),
                "blocked": In(1),
                "header": Out(Header.layout(config)),
                "address": Out(Header.layout(config)["address"].shape),
                "chunk": Out(load_bus(config)["chunk"].shape),
                **{name: Out(1) for name in ("first", "accepted", "last", "counters")},
                "counters_done": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Step through header, count and data, or header, count and answer."""
        m = Module()
        config, header = self._config, self.header
        state = Signal(PacketState)
        remaining = Signal(32)
        last_chunks = Array(Const(chunks(word_bits(t, config), config) - 1, self.chunk.shape()) for t in Target)
        last_chunk, arriving = Signal(), Signal(Header.layout(config))
        m.d.comb += [
            arriving.eq(self.link.payload),
            self.link.ready.eq(
                (state == PacketState.HEADER)
                | (state == PacketState.COUNT)
                | ((state == PacketState.DATA) & ~self.blocked)
            ),
            self.counters.eq(state == PacketState.COUNTERS),
            self.accepted.eq(self.link.valid & self.link.ready & (state == PacketState.DATA)),
            last_chunk.eq(self.chunk == last_chunks[header.target]),
            self.last.eq(self.accepted & last_chunk & (remaining == 1)),
        ]
        with m.Switch(state):
            with m.Case(PacketState.HEADER), m.If(self.link.valid):
                # `address` counts up from the address in the header.
                m.d.sync += [header.eq(arriving), self.address.eq(arriving.address), state.eq(PacketState.COUNT)]
            with m.Case(PacketState.COUNT), m.If(self.link.valid):
                answers = header.target == Target.COUNTERS
                m.d.sync += [
                    remaining.eq(self.link.payload[:32]),
                    self.chunk.eq(0),
                    self.first.eq(1),
                    state.eq(Mux(answers, PacketState.COUNTERS, PacketState.DATA)),
                ]
                with m.If((self.link.payload[:32] == 0) & ~answers):
                    m.d.sync += state.eq(PacketState.HEADER)
            with m.Case(PacketState.DATA), m.If(self.accepted):
                m.d.sync += [self.first.eq(0), self.chunk.eq(self.chunk + 1)]
                with m.If(last_chunk):
                    m.d.sync += [self.chunk.eq(0), self.address.eq(self.address + 1), remaining.eq(remaining - 1)]
                with m.If(self.last):
                    m.d.sync += state.eq(PacketState.HEADER)
            with m.Case(PacketState.COUNTERS), m.If(self.counters_done):
                m.d.sync += state.eq(PacketState.HEADER)
        return m
