"""The parts of the machine that the exact engine's processes share."""

from __future__ import annotations

from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.exact.program import ProgramMemory
from etchnet.sim.engines.exact.results import DataMemories
from etchnet.sim.engines.exact.tokens import MachineTokens, Progress
from etchnet.sim.engines.history import History

__all__ = ["SharedState"]


class SharedState:
    """The semaphores and memories that all processes use.

    Attributes
    ----------
    config
        The machine.
    history
        The record of events; None if none is kept.
    progress
        The count of everything that happens.
    tokens
        The semaphores between the processes.
    programs
        The memories of passes and drains.
    data
        The other memories, and the results computed from them.
    """

    def __init__(self, config: Config, history: History | None) -> None:
        self.config, self.history = config, history
        self.progress = Progress()
        self.tokens = MachineTokens(self.progress)
        self.programs = ProgramMemory(config)
        self.data = DataMemories(config)
