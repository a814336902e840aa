"""The answerer by itself: a frame whose body comes from the bench."""

import zlib

import pytest
from support import rtl

from etchnet.hdl.serial.answerer import Answerer
from etchnet.hdl.serial.framing import FLAG, Kind


def answer(kind, sequence, free, body):
    """Return the frame, as (byte, plain), the cycles of its bytes after `start`, and the reported end of its body."""
    frame, cycles, stops = [], [], []

    def bench():
        place, checked, reads = 0, b"", {}
        yield {"start": 1, "kind": kind, "sequence": sequence, "free": free, "bytes.ready": 1}
        for cycle in range(1, 1000):
            inputs = {
                "start": 0,
                "at_end": place >= len(body),
                "check_value": zlib.crc32(checked),
                "data": reads.get(cycle - 2, 0),
            }
            outputs = yield inputs
            if not outputs["answering"]:
                break
            if outputs["fetch"] and place < len(body):
                reads[cycle] = body[place]
            elif cycle - 1 in reads:
                reads[cycle] = reads[cycle - 1]  # a memory keeps what it read
            if outputs["check_start"]:
                checked = b""
            if outputs["check_valid"]:
                checked += bytes([outputs["check_byte"]])
            if outputs["bytes.valid"]:
                frame.append((outputs["bytes.payload.byte"], outputs["bytes.payload.plain"]))
                cycles.append(cycle)
            place += outputs["step"]
            if outputs["stop"]:
                stops.append(place)

    rtl.run(Answerer(), bench())
    return frame, cycles, stops


@pytest.mark.parametrize("body", [b"", b"x", b"hello, host"])
def test_a_frame_has_its_header_its_body_and_its_check(body):
    frame, cycles, stops = answer(Kind.ACCEPTED, 0x12, 0x34, body)
    content = bytes([Kind.ACCEPTED, 0x12, 0x34]) + body
    data = content + zlib.crc32(content).to_bytes(4, "little")
    assert frame == [(FLAG, 1), *((byte, 0) for byte in data), (FLAG, 1)]
    assert stops == [len(body)]
    assert cycles[0] == 1
