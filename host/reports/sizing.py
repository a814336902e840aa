"""Sweeps: a network is compiled for many machines, which are compared within a budget."""

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
from etchnet.hdl.targets.boards import BOARDS, Board
from etchnet.hdl.targets.memory_sizes import memories
from etchnet.host.compiler.capacity import CapacityError, Needs, resized
from etchnet.host.compiler.compile import tensor_needs
from etchnet.host.compiler.program import Program
from etchnet.host.network.network import Network
from etchnet.host.reports.area import Area, estimate
from etchnet.host.reports.fit import fitted
from etchnet.host.reports.least import LeastMemories

__all__ = ["Budget", "Point", "advice", "candidates", "evaluate", "front", "kbytes", "rule_out", "sweep"]


_FEW = 32
"""budgets of fewer multipliers than this also try arrays of 1 to 3 rows"""


@dataclass(frozen=True)
class Budget:
    """Resources that a machine may use; None means no limit."""

    multipliers: int | None = None
    """hard multipliers"""
    kbytes: float | None = None
    """total size of all memories, in KB of 1024 bytes"""
    lut_multipliers: int = 0
    """elements whose multiplier may be built from lookup tables instead"""
    board: Board | None = None
    """board whose logic cells, flip-flops and block RAMs are limits too"""

    @property
    def products(self) -> int:
        """int8 products that one hard multiplier computes per cycle."""
        return self.board.device.technology.products if self.board else 1

    def area(self, config: Config) -> Area | None:
        """Estimate the area of a machine on the board; None without a board."""
        return estimate(config, self.board) if self.board else None

    def to_dict(self) -> dict[str, Any]:
        """Return the limits by name; None means no limit."""
        return {
            "multipliers": self.multipliers,
            "kbytes": self.kbytes,
            "lut_multipliers": self.lut_multipliers,
            "board": self.board and self.board.name,
        }

    def used(self, config: Config) -> int:
        """Count the hard multipliers of a machine: one for each `products` elements, and four for each requantiser."""
        elements = max(0, config.multipliers - self.lut_multipliers)
        return ceil_div(elements, self.products) + MULTIPLIERS_PER_REQUANTISER * config.requantisers


@dataclass(frozen=True)
class Point:
    """One machine of a sweep, with the network's cycles on it or the reason why the network does not fit."""

    config: Config
    """machine whose memories are just large enough for the network"""
    cycles: int = 0
    """cycles from one input to the next, back to back, links included; 0 if the network does not fit"""
    utilisation: float = 0.0
    """share of multiplier slots that multiply stored weights"""
    kbytes: float = 0.0
    """total size of all memories, in KB of 1024 bytes"""
    failure: str = ""
    """reason why the network does not fit; empty if it does"""

    def per_second(self, clock: float) -> float:
        """Return inferences per second at a clock in Hz; 0 if the network does not fit."""
        return clock / self.cycles if self.cycles else 0.0

    def refused(self, budget: Budget) -> str:
        """Return a message that names the limit of the budget that is exceeded, or an empty string if none is."""
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
        """Return whether the estimated area is too close to the limits of the budget's board to tell if it fits."""
        area = budget.area(self.config)
        return bool(budget.board and area and area.over(_shared(budget.board), surely=False))

    def to_dict(self, budget: Budget, clock: float) -> dict[str, Any]:
        """Return all figures by name; `area` is an estimate."""
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
    """Return the limited resources of a board, without the multipliers, which `Budget.multipliers` limits."""
    return {name: board.device.placeable[name] for name in ("logic cells", "flip-flops", "block RAMs")}


