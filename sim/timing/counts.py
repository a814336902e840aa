"""The counters of a run, from the program alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.isa import Counter, Drain, Pass
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing.drains import drain_pace, drains_of
from etchnet.sim.timing.latencies import Latencies

__all__ = ["DrainCycles", "drain_cycles", "run_counts", "tail"]


class DrainCycles(NamedTuple):
    """The cycles that chained drains take."""

    total: int
    """cycles to the write of the last result word, from a start that each function defines"""
    reading: int
    """cycles in which the output stage reads"""


def drain_cycles(drains: Sequence[Drain], config: Config) -> DrainCycles:
    """Return the cycles of chained drains, from the first read to the write of the last word."""
    reading, end = 0, 0
    chain = DrainWalk.chain_delay(config)
    for index, drain in enumerate(drains):
        cycles = drain.tiles * drain.pixels * drain_pace(drain, config)
        end += cycles + (chain - 1 + drain.idle if index else 0)
        reading += cycles
    last = drains[-1]
    last_read = end - drain_pace(last, config) + config.groups - 1
    total = last_read + OutputStage.latency(config) + config.words_per_pixel(wide=last.wide) - 1
    return DrainCycles(total, reading)


def tail(passes: Sequence[Pass], drains: Sequence[Drain], config: Config) -> DrainCycles:
    """Return the cycles of a program's last drains, from the end of the last pass's slot to its last result."""
    lat, last = Latencies.of(config), passes[-1]
    cycles, reading = drain_cycles([drains[i] for i in drains_of(passes, drains)[-1]], config)
    from_last_pixel = lat.decide + lat.drain_delay + cycles
    return DrainCycles(from_last_pixel - (config.pass_cycles(last.pixels) - last.pixels), reading)


def run_counts(
    passes: Sequence[Pass], drains: Sequence[Drain], config: Config, *, repeats: int = 1
) -> dict[Counter, int]:
    """Return every counter of a run that never waits for its links.

    Waits for the links add only to `Counter.CYCLES` and to `WAIT_IN` or `WAIT_OUT`.

    Parameters
    ----------
    passes, drains
        A scheduled program.
    config
        The machine.
    repeats
        How often the program runs, back to back.
    """
    counts = dict.fromkeys(Counter, 0)
    for p in passes:
        counts[Counter.ISSUE] += p.pixels
        counts[Counter.USEFUL] += p.sums(config) * p.useful
        counts[Counter.WEIGHT_LOAD] += config.pass_cycles(p.pixels) - p.pixels
        counts[Counter.REQUANTISE] += p.idle_requantise
        counts[Counter.FILL_DRAIN] += p.idle
    counts = {counter: count * repeats for counter, count in counts.items()}
    total, reading = tail(passes, drains, config)
    counts[Counter.REQUANTISE] += reading
    counts[Counter.FILL_DRAIN] += total - reading + Latencies.of(config).fetch - 1
    counts[Counter.CYCLES] = sum(counts[c] for c in Counter if c not in (Counter.CYCLES, Counter.USEFUL))
    return counts
