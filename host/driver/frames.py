"""Frames on a serial line, as defined in `docs/uart.md`: encoding, decoding, and finding them in a stream of bytes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from etchnet.hdl.serial.framing import CHECK_BYTES, ESCAPE, FLAG, FLIP, HEADER_BYTES

__all__ = ["Deframer", "Frame"]


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes
    ----------
    kind
        A `Kind`.
    sequence
        Sequence number, from 0 to 255.
    room
        The third byte of the header, in units of 8 bytes: from the host, the longest body that it accepts in the answer
        (`limit`); from the board, the free space in its buffer (`free`).
    body
        Link words as bytes.
    """

    kind: int
    sequence: int
    room: int
    body: bytes = b""

    def encode(self) -> bytes:
        """Return the bytes on the line: escaped, with the check and between flags."""
        content = bytes([self.kind, self.sequence, self.room]) + self.body
        content += zlib.crc32(content).to_bytes(CHECK_BYTES, "little")
        for special in (ESCAPE, FLAG):
            content = content.replace(bytes([special]), bytes([ESCAPE, special ^ FLIP]))
        return bytes([FLAG]) + content + bytes([FLAG])

    @classmethod
    def decode(cls, content: bytes) -> Frame | None:
        """Return the frame between two flags, or None if it is damaged."""
        plain = bytearray()
        escaped = False
        for byte in content:
            if byte == ESCAPE and not escaped:
                escaped = True
                continue
            plain.append(byte ^ FLIP if escaped else byte)
            escaped = False
        checked, check = plain[:-CHECK_BYTES], plain[-CHECK_BYTES:]
        if escaped or len(checked) < HEADER_BYTES or zlib.crc32(checked) != int.from_bytes(check, "little"):
            return None
        kind, sequence, room = checked[:HEADER_BYTES]
        return cls(kind, sequence, room, bytes(checked[HEADER_BYTES:]))


class Deframer:
    """Finds frames in a stream of bytes; bytes before the first flag are ignored.

    Attributes
    ----------
    damaged
        Number of damaged frames so far: bytes between two flags with a wrong check, or too few of them.
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._open = False
        self._partial = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take further bytes; return the frames that they complete."""
        frames = []
        first, *rest = data.split(bytes([FLAG]))
        self._partial += first
        for part in rest:
            content = bytes(self._partial)
            if self._open and content:
                if (frame := Frame.decode(content)) is not None:
                    frames.append(frame)
                else:
                    self.damaged += 1
            self._open, self._partial = True, bytearray(part)
        if not self._open:
            self._partial.clear()
        return frames
