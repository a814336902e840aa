"""Wall-clock timing that tolerates other load on the computer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["LEAST", "shortest"]

LEAST = 0.3
"""default for the seconds for which `shortest` repeats a function"""
_CALLS = 3


def shortest(function: Callable[[], Any], *, least: float | None = None) -> float:
    """Return the shortest wall time of repeated calls of `function`, in seconds.

    The shortest time is the best estimate because other programs only make a call longer. After an untimed first call,
    the function is called at least three times, and until `least` seconds have passed.
    """
    function()
    times: list[float] = []
    end = time.perf_counter() + (LEAST if least is None else least)
    while len(times) < _CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
