"""Which machine suits a network: many are compiled for, by the exact timing model, and compared on a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from joblib import Parallel, delayed

from etchnet.hdl.core.multipliers import MULTIPLIERS_PER_REQUANTISER
from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config, ConfigError
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.targets.boards import Board
from etchnet.hdl.targets.memory_sizes import memories
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.compile import compile_network
from etchnet.host.compiler.program import Program
from etchnet.host.network.network import Network
from etchnet.host.reports.area import Area, eased, estimate
from etchnet.host.reports.fit import roomy, shrunk

__all__ = ["Budget", "Point", "candidates", "evaluate", "front", "kbytes", "sweep"]


_FEW = 32
"""multipliers of a device that small arrays are tried for"""


@dataclass(frozen=True)
class Budget:
    """What a machine may use; None is no limit."""

    multipliers: int | None = None
    """hard multipliers"""
    kbytes: float | None = None
    """of all memories together"""
    lut_multipliers: int = 0
    """elements of the array that are made of lookup tables instead"""
    board: Board | None = None
    """whose logic cells, flip-flops and block RAMs are a limit too"""

    @property
    def products(self) -> int:
        """int8 products of one hard multiplier."""
        return self.board.device.technology.products if self.board else 1

    def area(self, config: Config) -> Area | None:
        """What a machine takes of the board, about."""
        return estimate(config, self.board) if self.board else None

    def to_dict(self) -> dict[str, Any]:
        """Return the limits by name; None is no limit."""
        return {
            "multipliers": self.multipliers,
            "kbytes": self.kbytes,
            "lut_multipliers": self.lut_multipliers,
            "board": self.board and self.board.name,
        }

    def used(self, config: Config) -> int:
        """Hard multipliers of a machine: `products` elements to each, and 4 for each requantiser."""
        elements = max(0, config.multipliers - self.lut_multipliers)
        return ceil_div(elements, self.products) + MULTIPLIERS_PER_REQUANTISER * config.requantisers


@dataclass(frozen=True)
class Point:
    """One machine: what a network takes on it, or why it cannot."""

    config: Config
    """with memories just large enough for the network"""
    cycles: int = 0
    """from one input to the next, back to back, links included"""
    utilisation: float = 0.0
    """useful multiplications per multiplier and cycle"""
    kbytes: float = 0.0
    failure: str = ""

    def per_second(self, clock: float) -> float:
        """Inferences per second at a clock in Hz."""
        return clock / self.cycles if self.cycles else 0.0

    def refused(self, budget: Budget) -> str:
        """What of the budget it exceeds; empty where it fits."""
        if self.failure:
            return self.failure
        used = budget.used(self.config)
        if budget.multipliers is not None and used > budget.multipliers:
            return f"{used} hard multipliers, of {budget.multipliers}"
        if budget.kbytes is not None and self.kbytes > budget.kbytes:
            return f"{self.kbytes:,.0f} KB of memory, of {budget.kbytes:,.0f}"
        if budget.board and (area := budget.area(self.config)):
            return " and ".join(area.over(_shared(budget.board)))
        return ""

    def is_close(self, budget: Budget) -> bool:
        """Whether only synthesis can tell that it fits the budget's board."""
        area = budget.area(self.config)
        return bool(budget.board and area and area.over(_shared(budget.board), surely=False))

    def to_dict(self, budget: Budget, clock: float) -> dict[str, Any]:
        """All figures by name; `area` is an estimate."""
        area = budget.area(self.config)
        return {
            "config": self.config.to_dict(),
            "cycles": self.cycles,
            "inferences_per_second": self.per_second(clock),
            "multipliers": self.config.multipliers,
            "hard_multipliers": budget.used(self.config),
            "kbytes": self.kbytes,
            "utilisation": self.utilisation,
            "refused": self.refused(budget),
            "area": dict(area.used) if area else None,
        }


def _shared(board: Board) -> dict[str, int]:
    """What of a board elements do not have to themselves, and has an estimate."""
    return {name: board.device.placeable[name] for name in ("logic cells", "flip-flops", "block RAMs")}


def kbytes(config: Config) -> float:
    """KB of all memories of a machine, as its gateware makes them."""
    return sum(memory.bytes for memory in memories(config)) / 1024


def _divisors(whole: int) -> list[int]:
    return [d for d in range(1, whole + 1) if whole % d == 0]


def candidates(
    base: Config,
    budget: Budget,
    *,
    rows: Sequence[int] = (),
    columns: Sequence[int] = (),
    weight_rows: Sequence[int] = (),
    requantisers: Sequence[int] = (),
    most: int,
) -> list[Config]:
    """Machines like `base` within a budget's multipliers: every combination of the lists, thinned to `most`.

    Where a list is empty: rows and columns from 4 to 32, and from 1 on where there are few multipliers, weight rows and
    requantisers all divisors.
    """
    sizes: tuple[int, ...] = (4, 8, 9, 12, 14, 16, 18, 20, 24, 28, 32)
    if budget.multipliers is not None and budget.multipliers < _FEW:
        sizes = (1, 2, 3, *sizes)
    found = []
    for r in rows or sizes:
        for c in columns or (sizes if rows else [s for s in sizes if s in (r, 2 * r) or 2 * s == r]):
            for w in weight_rows or _divisors(r):
                for n in requantisers or _divisors(c):
                    if r % w or c % n:
                        continue
                    values: dict[str, Any] = {"rows": r, "columns": c, "weight_rows": w, "requantisers": n}
                    # What only square machines have follows the shape.
                    values |= {"residual_words": None, "depthwise": None}
                    config = dataclasses.replace(base, **values)
                    if budget.multipliers is None or budget.used(config) <= budget.multipliers:
                        found.append(config)
    found.sort(key=lambda c: (c.multipliers, c.requantisers, c.weight_rows, c.rows))
    if len(found) <= most:
        return found
    return [found[i * (len(found) - 1) // max(1, most - 1)] for i in range(most)]


def evaluate(network: Network, config: Config, board: Board | None = None) -> Point:
    """Compile for a machine with room for everything, and take the memories that the program uses.

    Memories do not change a program's cycles: the machine with just those runs the same program in as many. For a
    `board` they may be larger, see `etchnet.host.reports.area.eased`.
    """
    try:
        program = compile_network(network, roomy(config), thorough=False)
        return point(program, eased(shrunk(program), board) if board else shrunk(program))
    except (CapacityError, ConfigError) as error:
        return Point(config, failure=str(error))


def point(program: Program, config: Config) -> Point:
    """What a program takes on the machine that holds it."""
    counts = program.counts()
    share = counts[Counter.USEFUL] / (counts[Counter.CYCLES] * config.multipliers)
    return Point(config, program.repeat_cycles, share, kbytes(config))


def sweep(network: Network, configs: Sequence[Config], board: Board | None = None) -> Iterator[Point]:
    """Every machine's point, as they come, by joblib's backend: by default all cores of this computer."""
    if configs:
        yield from Parallel(n_jobs=-1, return_as="generator_unordered")(
            delayed(evaluate)(network, config, board) for config in configs
        )


def front(points: Iterable[Point]) -> list[Point]:
    """The Pareto front: no other point has as many inferences per second with as few multipliers."""
    best: list[Point] = []
    for p in sorted((p for p in points if p.cycles), key=lambda p: (p.config.multipliers, p.cycles, p.kbytes)):
        if not best or p.cycles < best[-1].cycles:
            best.append(p)
    return best
