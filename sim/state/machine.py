"""The state of the machine in any cycle, in closed form: every register and memory, bubbles included.

Time does not depend on data, so a run is a list of events: the cycles in which instructions begin. The events determine
the inputs of every pipeline in every cycle. A register is either a function of its pipeline's inputs a fixed number of
cycles before, or holds the value that was last written to it. `docs/exactness.md` gives the formulas, register by
register.
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
from etchnet.sim.state.registers import MemoryView, Register, delayed_view
from etchnet.sim.state.results import DrainResults

__all__ = ["UNCOVERED", "ElementState", "MachineState"]

UNCOVERED = (
    r"loader\..*",
    r"sender\..*",
    r"results\.memory\.memory\.read__data",
    r"counters\..*|runs\.quiet",
    r"tokens\.(input|output|weights)_(free|full)\.(count|available)",
    r"(passes|drains)\.(?!head).*",
    r"sequencer\.(?!pixel$|request$|fold$).*",
    r"output\.walk\.(fresh|last(_step|_pixel|_tile|)_later)",
    r"output\.writer\.(to_memory|ends_now|ends_rest|resting)|results\.(result|result_lanes|commit)_1",
    r".*\.late_(write_address|write_data|write_lanes|address|enable)_1",
)
"""Regular expressions for the registers that have no closed form here: both ends of the link and the tokens between
them; the counters; the fetching of instructions; the sequencer's own counters, whose outcome is in `pixel`, `request`
and `fold`; the output stage's look-ahead; and the registers in front of a memory with a latency of 3 or more."""


@dataclass(frozen=True)
class ElementState:
    """The operands of one processing element in a cycle, and the pass and pixel that they belong to."""

    operand: int
    weight: int
    sum: int
    """the sum of the column down to this element, this product included: its `total` register one latency later"""
    run: int
    """run, counted since reset, of the pass whose tile the element holds; -1 before the first"""
    repeat: int
    """repeat within the run"""
    number: int
    """index of that pass in its program"""
    work: Pass | None
    """that pass"""
    pixel: int
    """pixel of the pass that the operand belongs to; -1 in a bubble"""
    word: int
    """word of the pass's source memory that holds the operand; -1 in a bubble, and for a pixel outside the image"""
    byte: int
    """byte of that word"""
    weight_word: int
    """word of the weight memory that holds the weight; -1 if none does"""
    weight_byte: int
    """byte of that word"""
    accumulator: int
    """row of the pass's bank that the column's sum is folded into; -1 if the sum is dropped"""


class MachineState:
    """Every register of the array, the accumulators, the output stage and the memories, in any cycle of a history.

    Values equal those of the RTL bit by bit, bubbles included, for every register whose name matches no pattern of
    `UNCOVERED`.

    Cycles count from reset. A value in cycle t is the one between the clock edge that begins cycle t and the edge that
    ends it; in cycle 0 every register is 0. No cycle is stepped through: a query takes time proportional to the number
    of terms of the sum that it asks for. The results of drains are computed for a whole repeat, at BLAS speed, when one
    of them is first needed, and those of a few repeats are cached.

    Names are those in the waveforms that Amaranth's simulator writes for `etchnet.hdl.core.machine.Machine`, without
    the numbers that it appends to equal names in one module. A word of a memory is ``memory[row]``, and a field of a
    register is ``register.field``. Values are whole numbers, negative only if the register is signed; in registers of
    several lanes the first lane is lowest.

    Queries do not change the state, and may come in any order. Work that the engine does after the state was made is
    not part of it.

    Parameters
    ----------
    history
        The history of an `ExactEngine` made with `history=True`.
    config
        The machine.
    cycles
        The last cycle whose state is known; None for no limit.
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
        self._memories: dict[str, MemoryView] = {
            "activation.memory": delayed_view(stored[Destination.ACTIVATION].view(), config.memory_latency),
            "results.memory.memory": delayed_view(stored[Destination.OUTPUT].view(), config.memory_latency),
        }
        if config.residual_words:
            self._memories["residual.memory"] = delayed_view(
                stored[Destination.RESIDUAL].view(), AccumulatorBank.read_latency(config)
            )
        for part in parts:
            self._registers |= part.registers()
            self._memories |= part.memories()
        self._registers |= events.registers()
        self._memories |= events.views()

    @classmethod
    def of(cls, engine: ExactEngine) -> MachineState:
        """Return the state of all cycles that an engine has run.

        Raises
        ------
        ValueError
            The engine was made without ``history=True``.
        """
        return cls(engine.kept_history, engine.config, cycles=engine.cycle)

    def __repr__(self) -> str:
        cycles = "no limit of cycles" if self._cycles is None else f"cycles 0 to {self._cycles}"
        array = f"{self.config.rows} x {self.config.columns}"
        return (
            f"<MachineState: {array} array, {cycles}, {len(self._events.runs)} runs, {len(self._registers)} registers>"
        )

    # Names

    def registers(self) -> list[str]:
        """Return the names of all registers."""
        return list(self._registers)

    def memories(self) -> dict[str, int]:
        """Return the number of words of each memory, by name."""
        return {name: rows.depth for name, rows in self._memories.items()}

    def width(self, name: str) -> int:
        """Return the number of bits of a register, a field of a register, or a word of a memory.

        Raises
        ------
        ValueError
            No register, field or memory has that name.
        """
        if (memory := self._memories.get(name.partition("[")[0])) is not None:
            return memory.width
        return self._register(name).width

    # Values

    def value(self, name: str, cycle: int) -> int:
        """Return the value of a register, a field of a register, or a word of a memory in a cycle.

        Raises
        ------
        ValueError
            No register, field or word has that name, or the history does not reach the cycle.
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
        raise ValueError(f"there is no register {name!r}; registers() and memories() list the names")

    def _check(self, cycle: int) -> None:
        if cycle < 0 or (self._cycles is not None and cycle > self._cycles):
            most = "" if self._cycles is None else f" and at most {self._cycles}"
            raise ValueError(f"the cycle must be at least 0{most}, not {cycle}")

    def array(self, cycle: int) -> dict[str, np.ndarray]:
        """Return the registers of all elements in a cycle, by name: `weight`, `activation` (moving right) and `total`.

        Each is int32 (rows, columns).
        """
        self._check(cycle)
        return self._array.values(cycle)

    def accumulators(self, bank: int, cycle: int) -> np.ndarray:
        """Return all rows of an accumulator bank in a cycle: int32 (accumulator_rows, columns)."""
        self._check(cycle)
        return np.stack([self._banks[bank].row(row, cycle) for row in range(self.config.accumulator_rows)])

    def memory(self, name: str, cycle: int) -> list[int]:
        """Return all words of a memory in a cycle."""
        self._check(cycle)
        rows = self._memories[name]
        return [rows.word(row, cycle) for row in range(rows.depth)]

    def explain(self, row: int, column: int, cycle: int) -> ElementState:
        """Return the operands of an element in a cycle, and the pass, pixel and memory words that they come from.

        Raises
        ------
        ValueError
            There is no such element, or the history does not reach the cycle.
        """
        self._check(cycle)
        config, events, array = self.config, self._events, self._array
        if not (0 <= row < config.rows and 0 <= column < config.columns):
            raise ValueError(f"there is no element ({row}, {column}) in an array of {config.rows} x {config.columns}")
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
