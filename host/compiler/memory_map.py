"""The addresses of all tensors of a network in the memories of a machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.allocation import Lifetime, allocate
from etchnet.host.compiler.capacity import require
from etchnet.host.compiler.fusion import FusionGroup, residual_lifetimes
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.compiler.reshapes import stored_tensor
from etchnet.host.network.layers import Shape
from etchnet.host.network.network import INPUT, Network

__all__ = ["MemoryMap", "allocate_tensors"]


@dataclass(frozen=True, eq=False)
class MemoryMap:
    """The addresses of all tensors, by layer; `INPUT` is the network's input.

    Attributes
    ----------
    layouts
        Tensors in the input memory (`INPUT`), in the output memory (`output`) and in the activation memory (all
        others).
    shapes
        The shape (height, width, channels) of every tensor.
    residual
        First word of the tensors in the residual memory, where they are stored column tile after column tile.
    output
        The layer whose result is the network's.
    images
        Inputs that are computed at once; every tensor is stored for each of them.
    activation_words, residual_words
        Words that are needed of the activation and residual memories.
    """

    layouts: Mapping[int, TensorLayout] = field(default_factory=dict)
    shapes: Mapping[int, Shape] = field(default_factory=dict)
    residual: Mapping[int, int] = field(default_factory=dict)
    output: int = 0
    images: int = 1
    activation_words: int = 0
    residual_words: int = 0

    def pixels(self, tensor: int) -> int:
        """Return the number of pixels of one image of a tensor."""
        return self.shapes[tensor][0] * self.shapes[tensor][1]


def allocate_tensors(
    network: Network, groups: Sequence[FusionGroup], in_place: Collection[int], config: Config, images: int
) -> MemoryMap:
    """Return addresses for the tensors that fusion groups read and write, for `images` inputs at once.

    `in_place` are reshapes whose results share the memory of their sources.

    Raises
    ------
    CapacityError
        The input, output or activation memory is too small.
    """
    shapes = {INPUT: network.input_shape} | dict(enumerate(network.shapes))
    output = len(network.layers) - 1
    layouts = {
        INPUT: TensorLayout.packed(network.input_shape, images, config),
        output: TensorLayout.written(network.output_shape, images, config, wide=network.wide),
    }
    require("input_words", layouts[INPUT].size, config, images)
    require("output_words", layouts[output].size, config, images)
    step = {group.result: number for number, group in enumerate(groups)}
    last_read: dict[int, int] = {}
    shared: list[tuple[int, int]] = []
    for number, group in enumerate(groups):
        for source in group.sources:
            stored = stored_tensor(network, source, in_place)
            last_read[stored] = number
            if stored != source:
                shared.append((source, stored))
    activations = [tensor for tensor in last_read if tensor not in layouts]
    found = {tensor: TensorLayout.written(shapes[tensor], images, config) for tensor in activations}
    lifetimes = [Lifetime(found[tensor].size, step[tensor], last_read[tensor]) for tensor in activations]
    addresses, activation_words = allocate(lifetimes)
    require("activation_words", activation_words, config, images)
    for tensor, address in zip(activations, addresses, strict=True):
        layouts[tensor] = dataclasses.replace(found[tensor], base=address)
    for tensor, stored in shared:
        layout = TensorLayout.written(shapes[tensor], images, config)
        layouts[tensor] = dataclasses.replace(layout, base=layouts[stored].base)
    kept = residual_lifetimes(network, groups, config, images)
    addresses, residual_words = allocate(list(kept.values()))
    residual = dict(zip(kept, addresses, strict=True))
    return MemoryMap(layouts, shapes, residual, output, images, activation_words, residual_words)
