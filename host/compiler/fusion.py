"""What is computed as one: a layer, a layer with the addition that takes its result, an addition of two tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.lowering import Operand, Output, Part, Region, addition, is_alias, lower
from etchnet.host.network.layers import Add, Dense, Linear, Reshape, Shape
from etchnet.host.network.network import INPUT, Network

__all__ = [
    "FusedAddition",
    "FusionGroup",
    "column_tiles",
    "fuse",
    "fusible_additions",
    "reshaped_in_place",
    "sources_of",
    "strip_reshapes",
]


@dataclass(frozen=True, eq=False)
class FusedAddition:
    """An addition behind a layer: what scales the layer's result, the residual and the sum."""

    layer: int
    residual: int
    first: Output
    second: Output
    result: Output


@dataclass(frozen=True, eq=False)
class FusionGroup:
    """What is computed as one: a layer, with the addition that takes its result, or an addition of two tensors.

    Attributes
    ----------
    layer
        The layer whose weights it multiplies.
    result
        The layer whose result it writes.
    pair
        For an addition of two tensors: their operands, and what scales each and the sum.
    """

    layer: int
    result: int
    parts: Sequence[Part]
    fused: FusedAddition | None = None
    pair: tuple[Sequence[Operand], Sequence[Output], Output] | None = None

    @property
    def sources(self) -> list[int]:
        """Tensors that it reads through the array."""
        operands = self.pair[0] if self.pair else [o for part in self.parts for o in part.operands]
        return sorted({operand.source for operand in operands})


def column_tiles(part: Part, config: Config) -> int:
    """Column tiles of a part's channels."""
    return ceil_div(part.channels, config.columns)


def sources_of(network: Network) -> list[tuple[int, ...]]:
    """For each layer, the layers that it reads."""
    return [tuple(s) for s in network.sources]


def strip_reshapes(network: Network) -> tuple[Network, list[int]]:
    """The network without the reshapes that change nothing in memory or are read by fully connected layers alone.

    Returns the network, and for each of its layers the index in the original.
    """
    sources = sources_of(network)
    layers = list(network.layers)
    input_shape = network.input_shape
    shapes = network.shapes

    def shape(index: int) -> Shape:
        return network.input_shape if index == INPUT else shapes[index]

    first = network.readers(INPUT)
    if len(first) == 1 and isinstance(layers[first[0]], Reshape) and len(layers) > 1:
        # The host packs inputs in whatever shape they are read.
        input_shape = shapes[first[0]]
        sources = [tuple(INPUT if s == first[0] else s for s in which) for which in sources]
        sources[first[0]] = ()
    for index, layer in enumerate(layers):
        through = []
        for source in sources[index]:
            at = source
            while at != INPUT and isinstance(reshape := layers[at], Reshape) and sources[at]:
                below = sources[at][0]
                if not (isinstance(layer, Dense) or shape(below) == reshape.size):
                    break
                at = below
            through.append(at)
        sources[index] = tuple(through)
    last = len(layers) - 1
    while isinstance(layers[last], Reshape) and sources[last] and sources[last][0] != INPUT:
        last = sources[last][0]
    needed, stack = set(), [last]
    while stack:
        if (index := stack.pop()) != INPUT and index not in needed:
            needed.add(index)
            stack += sources[index]
    order = sorted(needed)
    number = {INPUT: INPUT} | {old: new for new, old in enumerate(order)}
    kept = Network(
        [layers[i] for i in order], input_shape, [[number[s] for s in sources[i]] for i in order], network.contract
    )
    return kept, order


def fusible_additions(network: Network, config: Config) -> dict[int, tuple[int, int]]:
    """Additions that can be part of the layer before them: addition to (that layer, the layer kept as residual)."""
    found: dict[int, tuple[int, int]] = {}
    sources, inside = sources_of(network), set()
    if not config.residual_words:
        return found
    for index, layer in enumerate(network.layers):
        if not isinstance(layer, Add):
            continue
        pairs = [
            (a, b)
            for a, b in (sources[index], sources[index][::-1])
            if a != b
            and INPUT not in (a, b)
            and isinstance(network.layers[a], Linear)
            and network.readers(a) == [index]
            and not isinstance(network.layers[b], Reshape)  # it may be no more than another's memory
            and b not in inside
        ]
        if pairs:
            # The longer it computes, the more of the addition is hidden behind it.
            found[index] = max(pairs, key=lambda p: network.layers[p[0]].multiplications(*network.source_shapes(p[0])))
            inside.add(found[index][0])
    return found


def reshaped_in_place(network: Network, config: Config) -> set[int]:
    """Reshaped tensors that lie in memory as those that they are made of, which the output stage wrote."""
    found: set[int] = set()
    for index, layer in enumerate(network.layers):
        source = sources_of(network)[index][0]
        last = index == len(network.layers) - 1
        if not isinstance(layer, Reshape) or source == INPUT or last:
            continue
        if is_alias(layer, network.source_shapes(index)[0], config):
            found.add(index)
    return found


def fuse(network: Network, fusible: Mapping[int, tuple[int, int]], aliases: set[int]) -> list[FusionGroup]:
    """Units in an order in which each comes behind those that it reads."""
    fusion_groups, sources = [], sources_of(network)
    delayed = {first: index for index, (first, _) in fusible.items()}

    def parts(index: int) -> list[Part]:
        return lower(network.layers[index], sources[index], network.source_shapes(index), network.contract)

    for index, layer in enumerate(network.layers):
        if index in aliases or index in delayed:
            continue
        if not isinstance(layer, Add):
            fusion_groups.append(FusionGroup(index, index, parts(index)))
            continue
        shape = network.shapes[index]
        operands, scaled, result = addition(layer, sources[index], shape)
        if index in fusible:
            before, residual = fusible[index]
            which = sources[index].index(before)
            fused = FusedAddition(index, residual, scaled[which], scaled[1 - which], result)
            fusion_groups.append(FusionGroup(before, index, parts(before), fused=fused))
        else:
            part = Part(Region(0, 0, shape[0], shape[1]), shape[2], operands, result)
            fusion_groups.append(FusionGroup(index, index, [part], pair=(operands, scaled, result)))
    return fusion_groups
