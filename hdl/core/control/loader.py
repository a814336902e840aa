"""The incoming link: packets that fill memories, start runs and request the counters."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, ResetSignal, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.core.control.packet_reader import PacketReader
from etchnet.hdl.core.loadable_memory import load_bus
from etchnet.hdl.isa import RunCommand, Target
from etchnet.hdl.isa.config import Config

__all__ = ["Loader"]


class Loader(wiring.Component):
    """Accepts packets from the link, one link word per cycle.

    A packet is the header (`isa.Header`, in the low 32 bits), the number of memory words, and those words, each cut
    into whole link words, lowest bits first. Words go to consecutive addresses from `address` on. With `acquire` an
    INPUT packet waits for a free half of the input memory, a WEIGHTS packet for a pass that releases weights; with
    `commit` the half, or the weights, are handed to the sequencer. A RUN packet waits until no earlier run is pending.
    A COUNTERS packet (count 0) waits until every run has ended and every result has been sent; then the counters leave
    on the outgoing link and are cleared.

    A link word is on `bus`, and its memory's strobe in `writes`, `latency` cycles after it was accepted. A packet that
    waits holds `link.ready` low.

    ==============  =========  ===========================  ==================================================
    port            direction  shape                        meaning
    ==============  =========  ===========================  ==================================================
    link            in         stream of `link_bits`        packets
    bus             out        `load_bus`                   a link word on its way to a memory
    writes          out        one bit per loaded `Target`  write strobe of each memory for `bus`
    input_half      out        1                            half of the input memory that INPUT packets write
    input_free      in         1                            a half of the input memory is free
    input_take      out        1                            an INPUT packet takes the half
    input_commit    out        1                            the half is full
    weights_free    in         1                            a weights packet is permitted
    weights_take    out        1                            a WEIGHTS packet uses the permission
    weights_commit  out        1                            the weights of the packet are written
    run             out        `RunCommand`                 the command of the pending run
    run_pending     out        1                            a run is pending
    run_taken       in         1                            the pending run starts in this cycle
    counters        out        1                            a COUNTERS packet waits
    counters_done   in         1                            the last word of the counters leaves in this cycle
    ==============  =========  ===========================  ==================================================
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
        """Return the cycles from the acceptance of a link word to its write."""
        return 1

    def elaborate(self, platform: Any) -> Module:
        """Read packets, hold up those that must wait, and forward their data."""
        m = Module()
        packets = PacketReader(self._config)
        submodule(m, platform, "packets", packets)
        wiring.connect(m, wiring.flipped(self.link), packets.link)
        header, pending = packets.header, Signal()
        is_target = {target: header.target == target for target in Target}
        m.d.comb += [
            packets.blocked.eq(
                packets.first
                & (
                    (is_target[Target.INPUT] & header.acquire & ~self.input_free)
                    | (is_target[Target.WEIGHTS] & header.acquire & ~self.weights_free)
                    | (is_target[Target.RUN] & pending)
                )
            ),
            packets.counters_done.eq(self.counters_done),
            self.counters.eq(packets.counters),
        ]
        begun = packets.accepted & packets.first & header.acquire
        m.d.comb += [
            self.input_take.eq(begun & is_target[Target.INPUT]),
            self.weights_take.eq(begun & is_target[Target.WEIGHTS]),
        ]
        self._hold_run(m, packets, is_target[Target.RUN], pending)
        self._drive_bus(m, packets, is_target)
        return m

    def _hold_run(self, m: Module, packets: PacketReader, is_run: Value, pending: Signal) -> None:
        """Collect a run command, one link word per field, and hold it until it is taken."""
        run = Signal(RunCommand.layout(self._config))
        m.d.comb += [self.run.eq(run), self.run_pending.eq(pending)]
        with m.If(packets.accepted & is_run), m.Switch(packets.address):
            for index, (name, _) in enumerate(RunCommand.layout(self._config)):
                with m.Case(index):
                    m.d.sync += run[name].eq(self.link.payload[:32])
        with m.If(self.run_taken):
            m.d.sync += pending.eq(0)
        with m.If(packets.last & is_run):
            m.d.sync += pending.eq(1)

    def _drive_bus(self, m: Module, packets: PacketReader, is_target: dict[Target, Value]) -> None:
        """Register the data, the strobe of their memory, and the commits that come with the last data."""
        half, commit = Signal(), packets.last & packets.header.commit
        m.d.sync += [
            self.bus.address.eq(packets.address),
            self.bus.chunk.eq(packets.chunk),
            self.bus.data.eq(self.link.payload),
            self.input_half.eq(half),
            self.input_commit.eq(commit & is_target[Target.INPUT]),
            self.weights_commit.eq(commit & is_target[Target.WEIGHTS]),
        ]
        with m.If(commit & is_target[Target.INPUT]):
            m.d.sync += half.eq(~half)
        # Nothing is written during reset: registers may power up with any value, and memories have initial contents.
        for name, _ in self.writes.shape():
            strobe = Signal(name=f"write_{name.lower()}")
            m.d.sync += strobe.eq(packets.accepted & is_target[Target[name]])
            m.d.comb += self.writes[name].eq(strobe & ~ResetSignal(allow_reset_less=True))
