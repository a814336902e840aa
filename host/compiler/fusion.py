"""Fusion groups: the layers that are computed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.allocation import Lifetime, allocate
from etchnet.host.compiler.parts import Addition, Output, Part, Region
from etchnet.host.compiler.reshapes import sources_of
from etchnet.host.network.layers import Add, Linear, Reshape
from etchnet.host.network.network import Network

__all__ = [
    "FusedAddition",
    "FusionGroup",
    "Lowered",
    "column_tiles",
    "fuse",
    "fusible_additions",
    "residual_lifetimes",
]

Lowered = Mapping[int, Sequence[Part] | Addition]
"""for each layer that the array computes, its parts; for an `Add` or `AddConstant`, the addition"""


@dataclass(frozen=True, eq=False)
class FusedAddition:
    """An addition that is computed together with the layer before it.

    Attributes
    ----------
    layer
        The `Add`.
    residual
        The layer whose result is read from the residual memory.
    first, second, result
        Requantisation of the layer's result, of the residual and of the sum.
    """

    layer: int
    residual: int
    first: Output
    second: Output
    result: Output


@dataclass(frozen=True, eq=False)
class FusionGroup:
    """Layers that are computed together: one layer, a layer with the addition after it, or an addition of two tensors.

    Attributes
    ----------
    layer
        The layer whose operands enter the array.
    result
        The layer whose result is written: `layer`, or the addition that is fused with it.
    parts
        The parts of `layer`.
    addition
        The fused addition, or None.
    pair
        The addition of two tensors, or of a tensor and a constant, if `layer` is one, else None. Its operands go
        through the array.
    """

    layer: int
    result: int
    parts: Sequence[Part]
    addition: FusedAddition | None = None
    pair: Addition | None = None

    @property
    def sources(self) -> list[int]:
        """Tensors that are read through the array."""
        operands = self.pair.operands if self.pair else [o for part in self.parts for o in part.operands]
        return sorted({operand.source for operand in operands})


def column_tiles(part: Part, config: Config) -> int:
    """Return the number of column tiles of a part's channels."""
    return ceil_div(part.channels, config.columns)


def fusible_additions(network: Network, config: Config) -> dict[int, tuple[int, int]]:
    """Return the additions that can be fused: for each, the layer before it and the layer kept as the residual."""
    found: dict[int, tuple[int, int]] = {}
    sources, fused_into = sources_of(network), set()
    if not config.residual_words:
        return found
    for index, layer in enumerate(network.layers):
        if not isinstance(layer, Add):
            continue
        pairs = [
            (a, b)
            for a, b in (sources[index], sources[index][::-1])
            if a != b
            and layer.signs == (1, 1)
            and min(a, b) >= 0
            and isinstance(network.layers[a], Linear)
            and network.readers(a) == [index]
            and a not in network.outputs
            and not isinstance(network.layers[b], Reshape)  # it may share the memory of another tensor
            and b not in fused_into
        ]
        if pairs:
            # The more passes the fused layer has, the more of the addition's drains they hide.
            found[index] = max(pairs, key=lambda p: network.layers[p[0]].multiplications(*network.source_shapes(p[0])))
            fused_into.add(found[index][0])
    return found


def fuse(network: Network, lowered: Lowered, config: Config, images: int) -> list[FusionGroup]:
    """Return the fusion groups of a network, each after those whose results it reads.

    If the residual memory is too small for all additions, the largest ones are not fused.
    """
    fusible = fusible_additions(network, config)
    while True:
        groups = _groups(network, lowered, fusible)
        _, words = allocate(list(residual_lifetimes(network, groups, config, images).values()))
        if words <= config.residual_words:
            return groups
        largest = max(fusible, key=lambda index: int(np.prod(network.shapes[index])))
        del fusible[largest]


def _groups(network: Network, lowered: Lowered, fusible: Mapping[int, tuple[int, int]]) -> list[FusionGroup]:
    groups, sources = [], sources_of(network)
    before_addition = {layer for layer, _ in fusible.values()}
    for index, made in lowered.items():
        if index in before_addition:
            continue
        if not isinstance(made, Addition):
            groups.append(FusionGroup(index, index, made))
        elif index in fusible:
            layer, residual = fusible[index]
            own, parts = sources[index].index(layer), lowered[layer]
            assert not isinstance(parts, Addition)
            fused = FusedAddition(index, residual, made.scaled[own], made.scaled[1 - own], made.result)
            groups.append(FusionGroup(layer, index, parts, addition=fused))
        else:
            height, width, channels = network.shapes[index]
            part = Part(Region(0, 0, height, width), channels, made.operands, made.result)
            groups.append(FusionGroup(index, index, [part], pair=made))
    return groups


def residual_lifetimes(
    network: Network, groups: Sequence[FusionGroup], config: Config, images: int
) -> dict[int, Lifetime]:
    """Return the lifetimes of the tensors that fused additions read from the residual memory."""
    written = {group.result: number for number, group in enumerate(groups)}
    last_read = {group.addition.residual: number for number, group in enumerate(groups) if group.addition}
    found = {}
    for tensor, last in last_read.items():
        height, width, channels = network.shapes[tensor]
        words = images * height * width * ceil_div(channels, config.columns)
        found[tensor] = Lifetime(words, written[tensor], last)
    return found
