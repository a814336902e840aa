"""The protocol on a serial line between a host and a board: frames, their kinds, and the identity of a board.

Frames are those of RFC 1662 (HDLC-like framing of octets, with a 32-bit check sequence): one or more `FLAG`, the
content and its check, and a `FLAG`. Every `FLAG` and `ESCAPE` in between is sent as two bytes: `ESCAPE`, and the byte
XOR `FLIP`. The content is a kind, a sequence number, `limit` or `free`, and the body.
"""

from __future__ import annotations

import dataclasses
import struct
from dataclasses import dataclass
from enum import IntEnum

from etchnet.hdl.isa import machine_hash
from etchnet.hdl.isa.config import Config

__all__ = [
    "BUFFER_BYTES",
    "CHECK_BYTES",
    "DEFAULT_BAUD",
    "ESCAPE",
    "FLAG",
    "FLIP",
    "HEADER_BYTES",
    "UNIT",
    "VERSION",
    "Identity",
    "Kind",
]

VERSION = 1
"""version of the protocol"""
FLAG = 0x7E
ESCAPE = 0x7D
FLIP = 0x20
HEADER_BYTES = 3
"""bytes of a header: kind, sequence number, and `limit` or `free`"""
CHECK_BYTES = 4
"""bytes of a check: CRC-32 (as in Ethernet and zlib) of header and body, lowest byte first"""
UNIT = 8
"""bytes per unit of `limit` and `free`"""
BUFFER_BYTES = (256, 512, 1024)
"""possible sizes of each of a board's two buffers"""
DEFAULT_BAUD = 1_000_000
"""bits per second; the clocks of most boards are a multiple of it, and common USB adapters support it"""


class Kind(IntEnum):
    """The first byte of a frame: its sender and its meaning."""

    HELLO = ord("H")
    """host: reset the machine, empty the buffers, and count frames from this sequence number"""
    DATA = ord("D")
    """host: bytes for the machine in the body; `limit` is the most that the answer may carry"""
    IDENTITY = ord("I")
    """board: answers HELLO; the body is the `Identity` of the machine"""
    ACCEPTED = ord("A")
    """board: answers DATA whose body was accepted for the machine; the body holds the machine's next bytes"""
    REFUSED = ord("R")
    """board: answers DATA whose body did not fit and was dropped; otherwise like ACCEPTED"""
    LOST = ord("L")
    """board: answers DATA whose sequence number is neither the last nor the next, or that precedes any HELLO"""


@dataclass(frozen=True)
class Identity:
    """A board's description of itself, sent field by field, little-endian."""

    version: int = dataclasses.field(metadata={"code": "B", "doc": "version of the protocol"})
    buffer: int = dataclasses.field(metadata={"code": "B", "doc": "base-2 logarithm of the bytes of each buffer"})
    link_words: int = dataclasses.field(metadata={"code": "B", "doc": "`link_bits` / 32"})
    rows: int = dataclasses.field(metadata={"code": "B", "doc": "rows of the array"})
    columns: int = dataclasses.field(metadata={"code": "B", "doc": "columns of the array"})
    machine: int = dataclasses.field(metadata={"code": "I", "doc": "`machine_hash` of its config"})
    clock_hz: int = dataclasses.field(metadata={"code": "I", "doc": "clock of the machine in Hz"})

    @classmethod
    def of(cls, config: Config, *, buffer_bytes: int, clock_hz: int) -> Identity:
        """Return the identity of a board with the machine of `config`."""
        return cls(
            VERSION,
            buffer_bytes.bit_length() - 1,
            config.link_bits // 32,
            config.rows,
            config.columns,
            machine_hash(config),
            clock_hz,
        )

    @classmethod
    def _format(cls) -> str:
        return "<" + "".join(field.metadata["code"] for field in dataclasses.fields(cls))

    def encode(self) -> bytes:
        """Return the body of an IDENTITY frame."""
        return struct.pack(self._format(), *dataclasses.astuple(self))

    @classmethod
    def decode(cls, body: bytes) -> Identity:
        """Return the identity in a body that `encode` wrote; later bytes are ignored. ValueError if it is too short."""
        size = struct.calcsize(cls._format())
        if len(body) < size:
            raise ValueError(f"an identity has {size} bytes, not {len(body)}")
        return cls(*struct.unpack(cls._format(), body[:size]))
