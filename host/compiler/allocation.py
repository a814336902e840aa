"""Addresses of tensors in the activation and residual memories, by their lifetimes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.capacity import require
from etchnet.host.compiler.fusion import FusionGroup, fuse, fusible_additions, reshaped_in_place, sources_of
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.network.layers import Shape
from etchnet.host.network.network import INPUT, Network

__all__ = ["Lifetime", "MemoryMap", "allocate", "allocate_tensors"]


@dataclass(frozen=True)
class Lifetime:
    """A tensor's size in words, and the first and last step of the program in which it must be in memory."""

    size: int
    first: int
    last: int


def allocate(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """First words such that no two tensors that live at once overlap, and the words in use at most.

    The largest tensors are placed first, each into the lowest gap that takes it.
    """
    addresses = [0] * len(lifetimes)
    placed: list[int] = []
    for index in sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].size, i)):
        tensor = lifetimes[index]
        near = sorted(
            (addresses[other], addresses[other] + lifetimes[other].size)
            for other in placed
            if lifetimes[other].first <= tensor.last and tensor.first <= lifetimes[other].last
        )
        at = 0
        for begin, end in near:
            if at + tensor.size <= begin:
                break
            at = max(at, end)
        addresses[index] = at
        placed.append(index)
    return addresses, max((p + t.size for p, t in zip(addresses, lifetimes, strict=True)), default=0)


@dataclass(eq=False)
class MemoryMap:
    """Where the tensors of a network lie."""

    layouts: dict[int, TensorLayout] = field(default_factory=dict)
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


def _map_memory(
    network: Network, fusion_groups: Sequence[FusionGroup], reshaped: set[int], config: Config, images: int
) -> MemoryMap:
    memory = MemoryMap(output=len(network.layers) - 1)
    memory.shapes = {INPUT: network.input_shape} | dict(enumerate(network.shapes))
    step = {fusion.result: number for number, fusion in enumerate(fusion_groups)}
    read: dict[int, int] = {}
    aliases: list[tuple[int, int]] = []
    for number, fusion in enumerate(fusion_groups):
        for source in fusion.sources:
            root = _root(network, source, reshaped)
            read[root] = number
            if root != source:
                aliases.append((source, root))
    memory.layouts[INPUT] = TensorLayout.packed(network.input_shape, images, config)
    require("input_words", memory.layouts[INPUT].size, config, images)
    output = TensorLayout.written(network.output_shape, images, config, wide=network.wide)
    memory.layouts[memory.output] = output
    require("output_words", output.size, config, images)
    stored = [tensor for tensor in read if tensor not in (INPUT, memory.output)]
    found = {tensor: TensorLayout.written(network.shapes[tensor], images, config) for tensor in stored}
    bases, memory.activation_words = allocate([Lifetime(found[t].size, step[t], read[t]) for t in stored])
    require("activation_words", memory.activation_words, config, images)
    for tensor, base in zip(stored, bases, strict=True):
        memory.layouts[tensor] = dataclasses.replace(found[tensor], base=base)
    for tensor, root in aliases:
        shape = memory.shapes[tensor]
        memory.layouts[tensor] = dataclasses.replace(
            TensorLayout.written(shape, images, config), base=memory.layouts[root].base
        )
    kept: dict[int, int] = {}
    for number, fusion in enumerate(fusion_groups):
        if fusion.fused:
            kept[fusion.fused.residual] = number
    lifetimes = []
    for tensor, last in kept.items():
        height, width, channels = memory.shapes[tensor]
        lifetimes.append(Lifetime(images * height * width * ceil_div(channels, config.columns), step[tensor], last))
    bases, memory.residual_words = allocate(lifetimes)
    memory.residual = dict(zip(kept, bases, strict=True))
    return memory


def allocate_tensors(network: Network, config: Config, images: int) -> tuple[list[FusionGroup], MemoryMap]:
    """Units with as many additions fused as the residual memory takes, the largest given up first."""
    fusible = fusible_additions(network, config)
    aliases = reshaped_in_place(network, config)
    while True:
        fusion_groups = fuse(network, fusible, aliases)
        memory = _map_memory(network, fusion_groups, aliases, config, images)
        if memory.residual_words <= config.residual_words:
            return fusion_groups, memory
        largest = max(fusible, key=lambda index: int(np.prod(network.shapes[index])))
        del fusible[largest]
