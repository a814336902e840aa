"""Where the tensors of a network lie on a machine, and which additions are fused for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.allocation import CapacityError, Lifetime, Place, allocate
from etchnet.host.compiler.fusion import Unit, fusible_additions, reshaped_in_place, sources_of, units_of
from etchnet.host.network.layers import Shape
from etchnet.host.network.network import INPUT, Network

__all__ = ["Layout", "lay_out", "require"]


@dataclass(eq=False)
class Layout:
    """Where the tensors of a network lie."""

    places: dict[int, Place] = field(default_factory=dict)
    shapes: dict[int, Shape] = field(default_factory=dict)
    residual: dict[int, int] = field(default_factory=dict)
    output: int = 0
    activation_words: int = 0
    residual_words: int = 0


def _root(network: Network, tensor: int, aliases: set[int]) -> int:
    """The tensor whose memory a reshaped one is."""
    while tensor in aliases:
        tensor = sources_of(network)[tensor][0]
    return tensor


def _place(network: Network, units: Sequence[Unit], reshaped: set[int], config: Config, images: int) -> Layout:
    assert network.input_shape is not None
    layout = Layout(output=len(network.layers) - 1)
    layout.shapes = {INPUT: network.input_shape} | dict(enumerate(network.shapes))
    step = {unit.result: number for number, unit in enumerate(units)}
    read: dict[int, int] = {}
    aliases: list[tuple[int, int]] = []
    for number, unit in enumerate(units):
        for source in unit.sources:
            root = _root(network, source, reshaped)
            read[root] = number
            if root != source:
                aliases.append((source, root))
    layout.places[INPUT] = Place.packed(network.input_shape, images, config)
    require("input_words", layout.places[INPUT].size, config, images)
    output = Place.written(network.output_shape, images, config, wide=network.wide)
    layout.places[layout.output] = output
    require("output_words", output.size, config, images)
    stored = [tensor for tensor in read if tensor not in (INPUT, layout.output)]
    found = {tensor: Place.written(network.shapes[tensor], images, config) for tensor in stored}
    bases, layout.activation_words = allocate([Lifetime(found[t].size, step[t], read[t]) for t in stored])
    require("activation_words", layout.activation_words, config, images)
    for tensor, base in zip(stored, bases, strict=True):
        layout.places[tensor] = dataclasses.replace(found[tensor], base=base)
    for tensor, root in aliases:
        shape = layout.shapes[tensor]
        layout.places[tensor] = dataclasses.replace(Place.written(shape, images, config), base=layout.places[root].base)
    kept: dict[int, int] = {}
    for number, unit in enumerate(units):
        if unit.fused:
            kept[unit.fused.residual] = number
    lifetimes = []
    for tensor, last in kept.items():
        height, width, channels = layout.shapes[tensor]
        lifetimes.append(Lifetime(images * height * width * ceil_div(channels, config.columns), step[tensor], last))
    bases, layout.residual_words = allocate(lifetimes)
    layout.residual = dict(zip(kept, bases, strict=True))
    return layout


def require(memory: str, needed: int, config: Config, images: int) -> None:
    """Raise CapacityError where a memory, by its name in `Config`, has less than is needed for so many inputs."""
    if needed > getattr(config, memory):
        raise CapacityError.of(memory, needed, config, images)


def lay_out(network: Network, config: Config, images: int) -> tuple[list[Unit], Layout]:
    """Units with as many additions fused as the residual memory takes, the largest given up first."""
    fusible = fusible_additions(network, config)
    aliases = reshaped_in_place(network, config)
    while True:
        units = units_of(network, fusible, aliases)
        layout = _place(network, units, aliases, config, images)
        if layout.residual_words <= config.residual_words:
            return units, layout
        largest = max(fusible, key=lambda index: int(np.prod(network.shapes[index])))
        del fusible[largest]
