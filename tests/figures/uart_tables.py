"""The tables of docs/uart.md, from the code.

``nox -s figures`` writes them into the page.
"""

from __future__ import annotations

import dataclasses
import struct

from figures.tables import DOCS, member_docs, table, write

from etchnet.hdl.serial.framing import BUFFER_BYTES, CHECK_BYTES, HEADER_BYTES, Identity, Kind

PAGE = DOCS / "uart.md"
FLAGS = 2
PAUSE = 1e-3
"""seconds between an answer and the next frame, as added by a USB adapter"""
ESCAPED = 2 / 256
"""share of bytes that take two on the line, if all bytes are equally likely"""
CLOCKS = (12_000_000, 25_000_000, 27_000_000, 48_000_000)
BAUDS = (115_200, 1_000_000, 3_000_000)


def kinds() -> str:
    """Return the first byte of frames."""
    docs = member_docs(Kind)
    rows = [(f"`{kind:02X}` `{chr(kind)}`", f"`{kind.name}`", docs[kind.name]) for kind in Kind]
    return table(("byte", "kind", "sent by the host, or by the board"), rows)


def identity() -> str:
    """Return the body of IDENTITY."""
    rows, place = [], 0
    for field in dataclasses.fields(Identity):
        size = struct.calcsize("<" + field.metadata["code"])
        rows.append((place, size, f"`{field.name}`", field.metadata["doc"]))
        place += size
    return table(("first byte", "bytes", "field", "meaning"), rows)


def frame_bytes(body: int, *, escaped: float = 0.0) -> float:
    """Return the bytes on the line of a frame with `body` bytes of body."""
    return FLAGS + (HEADER_BYTES + body + CHECK_BYTES) * (1 + escaped)


def speed(baud: float, buffer_bytes: int, pause: float) -> float:
    """Bytes per second in one direction: full frames, and short ones the other way."""
    body = buffer_bytes - CHECK_BYTES
    line = frame_bytes(body, escaped=ESCAPED) + frame_bytes(0)
    return body / (10 * line / baud + pause)


def throughput() -> str:
    """Full frames one way, for both buffers and both kinds of adapters."""
    rows = []
    for baud in BAUDS:
        for size in BUFFER_BYTES:
            cells = []
            for pause in (0, PAUSE):
                bytes_per_second = speed(baud, size, pause)
                cells.append(f"{bytes_per_second / 1000:.1f} kB/s, {10 * bytes_per_second / baud:.0%}")
            rows.append((f"{baud:,}", size, *cells))
    return table(("baud", "`buffer_bytes`", "no pause", f"{PAUSE * 1000:g} ms between frames"), rows)


def divisors() -> str:
    """Cycles per bit, where a clock reaches a rate."""
    from etchnet.hdl.serial.uart import baud_divisor

    def cell(clock: int, baud: int) -> str:
        try:
            divisor = baud_divisor(clock, baud)
        except ValueError:
            return "-"
        off = clock / divisor / baud - 1
        return f"{divisor}" + (f" ({off:+.1%})" if off else "")

    rows = [(f"{clock / 1e6:g} MHz", *(cell(clock, baud) for baud in BAUDS)) for clock in CLOCKS]
    return table(("clock", *(f"{baud:,} baud" for baud in BAUDS)), rows)


def tables() -> dict[str, str]:
    """Every table by its name in the page."""
    return {"kinds": kinds(), "identity": identity(), "throughput": throughput(), "divisors": divisors()}


if __name__ == "__main__":
    write(PAGE, tables())
