"""The addresses of all tensors of a network in the memories of a machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.allocation import Lifetime, allocate
from etchnet.host.compiler.arrangement import Arrangement
from etchnet.host.compiler.capacity import Needs
from etchnet.host.compiler.fusion import FusionGroup, residual_lifetimes
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.compiler.reshapes import stored_tensor
from etchnet.host.network.layers import Shape
from etchnet.host.network.network import INPUT, Network

__all__ = ["MemoryMap", "allocate_tensors"]


@dataclass(frozen=True, eq=False)
class MemoryMap:
    """The addresses of all tensors, by their numbers in `Network.sources`.

    Attributes
    ----------
    layouts
        Tensors that passes read: the network's inputs, in the input memory, and results of layers in the activation
        memory.
    outputs
        The results of layers that are outputs of the network, in the output memory.
    shapes
        The stored shape (height, width, channels) of every tensor.
    residual
        First word of the tensors in the residual memory, where they are stored column tile after column tile.
    arrangements
        The arrangements of the tensors that are not stored pixel by pixel.
    images
        Inputs that are computed at once; every tensor is stored for each of them.
    activation_words, residual_words
        Words that are needed of the activation and residual memories.
    """

    layouts: Mapping[int, TensorLayout] = field(default_factory=dict)
    outputs: Mapping[int, TensorLayout] = field(default_factory=dict)
    shapes: Mapping[int, Shape] = field(default_factory=dict)
    residual: Mapping[int, int] = field(default_factory=dict)
    arrangements: Mapping[int, Arrangement] = field(default_factory=dict)
    images: int = 1
    activation_words: int = 0
    residual_words: int = 0

    @property
    def input_words(self) -> int:
        """Words of all inputs in the input memory."""
        return sum(layout.size for tensor, layout in self.layouts.items() if tensor < 0)

    @property
    def output_words(self) -> int:
        """Words of all outputs in the output memory."""
        return sum(layout.size for layout in self.outputs.values())

    @property
    def needs(self) -> Needs:
        """The memory needs of the tensors."""
        return Needs.tensors(
            input_words=self.input_words,
            output_words=self.output_words,
            activation_words=self.activation_words,
        )

    def pixels(self, tensor: int) -> int:
        """Return the number of stored pixels of one image of a tensor."""
        return self.shapes[tensor][0] * self.shapes[tensor][1]


def allocate_tensors(
    network: Network,
    groups: Sequence[FusionGroup],
    in_place: Collection[int],
    arrangements: Mapping[int, Arrangement],
    config: Config,
    images: int,
) -> MemoryMap:
    """Return addresses for the tensors that fusion groups read and write, for `images` inputs at once.

    `in_place` are reshapes whose results share the memory of their sources, and `arrangements` those of the tensors
    that are not stored pixel by pixel. Addresses may lie beyond the ends of the machine's memories: `MemoryMap.needs`
    tells.
    """
    shapes = {INPUT - k: shape for k, shape in enumerate(network.input_shapes)} | dict(enumerate(network.shapes))
    shapes |= {tensor: arrangement.shape(shapes[tensor][2]) for tensor, arrangement in arrangements.items()}
    packed = {t: TensorLayout.packed(shape, images, config) for t, shape in shapes.items() if t < 0}
    written = {
        output: TensorLayout.written(shapes[output], images, config, wide=network.layers[output].wide)
        for output in network.outputs
    }
    layouts, outputs = _in_a_row(packed), _in_a_row(written)
    step = {group.result: number for number, group in enumerate(groups)}
    last_read: dict[int, int] = {}
    shared: list[tuple[int, int]] = []
    for number, group in enumerate(groups):
        for source in group.sources:
            stored = stored_tensor(network, source, in_place)
            last_read[stored] = number
            if stored != source:
                shared.append((source, stored))
    activations = [tensor for tensor in last_read if tensor >= 0]
    found = {tensor: TensorLayout.written(shapes[tensor], images, config) for tensor in activations}
    lifetimes = [Lifetime(found[tensor].size, step[tensor], last_read[tensor]) for tensor in activations]
    addresses, activation_words = allocate(lifetimes)
    for tensor, address in zip(activations, addresses, strict=True):
        layouts[tensor] = dataclasses.replace(found[tensor], base=address)
    for tensor, stored in shared:
        layout = TensorLayout.written(shapes[tensor], images, config)
        layouts[tensor] = dataclasses.replace(layout, base=layouts[stored].base)
    kept = residual_lifetimes(network, groups, config, images)
    addresses, residual_words = allocate(list(kept.values()))
    residual = dict(zip(kept, addresses, strict=True))
    return MemoryMap(layouts, outputs, shapes, residual, arrangements, images, activation_words, residual_words)


def _in_a_row(layouts: Mapping[int, TensorLayout]) -> dict[int, TensorLayout]:
    """Return the layouts at addresses one after the other."""
    found, end = dict[int, TensorLayout](), 0
    for tensor, layout in layouts.items():
        found[tensor] = dataclasses.replace(layout, base=end)
        end += layout.size
    return found
