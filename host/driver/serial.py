"""The engine for a board on a serial port, with the machine of `etchnet.hdl.serial.uart`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.serial.framing import CHECK_BYTES, DEFAULT_BAUD, HEADER_BYTES, UNIT, VERSION, Identity, Kind
from etchnet.host.driver.frames import Deframer, Frame
from etchnet.host.driver.port import Port, check_options, open_port
from etchnet.sim.engines.link import Engine, LinkError, LinkTrace

__all__ = ["SerialEngine"]

_SMALLEST = 16
"""smallest size, in bytes, to which the bodies of frames shrink on a line that damages frames"""
_LONGEST_PAUSE = 0.05
"""longest pause, in seconds, between frames that poll a machine that has nothing to send yet"""


class SerialEngine(Engine):
    """The machine on a board with `etchnet.hdl.serial.uart`, at a serial port.

    Opening the engine resets the machine. The engine recovers from damaged, lost and repeated bytes by sending frames
    again. A result is either right or not returned, except for damage that CRC-32 does not detect (one in 2**32 cases
    of more than a few damaged bits).

    A board does not report cycles or when words moved: `cycle` and `record` raise LinkError. Its counters work as on
    any other engine.

    Parameters
    ----------
    config
        The machine that must be on the board.
    port
        The name of a port, a URL that pyserial supports, or an open port.
    baud
        Baud rate, in bits per second, that the board was built for.
    progress
        Called during transfers with the number of bytes moved so far, and the number of all bytes to move.
    latency
        Seconds that the port and the operating system may add to the time that bytes take on the line.
    retries
        Number of times that a frame without a valid answer is sent again before LinkError is raised.
    patience
        Number of seconds without a transfer to or from the machine after which `exchange` raises LinkError.

    Attributes
    ----------
    identity
        The machine, the buffer and the clock that the board reports.
    retried
        Number of frames that were sent again so far.

    Raises
    ------
    LinkError
        The port cannot be opened, nothing answers, or the board has another machine.
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
            raise ValueError("engine serial takes no trace: the stalls of a board's link cannot be chosen")
        check_options(retries=retries, baud=baud, latency=latency, patience=patience)
        super().__init__(config)
        self._where = port if isinstance(port, str) else getattr(port, "name", None) or "the serial port"
        self._baud, self._progress = baud, progress
        self._latency, self._retries, self._patience = latency, retries, patience
        self._line: Port | None = open_port(port, baud) if isinstance(port, str) else port
        self._deframer = Deframer()
        self._sequence = secrets.randbelow(256)
        self._inbox = bytearray()
        # Bodies grow quickly until the first frame is damaged, and slowly from then on; each damaged frame halves them.
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
        """Not available: raises LinkError."""
        raise LinkError("a board does not count the cycles between runs; the machine's counters count those of runs")

    @property
    def record(self) -> LinkTrace:
        """Not available: raises LinkError."""
        raise LinkError("a board keeps no record of the cycles in which words moved")

    def close(self) -> None:
        """Close the port."""
        if self._line is not None:
            self._line.close()
            self._line = None

    # Frames

    def _greet(self) -> Identity:
        """Reset the machine, and check that it is the right one."""
        before = self._deframer.damaged
        try:
            answer = self._ask(Kind.HELLO, limit=0)
        except _NoAnswerError as silence:
            if silence.received == 0:
                why = "nothing came back: is the board on, configured, and is this its port?"
            elif self._deframer.damaged == before:
                why = f"{silence.received} bytes came back that are not an answer: is this the port of the board?"
            else:
                why = f"{silence.received} bytes came back and no valid answer: does the board use another baud rate?"
            raise LinkError(f"no board answers on {self._where} at {self._baud:,} baud; {why}") from None
        try:
            identity = Identity.decode(answer.body)
        except ValueError as error:
            raise LinkError(f"the board on {self._where} does not report a valid identity: {error}") from None
        if identity.version != VERSION:
            raise LinkError(
                f"the board on {self._where} uses version {identity.version} of the protocol, this program "
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
        """Send one frame, repeatedly until its answer arrives; return the answer."""
        if (line := self._line) is None:
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
                line.write(sent)
                answer, count = self._receive(line, kind, patience, longest)
            except OSError as error:
                raise LinkError(f"the serial port {self._where} no longer works: {error}") from None
            if answer is not None:
                if not attempt:
                    self._size += UNIT if self.retried else self._size
                return answer
            received += count
        raise _NoAnswerError(
            f"no valid answer on {self._where} after sending a frame {self._retries + 1} times "
            f"({received} bytes came back in that time, {self._deframer.damaged} damaged frames so far): is the line "
            f"good for {self._baud:,} baud?",
            received,
        )

    def _receive(self, line: Port, kind: Kind, patience: float, longest: int) -> tuple[Frame | None, int]:
        """Wait for the answer to the frame that was just sent; return it, and the number of bytes received.

        The answer is None if a damaged frame arrives, because no other answer will follow, or if none arrives within
        `patience` seconds.
        """
        deadline, damaged, received, late = time.monotonic() + patience, self._deframer.damaged, 0, 0
        while self._deframer.damaged == damaged:
            # A busy computer may not read before the deadline: bytes that have arrived by then still count.
            time_is_up = time.monotonic() >= deadline
            data = line.read(max(1, line.in_waiting))
            received += len(data)
            late += len(data) if time_is_up else 0
            for frame in self._deframer.feed(data):
                if frame.kind == kind and frame.sequence == self._sequence:
                    raise LinkError(f"{self._where} echoes what is sent to it: are rx and tx connected?")
                if frame.sequence == self._sequence and frame.kind in _ANSWERS[kind]:
                    return frame, received
            if time_is_up and (not data or late > longest):
                break
        return None, received

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
                    f"come back, {(len(raw) - sent) // link_bytes} have not been sent"
                )
            else:
                # The machine is computing: do not flood the line with polls.
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
