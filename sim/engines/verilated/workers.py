"""The processes of one build: none of them, and no half-written file, outlives it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

__all__ = ["Workers", "processors"]

_GUARD = """\
import os, shutil, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.stdin.readline()
for _ in range(100):
    os.killpg(0, signal.SIGTERM)
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    if not os.path.exists(sys.argv[1]):
        break
    time.sleep(0.05)
"""
"""Program that ends its process group and removes a folder, once its standard input has a line or ends."""

P = ParamSpec("P")
T = TypeVar("T")


def processors() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


class Workers:
    """A temporary folder, and tools that run in it at the same time, for the duration of a `with` block.

    The tools are in a process group of their own, led by a small process that waits for this one. However the block
    ends, also by an interruption or because this process is killed, that process ends the tools and removes the folder.

    Parameters
    ----------
    parent
        The existing folder in which the temporary folder is made.

    Attributes
    ----------
    folder
        The temporary folder.
    group
        The process group that ends with the block: tools must be started in it.
    """

    def __init__(self, parent: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=parent, prefix="build-"))
        try:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _GUARD, self.folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.group = self._guard.pid
        self._pool = ThreadPoolExecutor(processors())

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        with suppress(OSError):
            self._guard.communicate(b"\n")
        self._pool.shutdown()

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in another thread; there are as many threads as processors."""
        return self._pool.submit(function, *args, **kwargs)
