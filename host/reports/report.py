"""Predictions for a program before any run: cycles by cause, memory use, and overflow bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from etchnet.hdl.isa import Counter, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.counters import by_name
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.targets.memory_sizes import memories
from etchnet.host.compiler.overflow import Certificate, check_overflow
from etchnet.host.compiler.program import Program
from etchnet.host.network.model import Model
from etchnet.sim.timing import Latencies, tail

__all__ = [
    "LayerReport",
    "MemoryUse",
    "ModelReport",
    "block_rams",
    "layer_reports",
    "memory_use",
    "pass_rows",
    "totals",
]

_CLASSES = ("useful", "padding", "weight_load", "requantise", "fill_drain")
_WELL_USED = 0.95
"""utilisation above which only more multipliers can make a layer much faster"""


@dataclass(frozen=True)
class LayerReport:
    """Cycles of one layer in a run, and its slots (multipliers x cycles) by class."""

    index: int
    """index of the layer; -1 for all layers together"""
    name: str
    passes: int
    cycles: int
    slots: dict[str, int]
    """slots by class: useful, padding, weight_load, requantise, fill_drain"""

    @property
    def utilisation(self) -> float:
        """Share of the slots that multiply stored weights."""
        return self.shares["useful"]

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the slots by class; they add up to 1."""
        total = sum(self.slots.values())
        return {name: slots / total if total else 0.0 for name, slots in self.slots.items()}

    def limit(self, config: Config, *, more: str = "a larger --batch") -> str:
        """Return a text that names what limits the layer's speed and what would help.

        `more` is how the user has more pixels computed together.
        """
        losses = {name: slots for name, slots in self.slots.items() if name != "useful"}
        worst = max(losses, key=losses.__getitem__)
        if self.utilisation >= _WELL_USED or not losses[worst]:
            return "multipliers: more rows or columns would help"
        remedies = {
            "padding": "channels do not fill the tiles: fewer rows or columns would waste less",
            "weight_load": f"loading a tile takes {config.load_cycles} cycles, more than a pass has pixels: {more} "
            "or more --weight-rows per cycle would help",
            "requantise": "passes wait for the output stage: more --requantisers would help",
            "fill_drain": f"the pipeline fills and drains between layers: {more} would help",
        }
        return f"{worst.replace('_', ' ')}: {remedies[worst]}"

    def to_dict(self, config: Config) -> dict[str, Any]:
        """Return the figures by name."""
        return {
            "name": self.name,
            "passes": self.passes,
            "cycles": self.cycles,
            "shares": self.shares,
            "limit": self.limit(config),
        }


def layer_reports(program: Program, names: Sequence[str]) -> list[LayerReport]:
    """Return one report per layer that has passes, in order.

    The sums of their cycles and slots equal the machine's counters after one unstalled run of the program. `names` are
    the names of all layers.
    """
    config = program.config
    layers = list(dict.fromkeys(program.layers))
    cycles = dict.fromkeys(layers, 0)
    slots = {layer: dict.fromkeys(_CLASSES, 0) for layer in layers}

    def spend(layer: int, name: str, spent: int) -> None:
        cycles[layer] += spent
        slots[layer][name] += spent * config.multipliers

    for p, layer in zip(program.passes, program.layers, strict=True):
        useful = p.sums(config) * p.useful
        spend(layer, "padding", p.pixels)
        slots[layer]["padding"] -= useful
        slots[layer]["useful"] += useful
        spend(layer, "weight_load", config.pass_cycles(p.pixels) - p.pixels)
        spend(layer, "requantise", p.idle_requantise)
        spend(layer, "fill_drain", p.idle)
    after, reading = tail(program.passes, program.drains, config)
    spend(program.layers[-1], "requantise", reading)
    spend(program.layers[-1], "fill_drain", after - reading)
    spend(program.layers[0], "fill_drain", Latencies.of(config).fetch - 1)
    return [
        LayerReport(layer, names[layer], program.layers.count(layer), cycles[layer], slots[layer])
        for layer in sorted(layers)
    ]


@dataclass(frozen=True)
class MemoryUse:
    """Entries of one memory that a program uses, and entries that the machine has."""

    name: str
    used: int
    available: int


def memory_use(program: Program) -> list[MemoryUse]:
    """Return how much of each memory of the machine the program uses; memories of size 0 are left out."""
    config = program.config
    uses = [
        MemoryUse("weight tiles", ceil_div(len(program.weights), config.load_cycles), config.weight_tiles),
        MemoryUse("parameter tiles", ceil_div(len(program.parameters), config.groups), config.parameter_tiles),
        MemoryUse("activation words", program.activation_words, config.activation_words),
        MemoryUse("residual words", program.residual_words, config.residual_words),
        MemoryUse("input words, each half", program.input_words, config.input_words),
        MemoryUse("output words, each half", program.output_words, config.output_words),
        MemoryUse("passes", len(program.passes), config.passes),
        MemoryUse("drains", len(program.drains), config.drains),
    ]
    return [use for use in uses if use.available]


