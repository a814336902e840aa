"""The check sequence of frames."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.amaranth_internals import mark_used

__all__ = ["FrameCheck"]


class FrameCheck(wiring.Component):
    """CRC-32 of the bytes since reset, a byte a cycle: `value` and `match` follow one cycle behind `valid`.

    `match` says that the last four bytes were the check, lowest byte first, of those before them.
    """

    def __init__(self) -> None:
        super().__init__({"data": In(8), "valid": In(1), "value": Out(32), "match": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """Amaranth's processor, of which this is the interface; it starts anew by reset, which costs no gates."""
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