def kbytes(config: Config) -> float:
    """Return the total size of all memories in a machine's gateware, in KB of 1024 bytes."""
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
    """Return machines like `base` within a budget's multipliers: all combinations of the lists.

    If there are more than `most`, `most` of them are chosen at regular intervals, ordered by size. The defaults for
    empty lists are: rows from 4 to 32, or from 1 for a budget of fewer than 32 multipliers; columns equal to the rows,
    half or twice as many, or the default rows if `rows` is given; weight rows and requantisers, all divisors of the
    rows and columns.
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
                    # None selects the default, which depends on the shape: only square machines have these memories.
                    values |= {"residual_words": None, "depthwise": None}
                    config = dataclasses.replace(base, **values)
                    if budget.multipliers is None or budget.used(config) <= budget.multipliers:
                        found.append(config)
    found.sort(key=lambda c: (c.multipliers, c.requantisers, c.weight_rows, c.rows))
    if len(found) <= most:
        return found
    return [found[i * (len(found) - 1) // max(1, most - 1)] for i in range(most)]


def rule_out(network: Network, configs: Sequence[Config], budget: Budget) -> tuple[list[Config], list[Point]]:
    """Split machines by lower bounds of their memories, without a search for the order of passes.

    Returns the machines whose memories may be within the budget, and points of the others, whose `failure` names the
    memory that they need at least.
    """
    least = LeastMemories(network)
    kept, ruled_out = [], []
    for config in configs:
        smallest = least.on(config)
        exceeded = _exceeded(smallest, budget)
        if not exceeded and (budget.kbytes is not None or budget.board):
            # How much memory the tensors take is known soon, for each choice of arrangements.
            try:
                variants = [_with_tensors(smallest, needs) for needs in tensor_needs(network, config)]
            except CapacityError as error:
                exceeded = str(error)
            else:
                smallest = min(variants, key=lambda c: (bool(_exceeded(c, budget)), kbytes(c)))
                exceeded = _exceeded(smallest, budget)
        if exceeded:
            ruled_out.append(Point(smallest, kbytes=kbytes(smallest), failure=exceeded))
        else:
            kept.append(config)
    return kept, ruled_out


def _with_tensors(config: Config, needs: Needs) -> Config:
    return resized(config, {name: max(size, getattr(config, name)) for name, size in needs.sizes.items()})


def _exceeded(config: Config, budget: Budget) -> str:
    """Return a message if the memories of a machine exceed a budget, or an empty string."""
    area, size = budget.area(config), kbytes(config)
    if budget.board and area and area.over({"block RAMs": budget.board.device.block_rams}):
        return f"at least {area.used['block RAMs']:,} block RAMs, of {budget.board.device.block_rams:,}"
    if budget.kbytes is not None and size > budget.kbytes:
        return f"at least {size:,.0f} KB of memory, of {budget.kbytes:,.0f}"
    return ""


def advice(network: Network, configs: Sequence[Config], budget: Budget) -> str:
    """Return a text that says what of a network takes memory, and what to do if it needs more than a budget has."""
    least = LeastMemories(network)
    parts = (
        (least.weight_bytes, "of weights"),
        (least.activation_bytes, "of activations at once"),
        (least.input_bytes, "of inputs"),
    )
    sizes = ", ".join(f"{ceil_div(count, 1024):,} KB {what}" for count, what in parts)
    others = (Budget(board.device.multipliers, board=board) for board in BOARDS.values() if board != budget.board)
    larger = [other.board.name for other in others if other.board and _may_hold(network, configs, other)]
    boards = f"{' or '.join(larger)} may hold it" if larger else "no board here is large enough"
    return (
        f"the model has {sizes}; {boards}, "
        "a model with fewer channels or a smaller input needs less, and memory outside the chip is not supported"
    )


def _may_hold(network: Network, configs: Sequence[Config], budget: Budget) -> bool:
    affordable = [c for c in configs if budget.multipliers is None or budget.used(c) <= budget.multipliers]
    return bool(rule_out(network, affordable, budget)[0])


def evaluate(network: Network, config: Config, board: Board | None = None) -> Point:
    """Compile for a machine with the largest memories, then shrink them to what the program uses.

    Sizes of these memories do not affect a program's cycles. For a `board`, some may be larger than needed: see
    `etchnet.host.reports.area.eased`. If the network does not fit, the point's `failure` explains why.
    """
    try:
        program = fitted(network, config, thorough=False, board=board)
        return point(program, program.config)
    except (CapacityError, ConfigError) as error:
        return Point(config, failure=str(error))


def point(program: Program, config: Config) -> Point:
    """Return the point of a program on the machine `config`, whose memories may be smaller than the program's own."""
    counts = program.counts()
    share = counts[Counter.USEFUL] / (counts[Counter.CYCLES] * config.multipliers)
    return Point(config, program.repeat_cycles, share, kbytes(config))


def sweep(network: Network, configs: Sequence[Config], board: Board | None = None) -> Iterator[Point]:
    """Yield the point of each machine as soon as it is evaluated, in any order, in joblib's current backend.

    joblib's default backend uses all cores of this computer.
    """
    if configs:
        yield from Parallel(n_jobs=-1, return_as="generator_unordered")(
            delayed(evaluate)(network, config, board) for config in configs
        )


def front(points: Iterable[Point]) -> list[Point]:
    """Return the Pareto front: each point is faster than every point with as few or fewer multipliers."""
    best: list[Point] = []
    for p in sorted((p for p in points if p.cycles), key=lambda p: (p.config.multipliers, p.cycles, p.kbytes)):
        if not best or p.cycles < best[-1].cycles:
            best.append(p)
    return best
