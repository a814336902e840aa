"""The incoming link: packets that fill memories, start runs and ask for the counters."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Const, Module, Mux, ResetSignal, Signal, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.core.loadable_memory import load_bus
from etchnet.hdl.isa import Header, RunCommand, Target, chunks
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.packets import word_bits

__all__ = ["Loader"]


class _State(enum.Enum, shape=2):  # type: ignore[call-arg]
    HEADER = 0
    COUNT = 1
    DATA = 2
    COUNTERS = 3


class Loader(wiring.Component):
    """Takes packets from the link, a link word a cycle.

    A packet is the header (`isa.Header`, in the low 32 bits), the number of memory words, and those words,
    each cut into whole link words, lowest bits first. Words go to consecutive addresses from `address` on. With
    `acquire` an INPUT packet waits for a free half of the input memory, a WEIGHTS packet for a pass that releases
    weights; with `commit` the half, or the weights, are handed to the sequencer. A RUN packet waits until no earlier
    run is pending. A COUNTERS packet (count 0) waits until everything is done and sent; then the counters leave on
    the outgoing link and are cleared.

    A link word is on `bus`, and its memory's strobe in `writes`, one cycle after it was accepted.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "link": In(stream.Signature(config.link_bits)),
                "bus": Out(load_bus(config)),
                "writes": Out(data.StructLayout({t.name: unsigned(1) for t in Target if t < Target.RUN})),
                "input_half": Out(1),
                "input_free": In(1),
                "input_take": Out(1),
                "input_commit": Out(1),
                "weights_free": In(1),
                "weights_take": Out(1),
                "weights_commit": Out(1),
                "run": Out(RunCommand.layout(config)),
                "run_pending": Out(1),
                "run_taken": In(1),
                "counters": Out(1),
                "counters_done": In(1),
            }
        )

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from the acceptance of a link word to its write."""
        return 1

    def elaborate(self, platform: Any) -> Module:
        """Header, count, data."""
        m = Module()
        config = self._config
        layout = Header.layout(config)
        state = Signal(_State)
        header, arriving = Signal(layout), Signal(layout)
        remaining = Signal(32)
        address, chunk, first = Signal(24), Signal(self.bus.chunk.shape()), Signal()
        half, pending = Signal(), Signal()
        run = Signal(RunCommand.layout(config))
        last_chunks = Array(Const(chunks(word_bits(t, config), config) - 1, chunk.shape()) for t in Target)

        def is_target(target: Target) -> Any:
            return header.target == target

        blocked = Signal()
        m.d.comb += blocked.eq(
            first
            & (
                (is_target(Target.INPUT) & header.acquire & ~self.input_free)
                | (is_target(Target.WEIGHTS) & header.acquire & ~self.weights_free)
                | (is_target(Target.RUN) & pending)
            )
        )
        m.d.comb += [
            arriving.eq(self.link.payload),
            self.link.ready.eq(
                (state == _State.HEADER) | (state == _State.COUNT) | ((state == _State.DATA) & ~blocked)
            ),
            self.run.eq(run),
            self.run_pending.eq(pending),
            self.counters.eq(state == _State.COUNTERS),
        ]

        accepted, last_chunk, last = Signal(), Signal(), Signal()
        m.d.comb += [
            accepted.eq(self.link.valid & self.link.ready & (state == _State.DATA)),
            last_chunk.eq(chunk == last_chunks[header.target]),
            last.eq(accepted & last_chunk & (remaining == 1)),
            self.input_take.eq(accepted & first & is_target(Target.INPUT) & header.acquire),
            self.weights_take.eq(accepted & first & is_target(Target.WEIGHTS) & header.acquire),
        ]
        with m.Switch(state):
            with m.Case(_State.HEADER):
                with m.If(self.link.valid):
                    m.d.sync += [header.eq(arriving), address.eq(arriving.address), state.eq(_State.COUNT)]
            with m.Case(_State.COUNT):
                with m.If(self.link.valid):
                    m.d.sync += [
                        remaining.eq(self.link.payload[:32]),
                        chunk.eq(0),
                        first.eq(1),
                        state.eq(Mux(is_target(Target.COUNTERS), _State.COUNTERS, _State.DATA)),
                    ]
                    with m.If((self.link.payload[:32] == 0) & ~is_target(Target.COUNTERS)):
                        m.d.sync += state.eq(_State.HEADER)
            with m.Case(_State.DATA):
                with m.If(accepted):
                    m.d.sync += [first.eq(0), chunk.eq(chunk + 1)]
                    with m.If(last_chunk):
                        m.d.sync += [chunk.eq(0), address.eq(address + 1), remaining.eq(remaining - 1)]
                    with m.If(last):
                        m.d.sync += state.eq(_State.HEADER)
            with m.Case(_State.COUNTERS):
                with m.If(self.counters_done):
                    m.d.sync += state.eq(_State.HEADER)

        # A run command is one link word per field, counted by the address.
        with m.If(accepted & is_target(Target.RUN)):
            with m.Switch(address):
                for index, (name, _) in enumerate(RunCommand.layout(config)):
                    with m.Case(index):
                        m.d.sync += run[name].eq(self.link.payload[:32])
        with m.If(self.run_taken):
            m.d.sync += pending.eq(0)
        with m.If(last & is_target(Target.RUN)):
            m.d.sync += pending.eq(1)

        # Everything else goes out on the bus.
        m.d.sync += [
            self.bus.address.eq(address),
            self.bus.chunk.eq(chunk),
            self.bus.data.eq(self.link.payload),
            self.input_half.eq(half),
            self.input_commit.eq(last & is_target(Target.INPUT) & header.commit),
            self.weights_commit.eq(last & is_target(Target.WEIGHTS) & header.commit),
        ]
        # Nothing is written under reset: registers may power up as anything, and memories have initial contents.
        for name, _ in self.writes.shape():
            strobe = Signal(name=f"write_{name.lower()}")
            m.d.sync += strobe.eq(accepted & is_target(Target[name]))
            m.d.comb += self.writes[name].eq(strobe & ~ResetSignal(allow_reset_less=True))
        with m.If(last & is_target(Target.INPUT) & header.commit):
            m.d.sync += half.eq(~half)
        return m
