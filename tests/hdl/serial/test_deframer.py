"""The deframer by itself, on frames that the host's side encodes."""

import zlib

import pytest
from support import rtl

from etchnet.hdl.serial.deframer import Deframer
from etchnet.hdl.serial.framing import ESCAPE, FLAG, FLIP, Kind


def content(kind, sequence, limit, body=b""):
    """Header, body and check of a frame."""
    data = bytes([kind, sequence, limit]) + body
    return data + zlib.crc32(data).to_bytes(4, "little")


def escaped(data):
    """Bytes between two flags."""
    return b"".join(bytes([ESCAPE, b ^ FLIP]) if b in (FLAG, ESCAPE) else bytes([b]) for b in data)


def framed(data):
    return bytes([FLAG]) + escaped(data) + bytes([FLAG])


def deframe(line, *, gap=0, accept=False, ignore=()):
    """Return the outputs in order: ("flag",), ("byte", value, is_body), ("closed", hello, sequence, limit)."""
    events = []

    def bench():
        for index, byte in enumerate([*line, None, None, None]):
            for wait in range(gap + 1):
                here = byte is not None and not wait
                inputs = {"rx": byte if here else 0x55, "rx_valid": here, "ignore": index in ignore}
                outputs = yield inputs | {"accept": 0}
                if outputs["closed"]:
                    events.append(("closed", *(outputs[n] for n in ("hello", "sequence", "limit"))))
                if outputs["flag"]:
                    events.append(("flag",))
                if outputs["valid"]:
                    events.append(("byte", outputs["byte"], outputs["is_body"]))

    rtl.run(Deframer(), bench())
    return events


def expected(data):
    kind, sequence, limit = data[:3]
    bytes_of = [("byte", byte, int(index >= 3)) for index, byte in enumerate(data)]
    return [("flag",), *bytes_of, ("flag",), ("closed", int(kind == Kind.HELLO), sequence, limit)]


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.DATA])
@pytest.mark.parametrize("body", [b"", b"abc", bytes([FLAG, ESCAPE, FLAG ^ FLIP, 0, 255])])
def test_a_frame_comes_out_byte_by_byte(gap, kind, body):
    data = content(kind, FLAG, ESCAPE, body)
    assert deframe(framed(data), gap=gap) == expected(data)


def test_one_flag_ends_a_frame_and_begins_the_next():
    first, second = content(Kind.DATA, 1, 2, b"x"), content(Kind.DATA, 2, 3, b"yz")
    line = framed(first) + framed(second)[1:]
    events = [event for event in deframe(line) if event[0] == "closed"]
    assert events == [("closed", 0, 1, 2), ("closed", 0, 2, 3)]


@pytest.mark.parametrize(
    "line",
    [
        framed(content(Kind.DATA, 1, 2)[:-1]),  # too short
        framed(content(Kind.ACCEPTED, 1, 2)),  # no kind of the host's
        framed(content(Kind.DATA, 1, 2))[:-1] + bytes([ESCAPE, FLAG]),  # ends in an escape
        framed(content(Kind.DATA, 1, 2))[1:],  # no opening flag
        bytes([FLAG] * 20),
    ],
    ids=["short", "kind", "escape", "open", "flags"],
)
def test_an_invalid_frame_is_not_closed(line):
    assert not [event for event in deframe(line) if event[0] == "closed"]


def test_ignored_bytes_have_no_effect():
    data = content(Kind.DATA, 1, 2, b"x")
    line = framed(data)
    # A byte takes effect one cycle after it arrives.
    assert deframe(line, ignore=range(len(line) + 2)) == []


def test_after_a_frame_was_accepted_bytes_wait_for_a_flag():
    data = content(Kind.DATA, 1, 2, b"x")
    seen = []

    def bench():
        for byte in framed(data):
            yield {"rx": byte, "rx_valid": 1}
        yield {"rx": 0x11, "rx_valid": 1}
        outputs = yield {"rx": 0x22, "rx_valid": 1, "accept": 1}
        assert outputs["closed"]
        for byte in (0x33, FLAG, 0x44, 0):
            outputs = yield {"rx": byte, "rx_valid": byte != 0, "accept": 0}
            if outputs["valid"]:
                seen.append(outputs["byte"])

    rtl.run(Deframer(), bench())
    assert seen == [0x44]
