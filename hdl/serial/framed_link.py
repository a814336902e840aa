"""The board's end of a serial line: frames on one side, the machine's two links on the other."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.crc import FrameCheck
from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.serial.answerer import Answerer
from etchnet.hdl.serial.deframer import Deframer
from etchnet.hdl.serial.escaper import Escaper
from etchnet.hdl.serial.framing import BUFFER_BYTES, Kind
from etchnet.hdl.serial.rings import IncomingRing, OutgoingRing

__all__ = ["FramedLink"]


class FramedLink(wiring.Component):
    """The board's end of the framing (`etchnet.hdl.serial.framing`): one answer per valid frame, nothing else.

    Frames carry the links as two streams of bytes, each link word lowest byte first, and may cut them anywhere. Bytes
    to the machine go through a ring of `buffer_bytes`; those of a frame join it if the frame's check holds, the frame
    is the next in sequence, and all of them fit. Bytes from the machine go through a second ring, from which an answer
    takes at most UNIT x `limit`. They are kept until the sequence number of a later frame shows that the answer has
    arrived; a repeated frame gets the same answer again. HELLO empties both rings and raises `reset_machine` for a
    cycle.

    The parts are `Deframer`, `IncomingRing`, `OutgoingRing`, `Answerer`, `Escaper`, and one `FrameCheck` for both
    directions. This component decides what each frame does.

    =============  =========  =====================  ================================================================
    port           direction  shape                  meaning
    =============  =========  =====================  ================================================================
    rx             in         8                      byte from the line; there is no flow control
    rx_valid       in         1                      `rx` holds a byte
    tx             out        stream of 8            bytes to the line
    link_in        out        stream of `link_bits`  link words to the machine
    link_out       in         stream of `link_bits`  link words from the machine
    reset_machine  out        1                      reset the machine
    session        out        1                      a HELLO has arrived since reset
    answering      out        1                      an answer is being sent; bytes that arrive meanwhile are ignored
    =============  =========  =====================  ================================================================

    An answer begins three cycles after the closing flag; a byte of its body takes six cycles, any other byte two. A
    link word to the machine takes at least three cycles per byte; a link word from the machine takes two cycles per
    byte and one more.

    Parameters
    ----------
    link_bits
        Width of the links, a multiple of 8.
    identity
        Body of the answer to HELLO.
    buffer_bytes
        Size of each ring, one of `BUFFER_BYTES`.
    latency
        Latency of the rings' memories, 1 or 2; the times above hold for both.
    """

    def __init__(
        self, *, link_bits: int, identity: bytes, buffer_bytes: int = BUFFER_BYTES[-1], latency: int = 2
    ) -> None:
        if buffer_bytes not in BUFFER_BYTES:
            raise ValueError(f"buffer_bytes must be one of {', '.join(map(str, BUFFER_BYTES))}, not {buffer_bytes!r}")
        self._identity = identity
        self.deframer, self.answerer, self.escaper, self.check = Deframer(), Answerer(), Escaper(), FrameCheck()
        self.incoming = IncomingRing(link_bits=link_bits, size=buffer_bytes, latency=latency)
        self.outgoing = OutgoingRing(link_bits=link_bits, size=buffer_bytes, latency=latency)
        super().__init__(
            {
                "rx": In(8),
                "rx_valid": In(1),
                "tx": Out(stream.Signature(8)),
                "link_in": Out(stream.Signature(link_bits)),
                "link_out": In(stream.Signature(link_bits)),
                "reset_machine": Out(1),
                "session": Out(1),
                "answering": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Connect the parts, judge frames, and answer them."""
        m = Module()
        deframer, incoming, outgoing, answerer = self.deframer, self.incoming, self.outgoing, self.answerer
        check_start = Signal()
        submodule(m, platform, "check", self.check, reset=check_start)
        for name in ("deframer", "answerer", "escaper"):
            submodule(m, platform, name, getattr(self, name))
        for name in ("incoming", "outgoing"):
            submodule(m, platform, name, getattr(self, name), reset=self.reset_machine)
        wiring.connect(m, incoming.link, wiring.flipped(self.link_in))
        wiring.connect(m, wiring.flipped(self.link_out), outgoing.link)
        wiring.connect(m, answerer.bytes, self.escaper.bytes)
        wiring.connect(m, self.escaper.tx, wiring.flipped(self.tx))
        answering = answerer.answering
        m.d.comb += [
            self.answering.eq(answering),
            deframer.rx.eq(self.rx),
            deframer.rx_valid.eq(self.rx_valid),
            deframer.ignore.eq(answering),
            incoming.put.eq(deframer.valid & deframer.is_body),
            incoming.data.eq(deframer.byte),
            incoming.rewind.eq(deframer.flag),
            # One check for both directions: a frame is answered when it is over.
            check_start.eq(Mux(answering, answerer.check_start, deframer.flag)),
            self.check.valid.eq(Mux(answering, answerer.check_valid, deframer.valid)),
            self.check.data.eq(Mux(answering, answerer.check_byte, deframer.byte)),
            answerer.check_value.eq(self.check.value),
        ]
        self._answer(m, self._judge(m))
        return m

    def _judge(self, m: Module) -> Signal:
        """Decide on a frame in the cycle after its closing flag; nothing of it has an effect before.

        Returns the register that says whether the frame is lost: neither the next in sequence nor a repeat of the last.
        """
        deframer, incoming, outgoing = self.deframer, self.incoming, self.outgoing
        sequence = deframer.sequence
        matched, valid, lost, refused = Signal(), Signal(), Signal(), Signal()
        last, follows, repeats = Signal(8), Signal(), Signal()
        following = Signal()
        m.d.sync += [
            matched.eq(self.check.match),
            # The sequence number arrived before the check.
            follows.eq(self.session & (sequence == (last + 1)[:8])),
            repeats.eq(self.session & (sequence == last)),
        ]
        m.d.comb += [
            valid.eq(deframer.closed & matched),
            following.eq(valid & ~deframer.hello & follows),
            deframer.accept.eq(valid),
            incoming.commit.eq(following & ~incoming.overflowed),
            outgoing.rewind.eq(valid),
            outgoing.advance.eq(following),
            outgoing.limit.eq(deframer.limit),
            self.answerer.start.eq(valid),
        ]
        with m.If(valid):
            m.d.sync += lost.eq(~deframer.hello & ~follows & ~repeats)
        with m.If(following):
            m.d.sync += [last.eq(sequence), refused.eq(incoming.overflowed)]
        with m.If(self.reset_machine):
            m.d.sync += self.reset_machine.eq(0)
        with m.If(valid & deframer.hello):
            m.d.sync += [self.session.eq(1), self.reset_machine.eq(1), last.eq(sequence)]
        data_kind = Mux(lost, Kind.LOST, Mux(refused, Kind.REFUSED, Kind.ACCEPTED))
        m.d.comb += self.answerer.kind.eq(Mux(deframer.hello, Kind.IDENTITY, data_kind))
        return lost

    def _answer(self, m: Module, lost: Signal) -> None:
        """Connect the answer's header and body: identity for HELLO, nothing for a lost frame, else machine bytes."""
        hello, outgoing, answerer = self.deframer.hello, self.outgoing, self.answerer
        identity = Array(Const(value, 8) for value in self._identity)
        # HELLO resets the ring: its position counts the bytes of the identity.
        index = outgoing.position[: len(self._identity).bit_length()]
        m.d.comb += [
            answerer.sequence.eq(self.deframer.sequence),
            answerer.free.eq(self.incoming.free),
            answerer.data.eq(Mux(hello, identity[index], outgoing.data)),
            answerer.at_end.eq(Mux(hello, index == len(self._identity), lost | outgoing.exhausted)),
            outgoing.fetch.eq(answerer.fetch),
            outgoing.step.eq(answerer.step),
            outgoing.stop.eq(answerer.stop & ~hello & ~lost),
        ]
