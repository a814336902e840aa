"""The state of the machine in any cycle, in closed form: every register and memory, bubbles included.

Time does not depend on data, so a run is a list of events: what was decided when. From the events follows what entered
every pipeline when, and a register is what entered its pipeline some cycles ago, or what was written to it last. The
pages of `docs/` say so register by register.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etchnet.hdl.config import Config
from etchnet.hdl.isa import Destination, Pass
from etchnet.sim.exact import ExactEngine
from etchnet.sim.history import History
from etchnet.sim.state_array import ArrayState
from etchnet.sim.state_banks import BankState
from etchnet.sim.state_events import Events
from etchnet.sim.state_issue import Issue
from etchnet.sim.state_memories import DrainMemory
from etchnet.sim.state_output import OutputState
from etchnet.sim.state_registers import Register, Rows
from etchnet.sim.state_results import DrainResults

__all__ = ["UNCOVERED", "ElementState", "MachineState"]

UNCOVERED = (
    r"loader\..*",
    r"sender\..*",
    r"results\.memory\.read__data",
    r"counters\..*",
    r"(input|output|weights)_(free|full)\.count",
    r"(passes|drains)\.(?!head).*",
    r"sequencer\.(?!pixel$|request$|fold$).*",
)
"""Patterns of the registers that are not covered: the links' two ends and what waits between them; the counters; how
instructions are fetched; and the sequencer's own counters, of which `pixel`, `request` and `fold` are the outcome."""


@dataclass(frozen=True)
class ElementState:
    """What one processing element multiplies in a cycle, of which pixel of which pass."""

    operand: int
    weight: int
    product: int
    sum: int
    """the sum that it adds to: of the pixel's products in the rows above"""
    run: int
    """run since reset; -1 before the first pass"""
    repeat: int
    """repeat of the run"""
    number: int
    """pass of the program"""
    work: Pass | None
    """the pass whose tile the element multiplies by"""
    pixel: int
    """pixel of the pass; -1 in a bubble"""
    word: int
    """word of the input or activation memory that the pixel was read from; -1 where it is not read, or in a bubble"""
    weight_word: int
    """word of the weight memory that the weight was read from; -1 of a tile that is not stored"""
    bank: int
    row: int
    """accumulator row that takes the pixel's sum; -1 where none does"""


class MachineState:
    """Every register of the array, the accumulators, the output stage and the memories, at any cycle of a history.

    A query costs as much as the sum that it asks for has terms; no cycle is stepped through. The results of drains are
    computed for a whole repeat, when one of them is first needed.

    A register is named as in the waveforms that Amaranth's simulator writes of `hdl.accelerator.Accelerator`, without
    the numbers that it appends where a name comes twice. A row of a memory is named `memory[row]`, and a field of a
    register `register.field`. Values are whole numbers; of registers of several lanes, the first lane lowest.

    Parameters
    ----------
    history
        What happened when, of an `ExactEngine` with `history`; what comes later is not seen.
    config
        The machine.
    cycles
        The last cycle whose state is known, or None: any.
    """

    def __init__(self, history: History, config: Config, *, cycles: int | None = None) -> None:
        self.config, self._cycles = config, cycles
        self._events = events = Events(history, config)
        results = DrainResults(events)
        stored = {d: DrainMemory(events, results, d) for d in Destination if d is not Destination.ACCUMULATORS}
        self._issue = issue = Issue(events, stored[Destination.ACTIVATION])
        self._array = ArrayState(events, issue)
        self._output = OutputState(events, issue, results, stored[Destination.RESIDUAL])
        self._banks = [BankState(i, events, issue, self._array, self._output, results) for i in range(2)]
        self._output.banks = [bank.data for bank in self._banks]
        parts: list[Issue | ArrayState | OutputState | BankState] = [issue, self._array, *self._banks, self._output]
        self._registers: dict[str, Register] = {}
        self._memories: dict[str, Rows] = {
            "activation.memory": stored[Destination.ACTIVATION].rows(),
            "results.memory": stored[Destination.OUTPUT].rows(),
        }
        if config.residual_words:
            self._memories["residual.memory"] = stored[Destination.RESIDUAL].rows()
        for part in parts:
            self._registers |= part.registers()
            self._memories |= part.memories()
        self._registers |= events.registers()
        self._memories |= events.memories_by_name()

    @classmethod
    def of(cls, engine: ExactEngine) -> MachineState:
        """The state of all cycles that an engine has gone through; raises ValueError for one that kept no history."""
        if engine.history is None:
            raise ValueError("an engine keeps its history only if it is made with history=True")
        return cls(engine.history, engine.config, cycles=engine.cycle)

    # Names

    def registers(self) -> list[str]:
        """The names of all registers."""
        return list(self._registers)

    def memories(self) -> dict[str, int]:
        """The names of all memories, and how many words they have."""
        return {name: rows.depth for name, rows in self._memories.items()}

    def width(self, name: str) -> int:
        """Bits of a register, or of a word of a memory."""
        if (memory := self._memories.get(name.partition("[")[0])) is not None:
            return memory.width
        return self._register(name).width

    # Values

    def value(self, name: str, cycle: int) -> int:
        """What a register, a field of one, or a row of a memory holds in a cycle, before the edge that ends it.

        Raises
        ------
        ValueError
            There is no such register or row, or the cycle is not one of the history's.
        """
        self._check(cycle)
        memory, _, row = name.removesuffix("]").partition("[")
        if row.isdecimal() and memory in self._memories and int(row) < self._memories[memory].depth:
            return self._memories[memory].word(int(row), cycle)
        return self._register(name).value(cycle)

    def _register(self, name: str) -> Register:
        if (found := self._registers.get(name)) is not None:
            return found
        for whole, register in self._registers.items():
            if name.startswith(f"{whole}.") and (found := register.field(name.removeprefix(f"{whole}."))) is not None:
                return found
        raise ValueError(f"there is no register {name!r}")

    def _check(self, cycle: int) -> None:
        if cycle < 0 or (self._cycles is not None and cycle > self._cycles):
            raise ValueError(f"the cycle must be from 0 to {self._cycles}, not {cycle}")

    def array(self, cycle: int) -> dict[str, np.ndarray]:
        """All elements: `weight`, `activation` (on its way right) and `total`, int32 (rows, columns)."""
        self._check(cycle)
        return self._array.values(cycle)

    def accumulators(self, bank: int, cycle: int) -> np.ndarray:
        """All rows of a bank: int32 (accumulator_rows, columns)."""
        self._check(cycle)
        return np.stack([self._banks[bank].row(row, cycle) for row in range(self.config.accumulator_rows)])

    def memory(self, name: str, cycle: int) -> list[int]:
        """All words of a memory."""
        self._check(cycle)
        rows = self._memories[name]
        return [rows.word(row, cycle) for row in range(rows.depth)]
