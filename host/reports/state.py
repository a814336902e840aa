"""State of the machine in any cycle of a model's run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.host.compiler.emit.groups import Label
from etchnet.host.compiler.program import Program
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.model import Model
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.state.machine import ElementState, MachineState

__all__ = ["ModelRun", "StateReport"]


class ModelRun:
    """Run of a model on the exact engine, with the machine's state in every cycle.

    Parameters
    ----------
    model, program
        The model, and its network compiled for a machine.
    x
        Inputs, int8 (M, input_size).
    report
        Function that is called with a progress text.
    """

    def __init__(
        self, model: Model, program: Program, x: np.ndarray, *, report: Callable[[str], None] = lambda text: None
    ) -> None:
        report("running")
        engine = ExactEngine(program.config, history=True)
        accelerator = Accelerator(engine=engine)
        self.model, self.config, self.program = model, program.config, program
        accelerator.load_program(program)
        accelerator.run(x)
        self.machine = MachineState.of(engine)
        run = engine.kept_history.runs[0]
        self._origin = run.origin
        self.cycles: int = run.finish - run.start

    def names(self) -> list[str]:
        """Return the names of all registers, followed by those of all memories with the range of their words."""
        memories = (f"{name}[0..{size - 1}]" for name, size in self.machine.memories().items())
        return [*self.machine.registers(), *memories]

    def at(self, cycle: int, *, registers: Sequence[str] = (), element: tuple[int, int] | None = None) -> StateReport:
        """Return the values of registers and the state of an element, (row, column), in a cycle of the run, from 0.

        Raises
        ------
        ValueError
            The cycle is outside the run, or no register has one of the names.
        """
        if not 0 <= cycle < self.cycles:
            raise ValueError(
                f"cycle must be from 0 to {self.cycles - 1}, not {cycle}: the run takes {self.cycles} cycles"
            )
        at = self._origin + cycle
        values = {name: self.machine.value(name, at) for name in registers}
        found = self.machine.explain(*element, at) if element else None
        label = self.program.labels[found.number] if found is not None and found.number >= 0 else None
        return StateReport(self, cycle, at, values, element, found, label)


@dataclass(frozen=True)
class StateReport:
    """Registers and one element of the machine in one cycle."""

    run: ModelRun
    cycle: int
    """cycle of the run, from 0"""
    cycle_since_reset: int
    """the same cycle, counted since reset"""
    registers: dict[str, int]
    """values by name"""
    element: tuple[int, int] | None
    """row and column of the element"""
    found: ElementState | None
    """state of the element; None if none was asked for"""
    label: Label | None
    """label of the pass whose tile is in the element; None before the first pass"""

    @property
    def layer_name(self) -> str:
        """Name of the layer whose tile is in the element; empty before the first pass."""
        return "" if self.label is None else self.run.model.names[self.label.layer]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        about: dict[str, Any] = {
            "model": self.run.model.name,
            "config": self.run.config.to_dict(),
            "cycle": self.cycle,
            "cycle_since_reset": self.cycle_since_reset,
            "cycles": self.run.cycles,
            "registers": self.registers,
        }
        if self.element is None or self.found is None:
            return about
        row, column = self.element
        figures = {key: value for key, value in dataclasses.asdict(self.found).items() if key != "work"}
        about["element"] = {"row": row, "column": column} | figures
        about["pass"] = None
        if (label := self.label) is not None:
            where = {"layer": label.layer, "name": self.layer_name}
            about["pass"] = where | {"tap": label.tap, "word": label.word, "tile": label.tile}
        return about
