"""What happened when: the events of runs, from which everything else about any cycle follows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from etchnet.hdl.isa import Drain, Pass, RunCommand, Target

__all__ = ["NEVER", "History", "LinkWrite", "RunHistory"]

NEVER = 1 << 60
"""the cycle of what has not happened yet"""


@dataclass(frozen=True)
class LinkWrite:
    """One packet that wrote a memory."""

    target: Target
    address: int
    half: int
    """half of the input memory"""
    cycles: np.ndarray
    """cycle in which each link word was on the loader's bus with its strobe, int64 (words, chunks); the word shows from
    the next cycle on"""
    words: np.ndarray
    """uint32 (words, chunks, link_bits / 32)"""


@dataclass
class RunHistory:
    """One run, repeat by repeat."""

    passes: list[Pass]
    drains: list[Drain]
    start: int
    """cycle in which the run was taken from the loader"""
    command: RunCommand
    issues: list[np.ndarray] = field(default_factory=list)
    """for each repeat that has begun, the cycle of the decision that issued the first pixel of each pass, `NEVER` while
    it waits for the link: int64 (passes,)"""
    halves: list[np.ndarray] = field(default_factory=list)
    """for each repeat that has begun, the half of the input memory that each pass reads"""
    finish: int = NEVER
    """cycle in which the last result was written"""


@dataclass
class History:
    """All that an engine went through since reset."""

    runs: list[RunHistory] = field(default_factory=list)
    writes: list[LinkWrite] = field(default_factory=list)
