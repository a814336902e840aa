"""The CPU of this computer: its name, its load, and the threads that numpy may use."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from etchnet.host.reports.runtimes import Runtime, titled

__all__ = ["Cpu", "on_numpy"]

_BUSY = 0.5
"""load per core from which other programs make times too long"""


@dataclass(frozen=True)
class Cpu:
    """A CPU, and the load on it before anything was timed."""

    name: str
    cores: int
    load: float | None
    """number of programs that wanted to run, averaged over the last minute; None if the system does not say"""

    @classmethod
    def now(cls) -> Cpu:
        """Return this computer's CPU and its load."""
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        return cls(_name(), os.cpu_count() or 1, load)

    @property
    def busy(self) -> bool:
        """Whether other programs are likely to disturb measurements."""
        return self.load is not None and self.load > _BUSY * self.cores

    def __str__(self) -> str:
        """Return name, cores and load, with a warning if the CPU is busy."""
        text = f"this CPU: {self.name}, {self.cores} core{'s'[: self.cores != 1]}"
        if self.load is None:
            return text
        warning = ": BUSY with other programs, so the times measured on it are too long" * self.busy
        return f"{text}, load average {self.load:.1f}{warning}"


def _name() -> str:
    """Return the model of this CPU as the system names it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def on_numpy(name: str, run: Callable[[], np.ndarray], *, threads: tuple[int, ...] | None = None) -> Iterator[Runtime]:
    """Yield `run` as a runtime on each number of BLAS threads, by default one and as many as there are cores.

    The limit holds until the next runtime is asked for. Threads that wait for each other make small products slow, and
    slower still on a busy computer; a runtime's title states the number that BLAS accepted.
    """
    seen = set()
    for wanted in threads or (1, os.cpu_count() or 1):
        with _blas_threads(wanted) as used:
            if used not in seen:
                seen.add(used)
                yield Runtime(titled(name, used), lambda: [run()])


@contextmanager
def _blas_threads(wanted: int) -> Iterator[int]:
    """Limit numpy's BLAS to a number of threads; yields the number that it uses."""
    with threadpool_limits(wanted, user_api="blas"):
        pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        yield max(pools, default=1)