def block_rams(config: Config) -> dict[str, int]:
    """Estimate the block RAMs of an ECP5 (18 Kbit, at most 36 bits wide) for each memory of a machine, by name."""
    return {memory.name: memory.block_rams() for memory in memories(config)}


def pass_rows(program: Program) -> list[dict[str, Any]]:
    """Return one row per pass: the fields of its instruction, and its first and last cycle in an unstalled run.

    A pass's first cycle is that of the decision to issue its first pixel; the run's first cycle is 0.
    """
    config = program.config
    rows, cycle = [], Latencies.of(config).fetch - 1
    for index, (p, label) in enumerate(zip(program.passes, program.labels, strict=True)):
        cycle += p.idle + p.idle_requantise
        length = config.pass_cycles(p.pixels)
        rows.append(
            {
                "pass": index,
                "layer": label.layer,
                "tap": label.tap,
                "block": label.word,
                "tile": label.tile,
                "first_pixel": program.first_pixel(index),
                "pixels": p.pixels,
                "kind": TileKind(p.kind).name.lower(),
                "weights": p.weights // config.load_cycles,
                "source": p.source.name.lower(),
                "address": p.address,
                "bank": p.bank,
                "row": p.row,
                "fold": p.fold.name.lower(),
                "drain": bool(p.release),
                "idle": p.idle + p.idle_requantise,
                "first_cycle": cycle,
                "last_cycle": cycle + length - 1,
            }
        )
        cycle += length
    return rows


def totals(reports: Sequence[LayerReport]) -> LayerReport:
    """Return the sum of all layers as one report."""
    slots = {name: sum(r.slots[name] for r in reports) for name in _CLASSES}
    return LayerReport(-1, "all", sum(r.passes for r in reports), sum(r.cycles for r in reports), slots)


@dataclass(frozen=True)
class ModelReport:
    """All predictions for a model that is compiled for a machine.

    `of` makes a report from a program. Cycles are those of the timing model, which equal the cycles of a run whose link
    never stalls.
    """

    model: Model
    program: Program
    repeatable: Program
    """program for inputs back to back; `program` may need no idle cycles between repeats"""
    compile_seconds: float
    layers: Sequence[LayerReport]
    memories: Sequence[MemoryUse]
    block_rams: dict[str, int]
    """block RAMs of an ECP5 by memory; an estimate"""
    certificates: Sequence[Certificate]

    @classmethod
    def of(
        cls, model: Model, program: Program, compile_seconds: float = 0.0, *, repeatable: Program | None = None
    ) -> ModelReport:
        """Derive the report of a program that `model.network` was compiled to, by default one that may be repeated."""
        config = program.config
        bounds = (check_overflow(layer, index, config) for index, layer in enumerate(model.network.layers))
        return cls(
            model,
            program,
            repeatable or program,
            compile_seconds,
            layer_reports(program, model.names),
            memory_use(program),
            block_rams(config),
            [bound for bound in bounds if bound is not None],
        )

    @property
    def total(self) -> LayerReport:
        """Sum of all layers as one report."""
        return totals(self.layers)

    @property
    def back_to_back(self) -> int:
        """Cycles that one more repeat adds to a run, without the links."""
        return self.repeatable.counts(2)[Counter.CYCLES] - self.repeatable.counts()[Counter.CYCLES]

    def per_second(self, clock: float) -> float:
        """Return inferences per second at a clock in Hz, back to back, links included."""
        return clock * self.program.batch / self.repeatable.repeat_cycles

    def to_dict(self, clock: float, *, passes: bool = False) -> dict[str, Any]:
        """Return all figures by name, for a clock in Hz; with `passes`, also one row per pass."""
        program, total = self.program, self.total
        config = program.config
        link_in, link_out = program.link_cycles()
        found: dict[str, Any] = {
            "model": self.model.name,
            "config": config.to_dict(),
            "batch": program.batch,
            "clock_hz": clock,
            "cycles": total.cycles,
            "cycles_back_to_back": self.back_to_back,
            "inferences_per_second": self.per_second(clock),
            "counters": by_name(program.counts()),
            "utilisation": total.utilisation,
            "shares": total.shares,
            "layers": [layer.to_dict(config) for layer in self.layers],
            "memories": {m.name: {"used": m.used, "available": m.available} for m in self.memories},
            "block_rams": self.block_rams,
            "compile_seconds": self.compile_seconds,
            "input_packing": program.im2col.name,
            "link_cycles": {"in": link_in, "out": link_out},
            "fused_additions": program.fused,
            "orders": {index: dataclasses.asdict(option) for index, option in program.orders.items()},
            "certificate": [dataclasses.asdict(c) | {"holds": c.holds} for c in self.certificates],
        }
        return found | ({"passes": pass_rows(program)} if passes else {})
