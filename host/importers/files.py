"""Reading model files of any format: a limit on their size, and one kind of error for whatever a parser raises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from etchnet.host.network.model import Model, ModelError

__all__ = ["Parser", "parse_guarded", "read_file"]

_LARGEST_FILE = 1 << 28


class Parser(Protocol):
    """A function that makes a model from the bytes of a file."""

    def __call__(self, data: bytes, *, name: str = ...) -> Model:
        """Parse a file; error messages call it `name`. Raises ModelError."""


def read_file(path: Path, parse: Parser) -> Model:
    """Read a file and parse it.

    Raises
    ------
    ModelError
        The file cannot be read, is damaged, or uses an unsupported feature; the message names the operator, its index
        and the reason.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise ModelError(f"{path} has {size} bytes; at most {_LARGEST_FILE} are supported")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from None
    return parse(data, name=path.name)


def parse_guarded(name: str, parse: Callable[[], Model]) -> Model:
    """Return the result of `parse`; any exception that a damaged file causes becomes a ModelError that names it."""
    try:
        return parse()
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # numpy, struct, protobuf and flatbuffers raise many kinds for damaged files
        raise ModelError(f"{name} is damaged: {type(error).__name__}: {error}") from None
