"""The board's end of a serial line: frames on one side, the machine's two links on the other."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.crc import FrameCheck
from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.serial.framing import BUFFER_BYTES, CHECK_BYTES, ESCAPE, FLAG, FLIP, HEADER_BYTES, UNIT, Kind

__all__ = ["FramedLink"]


class _Step(IntEnum):
    OPENING = 0
    KIND = 1
    SEQUENCE = 2
    FREE = 3
    BODY = 4
    CHECK = 5  # and three more
    CLOSING = 9


class FramedLink(wiring.Component):
    """Answers every valid frame of the host (`etchnet.hdl.serial.framing`) with one frame, and nothing else.

    The links are two streams of bytes here, a link word being its bytes from the lowest on; frames cut them anywhere.
    Bytes to the machine lie in a ring of `buffer_bytes`. Those of a frame join it when the frame's check holds, and
    only if the frame is the next one and all of them fit. Bytes from the machine lie in a second ring, from which an
    answer takes at most UNIT x `limit`. They are kept until the next frame says, by its sequence number, that the
    answer has arrived; the same frame once more gets the same answer once more. HELLO empties both rings and raises
    `reset_machine` for a cycle.

    Line: `rx` is taken in every cycle with `rx_valid`. What comes while an answer is being sent is ignored. The answer
    begins three cycles after the closing flag; a byte of its body takes six cycles, any other two.

    Links: streams of `link_bits`. A link word moves in no less than three cycles a byte to the machine, two a byte and
    one more from it.

    Parameters
    ----------
    link_bits
        Width of the links, a multiple of 8.
    identity
        Body of the answer to HELLO.
    buffer_bytes
        Size of each ring, one of `BUFFER_BYTES`.
    latency
        Of the rings' memories, 1 or 2; what is above takes as long with either.
    """

    def __init__(
        self, *, link_bits: int, identity: bytes, buffer_bytes: int = BUFFER_BYTES[-1], latency: int = 2
    ) -> None:
        if buffer_bytes not in BUFFER_BYTES:
            raise ValueError(f"buffer_bytes must be one of {', '.join(map(str, BUFFER_BYTES))}, not {buffer_bytes!r}")
        self._latency = latency
        self._link_bits, self._identity, self._buffer_bytes = link_bits, identity, buffer_bytes
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
        """Frames in, their verdict, the answer out; then the two rings at the side of the machine."""
        m = Module()
        size = self._buffer_bytes

        def pointer(name: str) -> Signal:
            # One bit more than addresses have: full and empty rings differ.
            return Signal(range(2 * size), name=name)

        check, check_start = FrameCheck(), Signal()
        submodule(m, platform, "check", check, reset=check_start)
        incoming = Ram(bits=8, depth=size, name="frames_in", latency=self._latency)
        submodule(m, platform, "incoming", incoming, variant="frames_in")
        outgoing = Ram(bits=8, depth=size, name="frames_out", latency=self._latency)
        submodule(m, platform, "outgoing", outgoing, variant="frames_out")

        # Where the rings are read and written. Of `incoming`, bytes up to `in_end` are the machine's; those behind it,
        # up to `in_write`, belong to a frame whose check is still to come. Of `outgoing`, the last answer is that from
        # `out_begin` to `out_end`; `out_read` is where the present one is.
        in_read, in_end, in_write = pointer("in_read"), pointer("in_end"), pointer("in_write")
        out_begin, out_end, out_read = pointer("out_begin"), pointer("out_end"), pointer("out_read")
        out_write = pointer("out_write")

        # Frames in: what arrives is looked at before it has an effect.
        got, got_valid, got_flag, got_escape = Signal(8), Signal(), Signal(), Signal()
        m.d.sync += [
            got.eq(self.rx),
            got_valid.eq(self.rx_valid),
            got_flag.eq(self.rx == FLAG),
            got_escape.eq(self.rx == ESCAPE),
        ]
        opened, escaped, overflow = Signal(), Signal(), Signal()
        shortest = HEADER_BYTES + CHECK_BYTES
        place, long_enough = Signal(range(shortest + 1)), Signal()
        hello, known = Signal(), Signal()
        sequence, limit = Signal(8), Signal(8)
        flag, taken, is_body, full = Signal(), Signal(), Signal(), Signal()
        byte = Signal(8)
        m.d.comb += [
            flag.eq(got_valid & ~self.answering & got_flag),
            taken.eq(got_valid & ~self.answering & opened & ~got_flag & ~got_escape),
            byte.eq(got ^ Mux(escaped, FLIP, 0)),
            is_body.eq(place >= HEADER_BYTES),
            full.eq(in_write ^ in_read == size),
            incoming.write_address.eq(in_write),
            incoming.write_data.eq(byte),
            incoming.write_lanes.eq(taken & is_body & ~full),
        ]
        with m.If(got_valid):
            m.d.sync += escaped.eq(got_escape)
        with m.If(flag):
            m.d.sync += [opened.eq(1), place.eq(0), long_enough.eq(0), overflow.eq(0), in_write.eq(in_end)]
        with m.If(taken):
            with m.If(~long_enough):
                m.d.sync += [place.eq(place + 1), long_enough.eq(place == shortest - 1)]
            with m.Switch(place):
                with m.Case(0):
                    is_hello, is_data = byte == Kind.HELLO, byte == Kind.DATA
                    m.d.sync += [hello.eq(is_hello), known.eq(is_hello | is_data)]
                with m.Case(1):
                    m.d.sync += sequence.eq(byte)
                with m.Case(2):
                    m.d.sync += limit.eq(byte)
            with m.If(is_body):
                with m.If(full):
                    m.d.sync += overflow.eq(1)
                with m.Else():
                    m.d.sync += in_write.eq(in_write + 1)

        # The verdict, in the cycle behind the closing flag, which may open another. Until then nothing of a frame has
        # had any effect.
        closed, matched, overflowed = Signal(), Signal(), Signal()
        frame_end = pointer("frame_end")
        m.d.sync += [
            closed.eq(flag & opened & ~escaped & long_enough & known),
            matched.eq(check.match),
            overflowed.eq(overflow),
            frame_end.eq(in_write - CHECK_BYTES),
        ]
        valid, lost, refused = Signal(), Signal(), Signal()
        last, follows, repeats = Signal(8), Signal(), Signal()
        m.d.comb += valid.eq(closed & matched)
        # The sequence number has been there since before the check.
        m.d.sync += [
            follows.eq(self.session & (sequence == (last + 1)[:8])),
            repeats.eq(self.session & (sequence == last)),
        ]
        with m.If(valid):
            m.d.sync += [self.answering.eq(1), opened.eq(0), out_read.eq(out_begin), lost.eq(0)]
            with m.If(hello):
                m.d.sync += [self.session.eq(1), self.reset_machine.eq(1), last.eq(sequence)]
            with m.Elif(follows):
                m.d.sync += [
                    last.eq(sequence),
                    refused.eq(overflowed),
                    out_begin.eq(out_end),
                    out_read.eq(out_end),
                    # As far as the answer may go; where it ends is known when it does.
                    out_end.eq(out_end + limit * UNIT),
                ]
                with m.If(~overflowed):
                    m.d.sync += [in_end.eq(frame_end), in_write.eq(frame_end)]
            with m.Elif(~repeats):
                m.d.sync += lost.eq(1)

        # The answer: the bytes of each step, escaped where they have to be.
        step = Signal(_Step)
        free, compared, fetched, arrived, loaded = Signal(8), Signal(), Signal(), Signal(), Signal()
        body = Signal(8)
        out, present, plain, advance = Signal(8), Signal(), Signal(), Signal()
        at_end = Signal()
        # The byte that is being sent, by itself or as two.
        sending, sending_plain, sending_valid = Signal(8), Signal(), Signal()
        special, second = Signal(), Signal()
        identity = Array(Const(value, 8) for value in self._identity)
        index = out_read[: len(self._identity).bit_length()]
        exhausted = lost | (out_read == out_end) | (out_read == out_write)
        m.d.comb += [
            outgoing.address.eq(out_read),
            outgoing.enable.eq(~fetched),
            present.eq(self.answering),
            advance.eq(present & ~sending_valid),
            special.eq(~sending_plain & ((sending == FLAG) | (sending == ESCAPE))),
            self.tx.valid.eq(sending_valid),
            self.tx.payload.eq(Mux(special, Mux(second, sending ^ FLIP, ESCAPE), sending)),
        ]
        with m.If(~sending_valid):
            m.d.sync += [sending.eq(out), sending_plain.eq(plain), sending_valid.eq(present)]
        with m.Elif(self.tx.ready):
            m.d.sync += [second.eq(special & ~second), sending_valid.eq(special & ~second)]
        with m.If(advance & (step != _Step.BODY)):
            m.d.sync += step.eq(step + 1)
        with m.Switch(step):
            with m.Case(_Step.OPENING):
                m.d.comb += [out.eq(FLAG), plain.eq(1)]
                m.d.sync += [compared.eq(0), fetched.eq(0), arrived.eq(0), loaded.eq(0)]
            with m.Case(_Step.KIND):
                answers = Mux(refused, Kind.REFUSED, Kind.ACCEPTED)
                m.d.comb += out.eq(Mux(hello, Kind.IDENTITY, Mux(lost, Kind.LOST, answers)))
                # Later than the reset that HELLO asks for, and not changing while it is sent.
                m.d.sync += free.eq(((in_read ^ size) - in_end)[UNIT.bit_length() - 1 : in_read.shape().width])
            with m.Case(_Step.SEQUENCE):
                m.d.comb += out.eq(sequence)
            with m.Case(_Step.FREE):
                m.d.comb += out.eq(free)
            with m.Case(_Step.BODY):
                m.d.comb += [present.eq(loaded), out.eq(body)]
                # A cycle to compare, in which the machine may still write what this answer then leaves to the next one;
                # two cycles to read, and one to choose.
                m.d.sync += [compared.eq(1), at_end.eq(Mux(hello, index == len(self._identity), exhausted))]
                with m.If(loaded):
                    with m.If(advance):
                        m.d.sync += [compared.eq(0), fetched.eq(0), arrived.eq(0), loaded.eq(0)]
                        m.d.sync += out_read.eq(out_read + 1)
                with m.Elif(arrived):
                    m.d.sync += [loaded.eq(1), body.eq(Mux(hello, identity[index], outgoing.data))]
                with m.Elif(fetched):
                    m.d.sync += arrived.eq(1)
                with m.Elif(~compared):
                    pass
                with m.Elif(~at_end):
                    m.d.sync += fetched.eq(1)
                with m.Else():
                    m.d.sync += step.eq(_Step.CHECK)
                    with m.If(~hello & ~lost):
                        m.d.sync += out_end.eq(out_read)
            with m.Case(_Step.CLOSING):
                m.d.comb += [out.eq(FLAG), plain.eq(1)]
                with m.If(advance):
                    m.d.sync += [step.eq(_Step.OPENING), self.answering.eq(0)]
            with m.Default():
                m.d.comb += out.eq(check.value.word_select((step - _Step.CHECK)[:2], 8))

        # One check for both directions: a frame is answered when it is over. Of an answer it follows a cycle behind: at
        # the end of the body there is time.
        in_content = (step >= _Step.KIND) & (step <= _Step.BODY)
        sent, sent_valid = Signal(8), Signal()
        m.d.sync += [sent.eq(out), sent_valid.eq(advance & in_content)]
        m.d.comb += [
            check.data.eq(Mux(self.answering, sent, byte)),
            check.valid.eq(Mux(self.answering, sent_valid, taken)),
            check_start.eq(Mux(self.answering, step == _Step.OPENING, flag)),
        ]

        # To the machine: bytes are put together to link words.
        link_bytes = self._link_bits // 8
        asked, fetching, whole = Signal(), Signal(), Signal()
        in_place, out_place = Signal(range(link_bytes)), Signal(range(link_bytes))
        word = Signal(self._link_bits)
        m.d.comb += [
            incoming.address.eq(in_read),
            incoming.enable.eq(~asked & ~fetching & ~whole & (in_read != in_end)),
            self.link_in.valid.eq(whole),
            self.link_in.payload.eq(word),
        ]
        m.d.sync += [asked.eq(incoming.enable), fetching.eq(asked)]
        with m.If(fetching):
            m.d.sync += [word.eq(Cat(word[8:], incoming.data)), in_read.eq(in_read + 1), in_place.eq(in_place + 1)]
            with m.If(in_place == link_bytes - 1):
                m.d.sync += [in_place.eq(0), whole.eq(1)]
        with m.If(self.link_in.valid & self.link_in.ready):
            m.d.sync += whole.eq(0)

        # From the machine: a link word is kept until its last byte is written. A cycle to see whether there is room, a
        # cycle to write.
        room, kept = Signal(), Signal()
        kept_word = Signal(self._link_bits)
        m.d.comb += [
            outgoing.write_address.eq(out_write),
            outgoing.write_data.eq(kept_word[:8]),
            outgoing.write_lanes.eq(kept & room),
            self.link_out.ready.eq(~kept),
        ]
        with m.If(~kept):
            m.d.sync += [kept.eq(self.link_out.valid), kept_word.eq(self.link_out.payload)]
        m.d.sync += room.eq(kept & ~room & (out_write ^ out_begin != size))
        with m.If(kept & room):
            m.d.sync += [out_write.eq(out_write + 1), out_place.eq(out_place + 1), kept_word.eq(kept_word >> 8)]
            with m.If(out_place == link_bytes - 1):
                m.d.sync += [out_place.eq(0), kept.eq(0)]

        with m.If(self.reset_machine):
            pointers = (in_read, in_end, in_write, out_begin, out_end, out_read, out_write)
            rest = (self.reset_machine, asked, fetching, whole, kept, in_place, out_place)
            m.d.sync += [signal.eq(0) for signal in (*rest, *pointers)]
        return m
