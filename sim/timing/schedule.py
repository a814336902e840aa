"""The scheduler: the smallest idle cycles with which a program runs correctly."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from etchnet.hdl.isa import Drain, Pass
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing.drains import drains_of
from etchnet.sim.timing.footprint import footprints
from etchnet.sim.timing.timeline import Timeline

__all__ = ["schedule"]


def schedule(
    passes: Sequence[Pass], drains: Sequence[Drain], config: Config, *, once: bool = False
) -> tuple[list[Pass], list[Drain]]:
    """Return the same program with the idle cycles that each pass and drain needs, and no more.

    The program is placed twice in a row, and each pass keeps the longer of its two waits, so that the program may run
    any number of times back to back.

    Parameters
    ----------
    passes, drains
        The program, in order; its idle cycles are ignored.
    config
        The machine.
    once
        Whether the program runs only once per command; then its first passes need not wait for its own last drains.

    Raises
    ------
    ProgramError
        No idle cycles make the program correct.
    """
    timeline = Timeline(config)
    started = drains_of(passes, drains)
    placed = footprints(passes, drains, started, config)
    repeats = 1 if once else 2
    idle = np.zeros((repeats, len(passes), 2), dtype=np.int64)
    drain_idle = np.zeros((repeats, len(drains)), dtype=np.int64)
    for repeat in range(repeats):
        for index, (p, its_drains) in enumerate(placed):
            others, requantising, of_drains = timeline.place(p, its_drains, index)
            if others or requantising:
                idle[repeat, index] = others, requantising
            if its_drains:
                drain_idle[repeat, started[index]] = of_drains
    longer = idle.sum(axis=2).argmax(axis=0)
    kept = idle[longer, np.arange(len(passes))].tolist()
    # Most instructions already have the right idle cycles, and replacing an instruction is slow.
    return [
        p
        if (p.idle, p.idle_requantise) == (others, requantising)
        else dataclasses.replace(p, idle=others, idle_requantise=requantising)
        for p, (others, requantising) in zip(passes, kept, strict=True)
    ], [
        d if d.idle == waits else dataclasses.replace(d, idle=waits)
        for d, waits in zip(drains, drain_idle.max(axis=0).tolist(), strict=True)
    ]
