"""A board on a serial port: the engine whose machine is real, and the frames it exchanges with it."""

from __future__ import annotations

import contextlib
import errno
import math
import secrets
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.serial.framing import (
    CHECK_BYTES,
    DEFAULT_BAUD,
    ESCAPE,
    FLAG,
    FLIP,
    HEADER_BYTES,
    UNIT,
    VERSION,
    Identity,
    Kind,
)
from etchnet.sim.engines.link import Engine, LinkError, LinkTrace
from etchnet.sim.engines.verilated import MissingToolError

__all__ = ["Deframer", "Frame", "Port", "SerialEngine", "parse_port"]

_SMALLEST = 16
"""bytes a frame's body is cut down to on a line that damages frames"""
_POLL = 0.02
"""seconds that a read waits for a first byte"""
_LONGEST_PAUSE = 0.05
"""seconds between frames that ask a machine which has nothing to say yet"""


@dataclass(frozen=True)
class Frame:
    """One frame; `room` is its third byte, `limit` or `free` by its sender."""

    kind: int
    sequence: int
    room: int
    body: bytes = b""

    def encode(self) -> bytes:
        """As it goes over the line, flags and check included."""
        content = bytes([self.kind, self.sequence, self.room]) + self.body
        content += zlib.crc32(content).to_bytes(CHECK_BYTES, "little")
        for special in (ESCAPE, FLAG):
            content = content.replace(bytes([special]), bytes([ESCAPE, special ^ FLIP]))
        return bytes([FLAG]) + content + bytes([FLAG])

    @classmethod
    def decode(cls, content: bytes) -> Frame | None:
        """The frame between two flags, or None if it is damaged."""
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
    """Cuts a stream of bytes into frames; what is before the first flag is not one.

    Attributes
    ----------
    damaged
        Stretches between two flags so far whose check did not hold.
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._open = False
        self._partial = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
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


class Port(Protocol):
    """What is needed of `serial.Serial`."""

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read at once."""
        ...

    def read(self, size: int = 1, /) -> bytes:
        """At most `size` bytes; none when no byte comes for a short while."""
        ...

    def write(self, data: bytes, /) -> int | None:
        """Send bytes."""
        ...

    def close(self) -> None:
        """Give the port back."""
        ...


def parse_port(text: str) -> tuple[str, dict[str, Any]]:
    """``/dev/ttyUSB0?baud=1000000`` as a port and options of `SerialEngine`; ValueError names what is wrong."""
    port, _, query = text.partition("?")
    if not port:
        raise ValueError("engine serial needs a port, as in serial:/dev/ttyUSB0")
    numbers: dict[str, Callable[[str], Any]] = {"baud": int, "latency": float, "patience": float, "retries": int}
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in numbers:
            raise ValueError(f"engine serial has the options {', '.join(numbers)}, not {name!r}")
        try:
            options[name] = numbers[name](value)
        except ValueError:
            raise ValueError(f"{name} must be a number, not {value!r}") from None
    _check(**options)
    return port, options


def _check(*, retries: int = 0, **positive: float) -> None:
    for option, value in positive.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{option} must be positive, not {value!r}")
    if retries < 0:
        raise ValueError(f"retries must not be negative, not {retries!r}")


def _open(port: str, baud: int) -> Port:
    try:
        import serial
    except ImportError:
        raise MissingToolError("engine 'serial' needs pyserial: pip install 'etchnet[serial]'") from None
    try:
        line = serial.serial_for_url(port, baudrate=baud, timeout=_POLL, exclusive=True)
    except (serial.SerialException, OSError) as error:
        raise LinkError(_cannot_open(port, error)) from None
    except ValueError as error:
        raise LinkError(f"cannot open serial port {port} at {baud:,} baud: {error}") from None
    # Adapters that collect bytes before they hand them on then do so for 1 ms, not for 16. Not all ports have the mode.
    with contextlib.suppress(AttributeError, NotImplementedError, ValueError, OSError):
        line.set_low_latency_mode(True)
    return line


def _cannot_open(port: str, error: OSError) -> str:
    from serial.tools import list_ports

    number = error.errno
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        found = ", ".join(sorted(p.device for p in list_ports.comports())) or "none"
        return f"there is no serial port {port}; ports found: {found}"
    if number in (errno.EACCES, errno.EPERM):
        return f"no permission to open serial port {port}: on Linux, join the group that owns it, often dialout"
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error):
        return f"serial port {port} is in use by another program"
    return f"cannot open serial port {port}: {error}"


