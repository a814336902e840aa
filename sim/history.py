"""What happened when: the events of runs, from which everything else about any cycle follows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from etchnet.hdl.isa import Drain, Pass, Target

__all__ = ["History", "LinkWrite", "RunHistory"]


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
    output_words: int
    issues: list[np.ndarray] = field(default_factory=list)
    """for each repeat, the cycle of the decision that issued the first pixel of each pass: int64 (passes,)"""
    halves: list[np.ndarray] = field(default_factory=list)
    """for each repeat, the half of the input memory that each pass reads"""
    finish: int = -1
    """cycle in which the last result was written"""


@dataclass
class History:
    """All that an engine went through since reset."""

    runs: list[RunHistory] = field(default_factory=list)
    writes: list[LinkWrite] = field(default_factory=list)
