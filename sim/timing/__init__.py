"""The timing of a program: when each pass may start, and how many cycles a run takes.

Everything here follows from the config and the program: no cycle count depends on data. All latencies come from the
gateware's own components.
"""

from etchnet.sim.timing.check import check
from etchnet.sim.timing.counts import DrainCycles, drain_cycles, run_counts, tail
from etchnet.sim.timing.drains import drain_pace, drain_words, drains_of
from etchnet.sim.timing.errors import ProgramError
from etchnet.sim.timing.footprint import GroupFootprint, InterleavedPasses, words_read
from etchnet.sim.timing.latencies import Latencies
from etchnet.sim.timing.schedule import schedule
from etchnet.sim.timing.timeline import IdleCycles, Timeline

__all__ = [
    "DrainCycles",
    "GroupFootprint",
    "IdleCycles",
    "InterleavedPasses",
    "Latencies",
    "ProgramError",
    "Timeline",
    "check",
    "drain_cycles",
    "drain_pace",
    "drain_words",
    "drains_of",
    "run_counts",
    "schedule",
    "tail",
    "words_read",
]
