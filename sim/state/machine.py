"""The state of the machine in any cycle, in closed form: every register and memory, bubbles included.

Time does not depend on data, so a run is a list of events: what was decided when. From the events follows what entered
every pipeline when, and a register is what entered its pipeline some cycles ago, or what was written to it last. The
pages of `docs/` say so register by register.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.array.element import ProcessingElement
from etchnet.hdl.isa import OUTSIDE, Destination, Fold, Pass, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.passes import is_stored
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.history import History
from etchnet.sim.state.array import ArrayState
from etchnet.sim.state.banks import BankState
from etchnet.sim.state.events import Events
from etchnet.sim.state.issue import Issue
from etchnet.sim.state.memories import DrainMemory
from etchnet.sim.state.output import OutputState
from etchnet.sim.state.registers import Register, Rows, late_rows
from etchnet.sim.state.results import DrainResults

__all__ = ["UNCOVERED", "ElementState", "MachineState"]

UNCOVERED = (
    r"loader\..*",
    r"sender\..*",
    r"results\.memory\.read__data",
    r"counters\..*|quiet|cleared",
    r"(input|output|weights)_(free|full)\.(count|available)",
    r"(passes|drains)\.(?!head).*",
    r"sequencer\.(?!pixel$|request$|fold$).*",
    r"output\.(fresh|last(_step|_pixel|_tile|)_later|to_memory|ends_now|ends_rest|resting)|(result|result_lanes|commit)_1",
    r".*\.late_(write_address|write_data|write_lanes|address|enable)_1",
)
"""Patterns of the registers that are not covered: the links' two ends and what waits between them; the counters; how
instructions are fetched; the sequencer's own counters, of which `pixel`, `request` and `fold` are the outcome; what the
output stage works out a cycle ahead; and what waits in front of a memory whose latency is 3 or more."""


@dataclass(frozen=True)
class ElementState:
    """What one processing element multiplies in a cycle, of which pixel of which pass."""

    operand: int
    weight: int
    sum: int
    """the sum of the element's column down to it, this product included: in its `total` one latency later"""
    run: int
    """run since reset, of the pass whose tile is in the element; -1 before the first"""
    repeat: int
    """repeat of the run"""
    number: int
    """number of that pass in its program"""
    work: Pass | None
    """that pass"""
    pixel: int
    """pixel of the pass that the operand belongs to; -1 in a bubble"""
    word: int
    """word of the pass's memory that the operand was read from; -1 in a bubble, and of a pixel that is not read"""
    byte: int
    """byte of that word"""
    weight_word: int
    """word of the weight memory that the weight comes from; -1 where it comes from none"""
    weight_byte: int
    """byte of that word"""
    accumulator: int
    """row of the pass's bank that takes the column's sum; -1 where it is folded into none"""


class MachineState:
    """Every register of the array, the accumulators, the output stage and the memories, at any cycle of a history.

    A query costs as much as the sum that it asks for has terms; no cycle is stepped through. The results of drains are
    computed for a whole repeat, when one of them is first needed.

    A register is named as in the waveforms that Amaranth's simulator writes of `hdl.core.machine.Machine`, without
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
            "activation.memory": late_rows(stored[Destination.ACTIVATION].rows(), config.memory_latency),
            "results.memory": late_rows(stored[Destination.OUTPUT].rows(), config.memory_latency),
        }
        if config.residual_words:
            self._memories["residual.memory"] = late_rows(
                stored[Destination.RESIDUAL].rows(), AccumulatorBank.read_latency(config)
            )
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

    def explain(self, row: int, column: int, cycle: int) -> ElementState:
        """What the element in a row and a column multiplies in a cycle, and where that comes from."""
        self._check(cycle)
        config, events, array = self.config, self._events, self._array
        if not (0 <= row < config.rows and 0 <= column < config.columns):
            raise ValueError(f"there is no element ({row}, {column}) in a {config.rows} x {config.columns} array")
        vector = cycle - row - column
        values = {
            "operand": array.operand(row, column, cycle),
            "weight": array.weight(row, column, cycle),
            "sum": array.total(row, column, cycle + ProcessingElement.latency(config)),
        }
        index = array.loaded(vector)
        if index < 0:
            nothing = dict.fromkeys(("run", "repeat", "number", "pixel", "word", "weight_word", "accumulator"), -1)
            return ElementState(**values, **nothing, work=None, byte=row, weight_byte=0)
        program, number = events.passes.program(index), int(events.passes.number[index])
        p, begin = program.passes[number], int(events.passes.begin[index]) + events.pixel_delay()
        source, byte = array.source(row, column, cycle)
        pixel = source - begin if 0 <= source - begin < p.pixels else -1
        word = int(program.walk(number)[pixel]) if pixel >= 0 else OUTSIDE
        band, offset = divmod(row, config.load_cycles)
        whole = is_stored(p.kind)
        stored = whole or (p.kind == TileKind.DIAGONAL and row == column)
        kept = np.flatnonzero(program.kept(number) == vector - begin)
        run, repeat = events.repeats[int(events.passes.repeat[index])]
        return ElementState(
            **values,
            run=run,
            repeat=repeat,
            number=number,
            work=p,
            pixel=pixel,
            word=word if word != OUTSIDE else -1,
            byte=byte,
            weight_word=p.weights + (offset if whole else 0) if stored else -1,
            weight_byte=band * config.columns + column if stored else 0,
            accumulator=p.row + (int(kept[0]) if p.hold == Fold.SET else 0) if len(kept) else -1,
        )
