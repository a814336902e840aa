"""What a network will take on a machine, before any run: cycles, memory, and that nothing overflows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.config import Config, sum_width
from etchnet.hdl.isa import TileKind
from etchnet.host.compiler import Program
from etchnet.host.network import Dense
from etchnet.sim.timing import Latencies, tail

__all__ = ["Certificate", "LayerReport", "MemoryUse", "certify", "layer_reports", "memory_use", "pass_rows", "totals"]

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
    """One entry per layer; cycles and slots add up to the machine's counters after a run."""
    config = program.config
    layers = len(program.network.layers)
    cycles = [0] * layers
    slots = [dict.fromkeys(_CLASSES, 0) for _ in range(layers)]

    def spend(layer: int, name: str, spent: int) -> None:
        cycles[layer] += spent
        slots[layer][name] += spent * config.multipliers

    for p, layer in zip(program.passes, program.layers, strict=True):
        spend(layer, "padding", p.pixels)
        slots[layer]["padding"] -= p.pixels * p.useful
        slots[layer]["useful"] += p.pixels * p.useful
        spend(layer, "weight_load", max(0, config.load_cycles - p.pixels))
        spend(layer, "requantise", p.idle_requantise)
        spend(layer, "fill_drain", p.idle)
    behind, reading = tail(program.passes[-1], program.drains[-1], config)
    spend(layers - 1, "requantise", reading)
    spend(layers - 1, "fill_drain", behind - reading)
    spend(0, "fill_drain", Latencies.of(config).fetch - 1)
    return [
        LayerReport(index, names[index], program.layers.count(index), cycles[index], slots[index])
        for index in range(layers)
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
    return [
        MemoryUse("weight tiles", len(program.weights) // config.load_cycles, config.weight_tiles),
        MemoryUse("parameter tiles", len(program.parameters) // config.groups, config.parameter_tiles),
        MemoryUse("activation words", program.activation_words, config.activation_words),
        MemoryUse("input words, each half", program.input_words, config.input_words),
        MemoryUse("output words, each half", program.output_words, config.output_words),
        MemoryUse("passes", len(program.passes), config.passes),
        MemoryUse("drains", len(program.drains), config.drains),
    ]


@dataclass(frozen=True)
class Certificate:
    """The extremes that any int8 input can cause in one layer, against the widths that hold them."""

    layer: int
    sums: tuple[int, int]
    """of one array column, in `sum_bits`"""
    sum_bits: int
    accumulators: tuple[int, int]
    """with the bias, in 32 bits"""
    shifted: tuple[int, int]
    """accumulators after the left shift, in 32 bits"""

    @property
    def holds(self) -> bool:
        """Whether nothing can overflow."""

        def fits(extremes: tuple[int, int], bits: int) -> bool:
            return -(1 << bits - 1) <= extremes[0] and extremes[1] <= (1 << bits - 1) - 1

        return fits(self.sums, self.sum_bits) and fits(self.accumulators, 32) and fits(self.shifted, 32)


def certify(layer: Dense, index: int, config: Config) -> Certificate:
    """Bounds from the actual weights: every product is bounded by its weight times -128 or 127.

    The folded bias stands for all that the machine adds, the input's zero point included. Sums that pass the limits
    of int32 on the way are no harm: accumulation is modulo 2**32, and the last value is what has to fit.
    """
    weights = layer.weights.astype(np.int64)
    low, high = np.minimum(-128 * weights, 127 * weights), np.maximum(-128 * weights, 127 * weights)
    starts = np.arange(0, len(weights), config.rows)
    blocks = [np.add.reduceat(bound, starts, axis=0) for bound in (low, high)]
    exact_bias = layer.bias - layer.input_zero_point * weights.sum(axis=0)
    totals = low.sum(axis=0) + exact_bias, high.sum(axis=0) + exact_bias
    left = np.zeros(len(exact_bias), np.int64) if layer.wide else np.maximum(layer.shift, 0)
    shifted = [[int(t) << int(s) for t, s in zip(total, left, strict=True)] for total in totals]
    return Certificate(
        layer=index,
        sums=(int(blocks[0].min()), int(blocks[1].max())),
        sum_bits=sum_width(config.rows),
        accumulators=(int(totals[0].min()), int(totals[1].max())),
        shifted=(min(shifted[0]), max(shifted[1])),
    )


def pass_rows(program: Program) -> list[dict[str, Any]]:
    """One row per pass: what it does, and from which cycle of the run to which."""
    config = program.config
    rows, cycle = [], Latencies.of(config).fetch
    for index, (p, layer) in enumerate(zip(program.passes, program.layers, strict=True)):
        cycle += p.idle + p.idle_requantise
        length = max(p.pixels, config.load_cycles)
        rows.append(
            {
                "pass": index,
                "layer": layer,
                "tile": TileKind(p.kind).name.lower(),
                "weights": p.weights // config.load_cycles,
                "source": p.source.name.lower(),
                "address": p.address,
                "pixels": p.pixels,
                "bank": p.bank,
                "row": p.row,
                "fold": p.fold.name.lower(),
                "drain": p.release,
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
