"""What a network will take on a machine, before any run: cycles, where they go, and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from etchnet.hdl.isa import TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.targets.memory_sizes import memories
from etchnet.host.compiler.program import Program
from etchnet.sim.timing import Latencies, tail

__all__ = ["LayerReport", "MemoryUse", "block_rams", "layer_reports", "memory_use", "pass_rows", "totals"]

_CLASSES = ("useful", "padding", "weight_load", "requantise", "fill_drain")


@dataclass(frozen=True)
class LayerReport:
    """One layer's part of a run: its cycles, and what its slots (multipliers x cycles) were spent on."""

    index: int
    name: str
    passes: int
    cycles: int
    slots: dict[str, int]

    @property
    def utilisation(self) -> float:
        """Useful multiplications per multiplier and cycle."""
        return self.shares["useful"]

    @property
    def shares(self) -> dict[str, float]:
        """What the slots were spent on; adds up to 1."""
        total = sum(self.slots.values())
        return {name: slots / total if total else 0.0 for name, slots in self.slots.items()}

    def limit(self, config: Config) -> str:
        """What keeps the layer from being faster, and what would lift it."""
        losses = {name: slots for name, slots in self.slots.items() if name != "useful"}
        worst = max(losses, key=losses.__getitem__)
        if self.utilisation >= 0.95 or not losses[worst]:
            return "multipliers: more rows or columns would lift it"
        lifts = {
            "padding": "channels do not fill the tiles: fewer rows or columns would waste less",
            "weight_load": f"loading a tile takes {config.load_cycles} cycles, a pass has fewer pixels: more inputs at "
            "once (--batch) or more weight rows per cycle (--weight-rows)",
            "requantise": "waiting for the output stage: more requantisers",
            "fill_drain": "the pipeline fills and empties between layers: more inputs at once (--batch)",
        }
        return f"{worst.replace('_', ' ')}: {lifts[worst]}"


def layer_reports(program: Program, names: Sequence[str]) -> list[LayerReport]:
    """One entry per layer that passes compute; cycles and slots add up to the machine's counters after a run."""
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
    behind, reading = tail(program.passes, program.drains, config)
    spend(program.layers[-1], "requantise", reading)
    spend(program.layers[-1], "fill_drain", behind - reading)
    spend(program.layers[0], "fill_drain", Latencies.of(config).fetch - 1)
    return [
        LayerReport(layer, names[layer], program.layers.count(layer), cycles[layer], slots[layer])
        for layer in sorted(layers)
    ]


@dataclass(frozen=True)
class MemoryUse:
    """Words of one memory that a program uses, of those that the machine has."""

    name: str
    used: int
    available: int


def memory_use(program: Program) -> list[MemoryUse]:
    """Every memory of the machine."""
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
    """Block RAMs of an ECP5 (18 Kbit, at most 36 bits wide) for each memory of a machine, by name; an estimate."""
    return {memory.name: memory.block_rams() for memory in memories(config)}


def pass_rows(program: Program) -> list[dict[str, Any]]:
    """One row per pass: what it does, and from which cycle of the run to which."""
    config = program.config
    rows, cycle = [], Latencies.of(config).fetch
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
                "first_pixel": label.pixel,
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
    """All layers as one."""
    slots = {name: sum(r.slots[name] for r in reports) for name in _CLASSES}
    return LayerReport(-1, "all", sum(r.passes for r in reports), sum(r.cycles for r in reports), slots)
