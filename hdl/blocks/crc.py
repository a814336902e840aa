"""The checksum of frames."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.amaranth_internals import mark_used

__all__ = ["FrameCheck"]


class FrameCheck(wiring.Component):
    """CRC-32 (ISO-HDLC, as in zlib) of all bytes since reset, one byte per cycle.

    `value` and `match` include a byte from the cycle after its `valid` on. To start a new frame, reset the component.

    =====  =========  =====  ==================================================================================
    port   direction  shape  meaning
    =====  =========  =====  ==================================================================================
    data   in         8      a byte of the frame
    valid  in         1      `data` is taken in this cycle
    value  out        32     checksum of the bytes so far
    match  out        1      the last four bytes were the checksum, lowest byte first, of the bytes before them
    =====  =========  =====  ==================================================================================
    """

    def __init__(self) -> None:
        super().__init__({"data": In(8), "valid": In(1), "value": Out(32), "match": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """Wrap Amaranth's processor, without its start input: a reset needs no gates."""
        processor = CRC32_ISO_HDLC().create()
        m = processor.elaborate(platform)
        mark_used(processor)
        m.d.comb += [
            processor.data.eq(self.data),
            processor.valid.eq(self.valid),
            self.value.eq(processor.crc),
            self.match.eq(processor.match_detected),
        ]
        return m
