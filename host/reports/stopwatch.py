"""Wall-clock timing that tolerates other load on the computer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["LEAST", "Timing", "measured", "shortest"]

LEAST = 0.3
"""default for the seconds for which a function is repeated"""
_CALLS = 3


@dataclass(frozen=True)
class Timing:
    """Wall times of repeated calls of a function, in seconds; of one input, if they were divided by their number."""

    median: float
    spread: float
    """half the distance from the first quartile to the third"""
    calls: int

    def per(self, inputs: int) -> Timing:
        """Return the times of one of `inputs` inputs that a call computes."""
        return Timing(self.median / inputs, self.spread / inputs, self.calls)

    def to_dict(self) -> dict[str, float]:
        """Return all figures by name, in seconds."""
        return {"seconds": self.median, "spread": self.spread, "calls": self.calls}


def measured(function: Callable[[], Any], *, least: float | None = None) -> Timing:
    """Time calls of `function`, after an untimed first one: at least three, for at least `least` seconds."""
    times = sorted(_times(function, least))
    first, median, third = statistics.quantiles(times, method="inclusive")
    return Timing(median, (third - first) / 2, len(times))


def shortest(function: Callable[[], Any], *, least: float | None = None) -> float:
    """Return the shortest wall time of the calls that `measured` times, in seconds.

    It is the best estimate of what the function itself takes, because other programs only make a call longer.
    """
    return min(_times(function, least))


def _times(function: Callable[[], Any], least: float | None) -> list[float]:
    function()
    times: list[float] = []
    end = time.perf_counter() + (LEAST if least is None else least)
    while len(times) < _CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times
