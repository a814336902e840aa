"""Selection of the fastest machine of a sweep that fits a budget; close cases are checked by synthesis."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etchnet.hdl.targets.boards import Board
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.compile import compile_network
from etchnet.host.compiler.program import Program
from etchnet.host.network.model import Model
from etchnet.host.network.network import Network
from etchnet.host.reports.fit import fitted
from etchnet.host.reports.sizing import Budget, Point, advice, front, point

__all__ = ["Selection", "Sweep", "select"]


@dataclass(frozen=True)
class Selection:
    """Fastest machine that fits a budget."""

    program: Program
    """network compiled for the machine, with the same settings as in other commands"""
    point: Point
    synthesised: dict[str, int] | None = None
    """resources that synthesis reports; None if the machine was not synthesised"""
    excluded: Sequence[Point] = ()
    """faster points that turned out not to fit"""


@dataclass(frozen=True)
class Sweep:
    """Machines that were tried for a model, and the one that was selected."""

    model: Model
    budget: Budget
    points: Sequence[Point]
    seconds: float
    """wall time of the sweep"""
    complete: bool = True
    """False if the sweep was interrupted"""
    selection: Selection | None = None
    """machine that was selected; None if the sweep was interrupted"""

    @property
    def fitting(self) -> list[Point]:
        """Points within the budget."""
        excluded = self.selection.excluded if self.selection else ()
        return [p for p in self.points if not p.refused(self.budget) and p not in excluded]

    @property
    def front(self) -> list[Point]:
        """Pareto front of the points within the budget."""
        return front(self.fitting)

    @property
    def best(self) -> Point | None:
        """Selected point; after an interruption, the best point so far; None if no point fits."""
        if self.selection:
            return self.selection.point
        return min(self.fitting, key=_preference, default=None)

    def to_dict(self, clock: float) -> dict[str, Any]:
        """Return all figures by name, for a clock in Hz."""
        best = self.best
        return {
            "model": self.model.name,
            "clock_hz": clock,
            "budget": self.budget.to_dict(),
            "synthesised": self.selection.synthesised if self.selection else None,
            "seconds": self.seconds,
            "tried": len(self.points),
            "complete": self.complete,
            "best": best and best.to_dict(self.budget, clock),
            "points": [p.to_dict(self.budget, clock) for p in self.points],
        }


def _preference(p: Point) -> tuple[int, int, float]:
    """Return the sort key of a point: fastest first, then smallest."""
    return p.cycles, p.config.multipliers, p.kbytes


def select(
    network: Network,
    points: Sequence[Point],
    budget: Budget,
    *,
    check: bool = True,
    report: Callable[[str], None] = lambda line: None,
) -> Selection:
    """Select the fastest of `points` that fits.

    Each candidate is compiled again with the thorough search of other commands, which may change its memories. If its
    estimated area is too close to the limits of the budget's board, it is synthesised, unless `check` is false. If
    synthesis tools are missing or the user interrupts synthesis, the estimate decides.

    Raises
    ------
    CapacityError
        No point fits; the message states what the smallest needs.
    ToolError
        Synthesis failed.
    """
    fitting = sorted((p for p in points if not p.refused(budget)), key=_preference)
    if not fitting:
        closest = min(points, key=lambda p: (bool(p.failure), p.kbytes))
        raise CapacityError(
            f"no machine fits ({len(points)} tried): the smallest needs {closest.refused(budget)}; "
            f"{advice(network, [p.config for p in points], budget)}"
        )
    excluded: list[Point] = []
    reason = ""
    for candidate in fitting:
        program, settled = _settled(network, candidate, budget.board)
        reason = settled.refused(budget)
        if not reason:
            used: dict[str, int] | None = None
            if check and budget.board and settled.is_close(budget):
                used, reason = _synthesised(program, budget.board, report)
            if not reason:
                return Selection(program, settled, used, excluded)
        excluded.append(candidate)
    raise CapacityError(f"none of the {len(fitting)} machines that seemed to fit does: {reason}")


def _synthesised(program: Program, board: Board, report: Callable[[str], None]) -> tuple[dict[str, int] | None, str]:
    """Synthesise a machine; return its resources, or None if unknown, and why it does not fit, or an empty string."""
    from etchnet.host.fpga.build import needs
    from etchnet.host.fpga.request import BuildRequest
    from etchnet.host.fpga.resources import DoesNotFitError
    from etchnet.host.tools.tool import MissingPackageError

    c = program.config
    name = f"{c.rows} x {c.columns}, W = {c.weight_rows}, n = {c.requantisers}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            request = BuildRequest(board, c, program)
            return needs(request, Path(folder), report=lambda text: report(f"{name}: {text}")), ""
    except DoesNotFitError as error:
        return None, str(error)
    except (MissingPackageError, KeyboardInterrupt):
        return None, ""


def _settled(network: Network, candidate: Point, board: Board | None) -> tuple[Program, Point]:
    """Compile for a point's machine with the thorough search, and return the program and its point."""
    try:
        program = compile_network(network, candidate.config)
    except CapacityError:
        # The thorough search may find a faster program than the sweep, which needs other memory sizes.
        program = fitted(network, candidate.config, board=board)
    return program, point(program, program.config)
