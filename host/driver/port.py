"""Serial ports: their names with options, and how they are opened."""

from __future__ import annotations

import contextlib
import errno
import math
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qsl

from etchnet.sim.engines.link import LinkError
from etchnet.sim.engines.verilated import MissingToolError

__all__ = ["Port", "check_options", "open_port", "parse_port"]

_POLL = 0.02
"""seconds that a read waits for its first byte"""


class Port(Protocol):
    """The methods of `serial.Serial` that the engine uses."""

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read without waiting."""
        ...

    def read(self, size: int = 1, /) -> bytes:
        """Read at most `size` bytes; return no bytes if none arrives for a short time."""
        ...

    def write(self, data: bytes, /) -> int | None:
        """Send bytes."""
        ...

    def close(self) -> None:
        """Close the port."""
        ...


def parse_port(text: str) -> tuple[str, dict[str, Any]]:
    """Split text such as ``/dev/ttyUSB0?baud=1000000`` into a port and options of `SerialEngine`.

    Raises ValueError, whose message names the option and what it must be.
    """
    port, _, query = text.partition("?")
    if not port:
        raise ValueError("engine serial needs a port, such as serial:/dev/ttyUSB0")
    numbers: dict[str, Callable[[str], Any]] = {"baud": int, "latency": float, "patience": float, "retries": int}
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in numbers:
            raise ValueError(f"engine serial has the options {', '.join(numbers)}, not {name!r}")
        try:
            options[name] = numbers[name](value)
        except ValueError:
            raise ValueError(f"{name} must be a number, not {value!r}") from None
    check_options(**options)
    return port, options


def check_options(*, retries: int = 0, **positive: float) -> None:
    """Raise ValueError if an option is not positive and finite, or `retries` is negative."""
    for option, value in positive.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{option} must be positive, not {value!r}")
    if retries < 0:
        raise ValueError(f"retries must not be negative, not {retries!r}")


def open_port(port: str, baud: int) -> Port:
    """Open a serial port.

    Raises
    ------
    LinkError
        The port does not exist, or cannot be opened.
    MissingToolError
        pyserial is not installed.
    """
    try:
        import serial
    except ImportError:
        raise MissingToolError("engine 'serial' needs pyserial: pip install 'etchnet[serial]'") from None
    try:
        line = serial.serial_for_url(port, baudrate=baud, timeout=_POLL, exclusive=True)
    except (serial.SerialException, OSError) as error:
        raise LinkError(_explain(port, error)) from None
    except ValueError as error:
        raise LinkError(f"cannot open serial port {port} at {baud:,} baud: {error}") from None
    # In this mode USB adapters collect bytes for 1 ms, not 16 ms, before they forward them. Not all ports have it.
    with contextlib.suppress(AttributeError, NotImplementedError, ValueError, OSError):
        line.set_low_latency_mode(True)
    return line


def _explain(port: str, error: OSError) -> str:
    """Return a message that says why a port cannot be opened."""
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
