"""The fastest machine of a sweep that fits its budget, checked by synthesis where an estimate is too close."""

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
from etchnet.host.reports.sizing import Budget, Point, front, point

__all__ = ["Selection", "Sweep", "select"]


@dataclass(frozen=True)
class Selection:
    """The fastest machine that fits a budget."""

    program: Program
    """the network on it, as every other command compiles it"""
    point: Point
    synthesised: dict[str, int] | None = None
    """resources that it uses by synthesis, where the estimate left open whether it fits"""
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
    """whether it was not interrupted"""
    selection: Selection | None = None
    """None where no machine fits, or the sweep was interrupted"""

    @property
    def fitting(self) -> list[Point]:
        """The points within the budget."""
        excluded = self.selection.excluded if self.selection else ()
        return [p for p in self.points if not p.refused(self.budget) and p not in excluded]

    @property
    def front(self) -> list[Point]:
        """The Pareto front of the points within the budget."""
        return front(self.fitting)

    @property
    def best(self) -> Point | None:
        """The selected point; of an interrupted sweep the best so far."""
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
    """Return the key that orders points by speed, then by size."""
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

    Each candidate is compiled as other commands do, which may change its memories. Where the estimate of its area
    leaves open whether it fits the budget's board, it is synthesised, unless `check` is false, the tools are missing or
    the synthesis is interrupted.

    Raises
    ------
    CapacityError
        No point fits; the message says what the smallest needs.
    ToolError
        Synthesis failed.
    """
    fitting = sorted((p for p in points if not p.refused(budget)), key=_preference)
    if not fitting:
        closest = min(points, key=lambda p: (bool(p.failure), p.kbytes))
        raise CapacityError(f"no machine of {len(points)} fits: the smallest needs {closest.refused(budget)}")
    excluded: list[Point] = []
    reason = ""
    for candidate in fitting:
        program, settled = _settled(network, candidate, budget.board)
        reason = settled.refused(budget)
        if not reason:
            used: dict[str, int] | None = None
            if check and settled.is_close(budget):
                used, reason = _synthesised(program, budget.board, report)
            if not reason:
                return Selection(program, settled, used, excluded)
        excluded.append(candidate)
    raise CapacityError(f"none of the {len(fitting)} machines that might fit does: {reason}")


def _synthesised(
    program: Program, board: Board | None, report: Callable[[str], None]
) -> tuple[dict[str, int] | None, str]:
    """Return the resources that a machine uses, or None if they are unknown, and why it does not fit, or nothing."""
    from etchnet.host.fpga.build import needs
    from etchnet.host.fpga.request import BuildRequest
    from etchnet.host.fpga.resources import DoesNotFitError
    from etchnet.host.tools.tool import MissingPackageError

    assert board is not None
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
    """Compile for a point's machine as every other command does, and return the program and its point."""
    try:
        program = compile_network(network, candidate.config)
    except CapacityError:
        # The default compilation looks further than a sweep, and its program may need other memories.
        program = fitted(network, candidate.config, board=board)
    return program, point(program, program.config)
