"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES
from pathlib import Path

from etchnet.hdl.isa.errors import EtchnetError

__all__ = ["ReaderLeftError", "replacing", "write_bytes", "write_text"]


class ReaderLeftError(EtchnetError, RuntimeError):
    """Error for a pipe whose reader closed it before everything was written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; its file becomes `path` when the block ends without an exception.

    The temporary file is in the same folder, has the same suffix and is removed after any exception, interruption
    included: `path` then keeps its old contents. An existing file passes on its permissions; hard links to it keep the
    old contents.

    Only regular files are replaced. Where `path` is a symbolic link, the file it points to is. A FIFO or a device is
    written directly: its own path is yielded, and what has been written before an exception stays written.

    Raises
    ------
    OSError
        The file cannot be written. The error names `path`, never the temporary file.
    ReaderLeftError
        `path` is a pipe that its reader closed too early.
    """
    if path.exists() and not path.is_file():
        try:
            with _naming(path, path):
                yield path
        except BrokenPipeError:
            raise ReaderLeftError(f"{path}: its reader left before everything was written") from None
        return
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    partial = target.with_name(f".partial-{secrets.token_hex(4)}{target.suffix}")
    try:
        with _naming(path, partial):
            exists = target.exists()
            if exists and not os.access(target, os.W_OK):
                raise PermissionError(EACCES, os.strerror(EACCES))
            yield partial
            if exists:
                shutil.copymode(target, partial)
            partial.replace(target)
    finally:
        with suppress(OSError):
            partial.unlink()


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 text file as `replacing` does; returns `path`."""
    return write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file as `replacing` does; returns `path`."""
    with replacing(path) as partial:
        partial.write_bytes(data)
    return path


@contextmanager
def _naming(path: Path, written: Path) -> Iterator[None]:
    """Make errors of the file system that name `written`, or no file at all, name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(error.filename) == str(written)):
            error.filename = str(path)
            if error.filename2 is not None:
                del error.filename2
        raise
