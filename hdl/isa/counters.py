"""The machine's counters."""

from __future__ import annotations

import enum
from collections.abc import Mapping

__all__ = ["COUNTER_BITS", "Counter", "by_name"]


COUNTER_BITS = 48
"""bits of a counter"""


class Counter(enum.IntEnum):
    """Totals since the counters were last read: cycles, except `USEFUL`.

    Every cycle of a run belongs to exactly one of ISSUE, WAIT_IN, WAIT_OUT, WEIGHT_LOAD, REQUANTISE and FILL_DRAIN.
    """

    CYCLES = 0
    """from the start of a run to the cycle that writes its last result"""
    ISSUE = 1
    """a pixel enters the array"""
    USEFUL = 2
    """multiplications by weights of the network: the part of rows x columns x ISSUE that is not padding"""
    WAIT_IN = 3
    """waiting for the incoming link: an input or weights"""
    WAIT_OUT = 4
    """waiting for the outgoing link: a free half of the output memory"""
    WEIGHT_LOAD = 5
    """a pass with fewer pixels than cycles to load a tile: the rest of those cycles"""
    REQUANTISE = 6
    """idle while the output stage reads accumulators"""
    FILL_DRAIN = 7
    """any other cycle: the pipeline fills or empties"""


def by_name(counts: Mapping[Counter, int]) -> dict[str, int]:
    """Return counts keyed by the lower-case names of their counters, in the order of `Counter`, for JSON."""
    return {counter.name.lower(): counts[counter] for counter in Counter}
