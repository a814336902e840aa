"""The deframer: bytes from the line in, the content of frames out."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.serial.framing import CHECK_BYTES, ESCAPE, FLAG, FLIP, HEADER_BYTES, Kind

__all__ = ["Deframer"]


class Deframer(wiring.Component):
    """Receives the host's frames (`etchnet.hdl.serial.framing`): finds them, and removes flags and escapes.

    A byte appears on `byte` one cycle after it arrived. `closed` follows a closing flag by one cycle; it means that the
    frame is long enough, of a known kind and does not end in an escape. The check is verified elsewhere. The header is
    valid from before its frame's `closed` until the next frame.

    ========  =========  =====  =============================================
    port      direction  shape  meaning
    ========  =========  =====  =============================================
    rx        in         8      byte from the line; there is no flow control
    rx_valid  in         1      `rx` holds a byte
    ignore    in         1      drop bytes that arrive
    accept    in         1      with `closed`: drop bytes up to the next flag
    flag      out        1      a flag arrived: a new frame begins
    byte      out        8      a byte of header, body or check
    valid     out        1      `byte` holds a byte of content
    is_body   out        1      `byte` belongs to the body or the check
    hello     out        1      the frame's kind is HELLO, else DATA
    sequence  out        8      the frame's sequence number
    limit     out        8      the frame's `limit`
    closed    out        1      a frame ended in the cycle before
    ========  =========  =====  =============================================
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "rx": In(8),
                "rx_valid": In(1),
                "ignore": In(1),
                "accept": In(1),
                "flag": Out(1),
                "byte": Out(8),
                "valid": Out(1),
                "is_body": Out(1),
                "hello": Out(1),
                "sequence": Out(8),
                "limit": Out(8),
                "closed": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Recognise flags and escapes, then take the header byte by byte."""
        m = Module()
        got, got_valid, got_flag, got_escape = Signal(8), Signal(), Signal(), Signal()
        m.d.sync += [
            got.eq(self.rx),
            got_valid.eq(self.rx_valid),
            got_flag.eq(self.rx == FLAG),
            got_escape.eq(self.rx == ESCAPE),
        ]
        opened, escaped, known, long_enough = Signal(), Signal(), Signal(), Signal()
        shortest = HEADER_BYTES + CHECK_BYTES
        count = Signal(range(shortest + 1))
        m.d.comb += [
            self.flag.eq(got_valid & ~self.ignore & got_flag),
            self.valid.eq(got_valid & ~self.ignore & opened & ~got_flag & ~got_escape),
            self.byte.eq(got ^ Mux(escaped, FLIP, 0)),
            self.is_body.eq(count >= HEADER_BYTES),
        ]
        m.d.sync += self.closed.eq(self.flag & opened & ~escaped & long_enough & known)
        with m.If(got_valid):
            m.d.sync += escaped.eq(got_escape)
        with m.If(self.flag):
            m.d.sync += [opened.eq(1), count.eq(0), long_enough.eq(0)]
        with m.If(self.valid):
            with m.If(~long_enough):
                m.d.sync += [count.eq(count + 1), long_enough.eq(count == shortest - 1)]
            with m.Switch(count):
                with m.Case(0):
                    is_hello, is_data = self.byte == Kind.HELLO, self.byte == Kind.DATA
                    m.d.sync += [self.hello.eq(is_hello), known.eq(is_hello | is_data)]
                with m.Case(1):
                    m.d.sync += self.sequence.eq(self.byte)
                with m.Case(2):
                    m.d.sync += self.limit.eq(self.byte)
        with m.If(self.accept):
            m.d.sync += opened.eq(0)
        return m
