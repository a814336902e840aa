"""Wall times on a computer that others use too."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["LEAST", "shortest"]

LEAST = 0.3
"""seconds for which a function is called again and again, where the caller says nothing else"""
_CALLS = 3


def shortest(function: Callable[[], Any], *, least: float | None = None) -> float:
    """Return the shortest wall time of repeated calls, in seconds: other programs only ever make a call longer.

    After a first call that does not count, there are at least three, and as many as `least` seconds take.
    """
    function()
    times: list[float] = []
    end = time.perf_counter() + (LEAST if least is None else least)
    while len(times) < _CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
