"""The escaper: turns bytes of a frame into bytes on the line."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.serial.framing import ESCAPE, FLAG, FLIP

__all__ = ["Escaper"]


class Escaper(wiring.Component):
    """The byte stuffing of frames: FLAG and ESCAPE become two bytes, ESCAPE and the byte with FLIP inverted.

    There is one register stage: a byte appears on `tx` in the cycle after it was accepted, and the next byte is
    accepted once that one has been sent.

    =====  =========  =======================  =======================================================================
    port   direction  shape                    meaning
    =====  =========  =======================  =======================================================================
    bytes  in         stream of `byte_layout`  bytes of a frame; `plain` ones, the flags around it, are sent unchanged
    tx     out        stream of 8              bytes on the line
    =====  =========  =======================  =======================================================================
    """

    def __init__(self) -> None:
        super().__init__({"bytes": In(stream.Signature(self.byte_layout())), "tx": Out(stream.Signature(8))})

    @staticmethod
    def byte_layout() -> data.StructLayout:
        """Return the layout of a byte, and whether it is sent without an escape."""
        return data.StructLayout({"byte": unsigned(8), "plain": unsigned(1)})

    def elaborate(self, platform: Any) -> Module:
        """Send the current byte, as it is or as two."""
        m = Module()
        sending, plain, valid, second = Signal(8), Signal(), Signal(), Signal()
        special = Signal()
        m.d.comb += [
            self.bytes.ready.eq(~valid),
            special.eq(~plain & ((sending == FLAG) | (sending == ESCAPE))),
            self.tx.valid.eq(valid),
            self.tx.payload.eq(Mux(special, Mux(second, sending ^ FLIP, ESCAPE), sending)),
        ]
        with m.If(~valid):
            m.d.sync += [
                sending.eq(self.bytes.payload.byte),
                plain.eq(self.bytes.payload.plain),
                valid.eq(self.bytes.valid),
            ]
        with m.Elif(self.tx.ready):
            m.d.sync += [second.eq(special & ~second), valid.eq(special & ~second)]
        return m
