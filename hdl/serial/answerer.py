"""The answerer: sends the frames of the board."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.serial.escaper import Escaper
from etchnet.hdl.serial.framing import FLAG, Kind

__all__ = ["Answerer"]


class _Step(IntEnum):
    OPENING = 0
    KIND = 1
    SEQUENCE = 2
    FREE = 3
    BODY = 4
    CHECK = 5  # and three more
    CLOSING = 9


class Answerer(wiring.Component):
    """Sends answers (`etchnet.hdl.serial.framing`): flag, header, body, check, flag.

    `start` begins an answer, which lasts until `answering` falls. The opening flag is on `bytes` in the cycle after
    `start`. If `bytes` is always ready, a byte of the body takes six cycles, any other byte two.

    The body comes from an external memory with a position: `fetch` reads the byte at the position, which must be on
    `data` two cycles later; `step` moves to the next byte. `at_end` is high when there is no byte at the position.

    The check is computed externally too, so that one unit serves both directions: `check_start` clears it, and
    `check_value` is the check of every `check_byte` since.

    ===========  =========  ===============================  ==========================================
    port         direction  shape                            meaning
    ===========  =========  ===============================  ==========================================
    start        in         1                                begin an answer
    answering    out        1                                an answer is being sent
    kind         in         `Kind`                           first byte of the frame
    sequence     in         8                                sequence number of the frame
    free         in         8                                `free` of the frame, sampled with the kind
    fetch        out        1                                read a byte of the body
    data         in         8                                the byte read
    step         out        1                                go to the next byte of the body
    at_end       in         1                                the body ends at the current position
    stop         out        1                                the body has ended at the current position
    check_start  out        1                                begin a new check
    check_valid  out        1                                `check_byte` is valid
    check_byte   out        8                                a byte to check
    check_value  in         32                               the check of all bytes so far
    bytes        out        stream of `Escaper.byte_layout`  the frame
    ===========  =========  ===============================  ==========================================
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "answering": Out(1),
                "kind": In(Kind),
                "sequence": In(8),
                "free": In(8),
                "fetch": Out(1),
                "data": In(8),
                "step": Out(1),
                "at_end": In(1),
                "stop": Out(1),
                "check_start": Out(1),
                "check_valid": Out(1),
                "check_byte": Out(8),
                "check_value": In(32),
                "bytes": Out(stream.Signature(Escaper.byte_layout())),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Send the byte of each step of a frame, and feed the check."""
        m = Module()
        step, out, plain, present = Signal(_Step), Signal(8), Signal(), Signal()
        free, advance = Signal(8), Signal()
        m.d.comb += [
            present.eq(self.answering),
            self.bytes.valid.eq(present),
            self.bytes.payload.byte.eq(out),
            self.bytes.payload.plain.eq(plain),
            advance.eq(present & self.bytes.ready),
        ]
        with m.If(self.start):
            m.d.sync += self.answering.eq(1)
        with m.If(advance & (step != _Step.BODY)):
            m.d.sync += step.eq(step + 1)
        with m.Switch(step):
            with m.Case(_Step.OPENING):
                m.d.comb += [out.eq(FLAG), plain.eq(1)]
            with m.Case(_Step.KIND):
                m.d.comb += out.eq(self.kind)
                # Sampled after the reset that HELLO requests, and held while it is sent.
                m.d.sync += free.eq(self.free)
            with m.Case(_Step.SEQUENCE):
                m.d.comb += out.eq(self.sequence)
            with m.Case(_Step.FREE):
                m.d.comb += out.eq(free)
            with m.Case(_Step.BODY):
                self._body(m, step, out, present, advance)
            with m.Case(_Step.CLOSING):
                m.d.comb += [out.eq(FLAG), plain.eq(1)]
                with m.If(advance):
                    m.d.sync += [step.eq(_Step.OPENING), self.answering.eq(0)]
            with m.Default():
                m.d.comb += out.eq(self.check_value.word_select((step - _Step.CHECK)[:2], 8))

        # The check lags by a cycle; the end of the body leaves time for it.
        in_content = (step >= _Step.KIND) & (step <= _Step.BODY)
        m.d.sync += [self.check_byte.eq(out), self.check_valid.eq(advance & in_content)]
        m.d.comb += self.check_start.eq(step == _Step.OPENING)
        return m

    def _body(self, m: Module, step: Signal, out: Signal, present: Signal, advance: Signal) -> None:
        """Compare, read and send one byte after another until the end of the body."""
        flags = [Signal(name=name) for name in ("compared", "fetched", "arrived", "loaded")]
        compared, fetched, arrived, loaded = flags
        at_end, body = Signal(name="at_end_before"), Signal(8, name="body")
        m.d.comb += [self.fetch.eq(~fetched), present.eq(loaded), out.eq(body)]
        # One cycle to compare, two to read, one to choose. Bytes that enter the memory after the comparison are left to
        # the next answer.
        m.d.sync += [compared.eq(1), at_end.eq(self.at_end)]
        with m.If(loaded):
            with m.If(advance):
                m.d.comb += self.step.eq(1)
                m.d.sync += [flag.eq(0) for flag in flags]
        with m.Elif(arrived):
            m.d.sync += [loaded.eq(1), body.eq(self.data)]
        with m.Elif(fetched):
            m.d.sync += arrived.eq(1)
        with m.Elif(~compared):
            pass
        with m.Elif(~at_end):
            m.d.sync += fetched.eq(1)
        with m.Else():
            m.d.comb += self.stop.eq(1)
            m.d.sync += [step.eq(_Step.CHECK), compared.eq(0)]
