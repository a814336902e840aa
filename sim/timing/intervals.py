"""The interval map of the timing model: for every row of a memory, the cycle of its last access."""

from __future__ import annotations

import numpy as np

__all__ = ["INDICES", "NEVER", "CycleMap", "Rows", "Steps"]

NEVER = -(1 << 40)
"""the cycle of an access that has not happened: earlier than all others"""

INDICES = np.arange(1 << 16)
"""0, 1, 2, ...: at least as many as a drain can read rows; sliced instead of allocated"""
INDICES.flags.writeable = False

Rows = tuple[int, int]
"""A half-open range of rows or words: first, stop."""

Steps = int | np.ndarray
"""Cycles of a run's rows, relative to its base: a whole number times i for row i, or entry i of an int64 array."""

_Run = tuple[int, Steps]
"""Base, steps: row i of the run has cycle `base` + the i-th step."""


def _last(rows: Rows, run: _Run) -> int:
    """Return the cycle of the last row of a run."""
    base, steps = run
    return base + (steps * (rows[1] - rows[0] - 1) if isinstance(steps, int) else int(steps[-1]))


class CycleMap:
    """A map from disjoint runs of rows to the cycle in which each row was last accessed.

    An access proceeds along neighbouring rows at a known pace, so a run does not store a cycle for every row: it stores
    a base cycle and the steps from it.
    """

    __slots__ = ("_runs",)

    def __init__(self, runs: dict[Rows, _Run] | None = None) -> None:
        self._runs = {} if runs is None else runs

    def copy(self) -> CycleMap:
        """Return an independent copy."""
        return CycleMap(dict(self._runs))

    def pending(self, cycle: int) -> CycleMap:
        """Return a copy that keeps only the runs with an access later than `cycle`."""
        return CycleMap({rows: run for rows, run in self._runs.items() if _last(rows, run) > cycle})

    def shifted(self, by: int) -> CycleMap:
        """Return a copy in which every access happens `by` cycles later."""
        return CycleMap({rows: (base + by, steps) for rows, (base, steps) in self._runs.items()})

    def state_key(self, cycle: int) -> frozenset[object]:
        """Return a hashable form of the runs that are pending at `cycle`, with their bases relative to it."""
        return frozenset(
            (rows, run[0] - cycle, run[1] if isinstance(run[1], int) else run[1].tobytes())
            for rows, run in self._runs.items()
            if _last(rows, run) > cycle
        )

    def assign(self, rows: Rows, base: int, steps: Steps) -> None:
        """Set the cycle of row `rows[0]` + i to `base` plus the i-th step."""
        runs = self._runs
        if rows not in runs:
            first, stop = rows
            for (a, b), (at, s) in [item for item in runs.items() if item[0][0] < stop and first < item[0][1]]:
                del runs[a, b]
                if a < first:
                    runs[a, first] = at, s if isinstance(s, int) else s[: first - a]
                if stop < b:
                    runs[stop, b] = (at + s * (stop - a), s) if isinstance(s, int) else (at, s[stop - a :])
        runs[rows] = base, steps

    def earliest_base(self, rows: Rows, steps: Steps) -> int:
        """Return the smallest base with which an access with these steps reaches no row before the row's cycle.

        It is the maximum, over the rows in the map, of the row's cycle less its step; `NEVER` if no row is in the map.
        """
        run = self._runs.get(rows)
        if run is not None and isinstance(steps, int) and isinstance(run[1], int):
            slope = run[1] - steps
            return run[0] + slope * (rows[1] - rows[0] - 1) if slope > 0 else run[0]
        first, stop = rows
        found = NEVER
        for (a, b), (at, s) in self._runs.items():
            if a < stop and first < b:
                low, high = max(a, first), min(b, stop)
                if isinstance(s, int) and isinstance(steps, int):
                    at_low = at + s * (low - a) - steps * (low - first)
                    found = max(found, at_low, at_low + (s - steps) * (high - 1 - low))
                else:
                    cycles = s * INDICES[low - a : high - a] if isinstance(s, int) else s[low - a : high - a]
                    less = (
                        steps * INDICES[low - first : high - first]
                        if isinstance(steps, int)
                        else steps[low - first : high - first]
                    )
                    found = max(found, at + int((cycles - less).max()))
        return found

    def is_assigned(self, rows: Rows) -> bool:
        """Return whether every row has been accessed."""
        if rows in self._runs:
            return True
        first, stop = rows
        inside = sum(min(b, stop) - max(a, first) for a, b in self._runs if a < stop and first < b)
        return inside == stop - first
