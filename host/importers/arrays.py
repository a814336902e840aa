"""Arrays from files and from standard input."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from etchnet.host.network.model import ModelError

__all__ = ["LARGEST", "STDIN", "TEXT", "is_stream", "read_array", "reading"]

STDIN = "-"
"""path that stands for standard input"""

TEXT = (".txt", ".csv")
"""suffixes of text files"""

_MAGIC, _ARCHIVE = b"\x93NUMPY", b"PK"
"""beginnings of files with one array, and of archives"""

LARGEST = 1 << 30
"""largest size of a file in bytes"""


def read_array(path: Path) -> np.ndarray:
    """Read an array from a file or a pipe, or from standard input if `path` is ``-``.

    Standard input, pipes and ``.npy`` files hold an array in numpy's format. ``.txt`` and ``.csv`` files hold one row
    per line, as numbers separated by white space or commas; whole numbers become int64, others float64.

    Raises
    ------
    ModelError
        The file does not exist, is too large, or does not hold an array.
    """
    with reading(path):
        if path.suffix in TEXT:
            return _numbers(path.read_text())
        if is_stream(path):
            return _array(io.BytesIO(_all_of(path)))
        with path.open("rb") as file:
            return _array(file)


def is_stream(path: Path) -> bool:
    """Return whether `path` is standard input or a pipe, which hold arrays in numpy's format whatever their name."""
    return str(path) == STDIN or path.is_fifo()


def _all_of(path: Path) -> bytes:
    """Return what a stream holds until its end."""
    if str(path) == STDIN:
        data = sys.stdin.buffer.read(LARGEST + 1)
    else:
        with path.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ModelError(f"{_name(path)} has more than {LARGEST} bytes, which are not supported")
    return data


def _name(path: Path) -> str:
    return "standard input" if str(path) == STDIN else str(path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors from reading the file into ModelError, and refuse files that are too large."""
    name = _name(path)
    try:
        if name == str(path) and path.stat().st_size > LARGEST:
            raise ModelError(f"{name} has {path.stat().st_size} bytes; at most {LARGEST} are supported")
        yield
    except FileNotFoundError:
        raise ModelError(f"{name} does not exist") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        if isinstance(error, ModelError):
            raise
        kind = ".npy" if name != str(path) else path.suffix or "input"
        raise ModelError(f"{name} is not a readable {kind} file: {error}") from None


def _array(file: io.BufferedIOBase | io.BytesIO) -> np.ndarray:
    begin = file.read(len(_MAGIC))
    if begin[:2] == _ARCHIVE:
        raise ValueError("it is an archive, such as an .npz file of several arrays")
    if begin != _MAGIC:
        raise ValueError("it does not begin as numpy's files do")
    file.seek(0)
    return np.asarray(np.load(file, allow_pickle=False))


def _numbers(text: str) -> np.ndarray:
    """Return the numbers of a text, one row per line; empty lines are left out."""
    lines = [line.split() for line in text.replace(",", " ").splitlines()]
    rows = [line for line in lines if line]
    try:
        return np.array([[int(number) for number in line] for line in rows], np.int64)
    except (ValueError, OverflowError):
        return np.array([[float(number) for number in line] for line in rows])