class SerialEngine(Engine):
    """The machine on a board with `etchnet.hdl.serial.uart`, behind a serial port.

    Opening it resets the machine. Damaged, lost and repeated bytes are recovered from by asking again. A result is
    either right or not returned at all, but for a damage that CRC-32 does not see (one in 2**32 of those of more than
    a few bits).

    A board keeps no time for the host: `cycle` and `record` raise LinkError. Its counters are those of any machine.

    Parameters
    ----------
    config
        The machine that must be on the board.
    port
        Its name, a URL that pyserial knows, or an open port.
    baud
        Bits per second, as the board was built.
    progress
        Called now and then during transfers, with the bytes sent and received and those that there are.
    latency
        Seconds that the port and the operating system may add to the time that bytes take on the line.
    retries
        How often a frame without a valid answer is sent again before that is an error.
    patience
        Seconds in which the machine neither takes nor gives a byte after which `exchange` gives up.

    Attributes
    ----------
    identity
        What the board says of itself.
    retried
        Frames that were sent again so far.

    Raises
    ------
    LinkError
        The port cannot be opened, nothing answers, or another machine does.
    MissingToolError
        pyserial is not installed.
    """

    name = "serial"

    def __init__(
        self,
        config: Config,
        *,
        port: str | Port,
        baud: int = DEFAULT_BAUD,
        trace: LinkTrace | None = None,
        progress: Callable[[int, int], None] | None = None,
        latency: float = 0.1,
        retries: int = 30,
        patience: float = 10.0,
    ) -> None:
        if trace is not None:
            raise ValueError("engine serial takes no trace: a board's link stalls when it does")
        _check(retries=retries, baud=baud, latency=latency, patience=patience)
        super().__init__(config)
        self._where = port if isinstance(port, str) else getattr(port, "name", None) or "the serial port"
        self._baud, self._progress = baud, progress
        self._latency, self._retries, self._patience = latency, retries, patience
        self._line: Port | None = _open(port, baud) if isinstance(port, str) else port
        self._deframer = Deframer()
        self._sequence = secrets.randbelow(256)
        self._inbox = bytearray()
        # Bodies grow quickly until a frame is damaged, slowly from then on, and shrink with each that is.
        self._size = 64
        self.retried = 0
        try:
            self.identity = self._greet()
        except BaseException:
            self.close()
            raise
        self.clock_hz = self.identity.clock_hz
        self._buffer = 1 << self.identity.buffer
        self._room = self._buffer - CHECK_BYTES

    @property
    def cycle(self) -> int:
        """Not known: raises LinkError."""
        raise LinkError("a board does not count the cycles between runs; the machine's counters tell those of runs")

    @property
    def record(self) -> LinkTrace:
        """Not known: raises LinkError."""
        raise LinkError("a board keeps no record of the cycles in which words moved")

    def close(self) -> None:
        """Give the port back."""
        if self._line is not None:
            self._line.close()
            self._line = None

    # Frames

    def _greet(self) -> Identity:
        """Reset the machine, and see that it is the right one."""
        before = self._deframer.damaged
        try:
            answer = self._ask(Kind.HELLO, limit=0)
        except _NoAnswerError as silence:
            if silence.received == 0:
                why = "nothing came back: is the board on, configured, and is this its port?"
            elif self._deframer.damaged == before:
                why = f"{silence.received} bytes came back that are no answer: is this the port of the board?"
            else:
                why = f"{silence.received} bytes came back and no valid answer: does the board use another baud rate?"
            raise LinkError(f"no board answers on {self._where} at {self._baud:,} baud; {why}") from None
        try:
            identity = Identity.decode(answer.body)
        except ValueError as error:
            raise LinkError(f"the board on {self._where} does not say what it is: {error}") from None
        if identity.version != VERSION:
            raise LinkError(
                f"the board on {self._where} speaks version {identity.version} of the protocol, this program "
                f"{VERSION}: build both from the same release"
            )
        config = self.config
        wanted = Identity.of(config, buffer_bytes=1 << identity.buffer, clock_hz=identity.clock_hz)
        if identity != wanted:
            raise LinkError(
                f"the board on {self._where} has another machine: {_describe(identity)}, not {_describe(wanted)}; "
                "give the options that the board was built with, and build both with the same release"
            )
        return identity

    def _ask(self, kind: Kind, *, limit: int, body: bytes = b"") -> Frame:
        """Send one frame until its answer comes; the answer."""
        if self._line is None:
            raise LinkError(f"the engine on {self._where} is closed")
        self._sequence = (self._sequence + 1) % 256
        sent = Frame(kind, self._sequence, limit, body).encode()
        # Twice the longest answer: every byte of it may be escaped.
        longest = 2 * (HEADER_BYTES + limit * UNIT + CHECK_BYTES + 16) + 2
        patience = self._latency + 1.2 * 10 * (len(sent) + longest) / self._baud
        received = 0
        for attempt in range(self._retries + 1):
            if attempt:
                self.retried += 1
                self._size = max(self._size // 2, _SMALLEST)
            try:
                self._line.write(sent)
                deadline, damaged, late = time.monotonic() + patience, self._deframer.damaged, 0
                # Once an answer is known to be damaged there is no other to wait for.
                while self._deframer.damaged == damaged:
                    # A busy computer may come to look only when time is up: what is there by then is looked at.
                    time_is_up = time.monotonic() >= deadline
                    data = self._line.read(max(1, self._line.in_waiting))
                    received += len(data)
                    late += len(data) if time_is_up else 0
                    for frame in self._deframer.feed(data):
                        if frame.kind == kind and frame.sequence == self._sequence:
                            raise LinkError(f"{self._where} sends back what is sent to it: are rx and tx connected?")
                        if frame.sequence == self._sequence and frame.kind in _ANSWERS[kind]:
                            if not attempt:
                                self._size += UNIT if self.retried else self._size
                            return frame
                    if time_is_up and (not data or late > longest):
                        break
            except OSError as error:
                raise LinkError(f"the serial port {self._where} is gone: {error}") from None
        raise _NoAnswerError(
            f"no valid answer on {self._where} after sending a frame {self._retries + 1} times "
            f"({received} bytes came back in that time, {self._deframer.damaged} damaged frames so far): is the line "
            f"good for {self._baud:,} baud?",
            received,
        )

    # Words

    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        """Send whole packets and receive `count` link words; see `Engine`."""
        link_bytes = self.config.link_bits // 8
        raw = np.ascontiguousarray(words, dtype="<u4").tobytes()
        wanted = count * link_bytes
        sent, pause, moved = 0, 0.0, time.monotonic()
        while sent < len(raw) or len(self._inbox) < wanted:
            self._size = min(self._size, self._buffer)
            missing = max(0, wanted - len(self._inbox))
            body = raw[sent : sent + max(0, min(self._room, self._size))]
            limit = min(self._size // UNIT, ceil_div(missing, UNIT))
            answer = self._ask(Kind.DATA, limit=limit, body=body)
            if answer.kind == Kind.LOST:
                raise LinkError(
                    f"the board on {self._where} has lost this session: it was reset, or another program used it"
                )
            self._room = answer.room * UNIT - CHECK_BYTES
            self._inbox += answer.body
            if answer.kind == Kind.ACCEPTED:
                sent += len(body)
            if answer.body or (body and answer.kind == Kind.ACCEPTED):
                pause, moved = 0.0, time.monotonic()
                if self._progress is not None:
                    self._progress(sent + min(wanted, len(self._inbox)), len(raw) + wanted)
            elif time.monotonic() > moved + self._patience:
                raise LinkError(
                    f"nothing moved for {self._patience:g} seconds: {missing // link_bytes} of {count} words have not "
                    f"come back, {(len(raw) - sent) // link_bytes} are still to be taken"
                )
            else:
                # The machine computes; do not fill the line with questions.
                time.sleep(pause)
                pause = min(_LONGEST_PAUSE, 2 * pause + 0.001)
        result = np.frombuffer(bytes(self._inbox[:wanted]), dtype="<u4").reshape(count, link_bytes // 4)
        del self._inbox[:wanted]
        return result


class _NoAnswerError(LinkError):
    def __init__(self, message: str, received: int) -> None:
        super().__init__(message)
        self.received = received


_ANSWERS = {
    Kind.HELLO: (Kind.IDENTITY,),
    Kind.DATA: (Kind.ACCEPTED, Kind.REFUSED, Kind.LOST),
}


def _describe(identity: Identity) -> str:
    return (
        f"{identity.rows} x {identity.columns} array, {32 * identity.link_words}-bit links, "
        f"machine {identity.machine:08x}"
    )
