"""Serial lines to the gateware, for the tests: with faults, and as pseudo-terminals."""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass
class Faults:
    """The faults of one direction of a line; `rate` is the share of bytes at which one happens."""

    rate: float = 0.0
    seed: int = 0
    kinds: tuple[str, ...] = ("drop", "flip", "insert", "repeat", "burst", "silence")
    until: int | None = None
    """bytes after which there are no more faults"""

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._seen = 0
        self._silent = 0
        self._recent = b""
        self.happened = 0

    def __call__(self, data: bytes) -> bytes:
        """Return what arrives when `data` is sent."""
        if not self.rate:
            return data
        random, out = self._random, bytearray()
        for byte in data:
            self._seen += 1
            self._recent = (self._recent + bytes([byte]))[-40:]
            if self._silent:
                self._silent -= 1
                continue
            if (self.until is not None and self._seen > self.until) or random.random() >= self.rate:
                out.append(byte)
                continue
            self.happened += 1
            match random.choice(self.kinds):
                case "drop":
                    pass
                case "flip":
                    out.append(byte ^ int(random.integers(1, 256)))
                case "insert":
                    # Flags and escapes do the most damage.
                    extra = random.choice([0x7E, 0x7D, 0x5E, 0x5D, int(random.integers(256))])
                    out += bytes([byte, int(extra)])
                case "repeat":
                    out += bytes([byte, byte])
                case "burst":
                    out += self._recent + random.bytes(int(random.integers(0, 20)))
                case "silence":
                    self._silent = int(random.integers(1, 60))
        return bytes(out)


class MemoryPort:
    """A serial port in memory, connected to a board: `step(data)` takes bytes and returns the bytes that it sends.

    After a share `late` of all writes, the answer arrives only after the next write.
    """

    name = "memory"
    in_waiting = 0

    def __init__(
        self,
        step: Callable[[bytes], bytes],
        *,
        to_board: Faults | None = None,
        to_host: Faults | None = None,
        late: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._step, self._to_board, self._to_host = step, to_board or Faults(), to_host or Faults()
        self._late, self._random = late, np.random.default_rng(seed)
        self._waiting = b""
        self.written = 0

    def write(self, data: bytes, /) -> int:
        self.written += len(data)
        held, self._waiting = self._waiting, b""
        out = self._to_host(self._step(self._to_board(data)))
        if self._random.random() < self._late:
            self._waiting = out
            out = b""
        self._ready = getattr(self, "_ready", b"") + held + out
        self.in_waiting = len(self._ready)
        return len(data)

    def read(self, size: int = 1, /) -> bytes:
        data, self._ready = self._ready[:size], self._ready[size:]
        self.in_waiting = len(self._ready)
        return data

    def close(self) -> None:
        pass


class Terminal:
    """A pseudo-terminal, `name`, connected to a board: `step(data)` takes bytes and returns the bytes that it sends."""

    def __init__(
        self, step: Callable[[bytes], bytes], *, to_board: Faults | None = None, to_host: Faults | None = None
    ) -> None:
        self._step, self._to_board, self._to_host = step, to_board or Faults(), to_host or Faults()
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.name = os.ttyname(self._slave)
        self._stop = threading.Event()
        os.set_blocking(self._master, False)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    data = os.read(self._master, 4096)
                except BlockingIOError:
                    data = b""
                out = self._to_host(self._step(self._to_board(data)))
                while out:
                    try:
                        out = out[os.write(self._master, out) :]
                    except BlockingIOError:
                        self._stop.wait(0.001)
                if not data:
                    self._stop.wait(0.0005)
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Terminal:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)
        if self.error is not None:
            raise self.error
