"""The history of an engine: the events that determine the state of every register in every cycle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from etchnet.hdl.isa import Drain, Pass, RunCommand, Target

__all__ = ["NEVER", "History", "LinkWrite", "RunHistory"]

NEVER = 1 << 60
"""the cycle of an event that has not happened yet"""


@dataclass(frozen=True)
class LinkWrite:
    """One packet that wrote a memory.

    Attributes
    ----------
    target
        The memory.
    address
        The first memory word.
    half
        The half of the input memory; 0 for other memories.
    cycles
        The cycle in which each link word was on the loader's bus with its strobe: int64 (words, chunks). The memory
        shows it from the next cycle on.
    words
        uint32 (words, chunks, link_bits / 32).
    """

    target: Target
    address: int
    half: int
    cycles: np.ndarray
    words: np.ndarray


@dataclass
class RunHistory:
    """One run, repeat by repeat.

    Attributes
    ----------
    passes, drains
        The program.
    start
        The cycle in which the run was taken from the loader.
    command
        The RUN command.
    issues
        For each repeat that has begun, the cycle of the decision that issued the first pixel of each pass: int64
        (passes,). `NEVER` while the pass waits for the link.
    halves
        For each repeat that has begun, the half of the input memory that each pass reads: int64 (passes,).
    finish
        The cycle in which the last result was written; `NEVER` before.
    """

    passes: list[Pass]
    drains: list[Drain]
    start: int
    command: RunCommand
    issues: list[np.ndarray] = field(default_factory=list)
    halves: list[np.ndarray] = field(default_factory=list)
    finish: int = NEVER

    @property
    def origin(self) -> int:
        """Cycle since reset of the run's first cycle, which reports and traces call cycle 0."""
        return self.start + 1


@dataclass
class History:
    """All events of an engine since reset: its runs, and the packets that wrote memories."""

    runs: list[RunHistory] = field(default_factory=list)
    writes: list[LinkWrite] = field(default_factory=list)
