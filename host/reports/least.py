"""Lower bounds of the memories that a network needs, known before it is compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.capacity import enough, largest, resized
from etchnet.host.network.layers import Conv, Depthwise, Linear, Reshape, Shape, Slice
from etchnet.host.network.network import INPUT, Network

__all__ = ["LeastMemories"]


@dataclass(frozen=True, eq=False)
class LeastMemories:
    """Lower bounds of the memories that any program of a network needs, on any machine.

    However layers become passes, every weight is stored once, a pass multiplies at most every element of the array by
    every pixel that an accumulator bank holds, and a layer with weights reads its operand while it writes its result.
    """

    network: Network

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(layer.weights.size for _, layer in self._linear)

    @cached_property
    def activation_bytes(self) -> int:
        """Bytes of the largest operand and result of one layer that are both in the activation memory."""
        return max(map(self._live, range(len(self.network.layers))), default=0)

    @cached_property
    def input_bytes(self) -> int:
        """Bytes of the inputs, without pixels that no window covers."""
        return sum(map(self._sent, range(len(self.network.input_shapes))))

    def on(self, config: Config) -> Config:
        """Return a machine like `config` with memories that are no larger than those that the network needs."""
        words = {"activation_words": self.activation_bytes, "input_words": self.input_bytes}
        words["output_words"] = _bytes(self.network.output_shapes)
        needed = {name: ceil_div(count, config.rows) for name, count in words.items()}
        needed["weight_tiles"] = ceil_div(self.weight_bytes, config.multipliers)
        needed["parameter_tiles"] = sum(ceil_div(layer.channels, config.columns) for _, layer in self._linear)
        slots = config.multipliers * config.accumulator_rows
        needed["passes"] = sum(ceil_div(count, slots) for count in self._multiplications)
        # No machine has more than the largest, which is therefore a lower bound too.
        sizes = {name: min(enough(name, count), largest(name)) for name, count in needed.items()}
        return resized(config, sizes | {"drains": 2, "residual_words": 0, "depthwise": 0})

    @property
    def _linear(self) -> list[tuple[int, Linear]]:
        return [(i, layer) for i, layer in enumerate(self.network.layers) if isinstance(layer, Linear)]

    @cached_property
    def _multiplications(self) -> list[int]:
        """For each layer with weights, its multiplications by pixels of the image."""
        return [_multiplications(layer, self.network.source_shapes(index)) for index, layer in self._linear]

    def _sent(self, number: int) -> int:
        """Return the bytes of an input that the host cannot leave out, however it unfolds the input."""
        height, width, channels = self.network.input_shapes[number]
        layers = [(self.network.layers[reader], reader) for reader in self.network.readers(INPUT - number)]
        covered = []
        for layer, index in layers:
            if isinstance(layer, Conv | Depthwise):
                rows, columns, _ = self.network.shapes[index]
                covered.append(min(height, rows * layer.kernel[0]) * min(width, columns * layer.kernel[1]))
        pixels = max(covered) if covered and len(covered) == len(layers) else height * width
        return pixels * channels

    def _live(self, index: int) -> int:
        """Return the bytes of a layer's operand and result if both are certain to be in the activation memory."""
        network = self.network
        layer, source = network.layers[index], network.sources[index][0]
        while source >= 0 and isinstance(network.layers[source], Reshape | Slice):
            source = network.sources[source][0]  # A view of it is not stored.
        if source < 0 or not isinstance(layer, Linear):
            return 0
        read = any(isinstance(network.layers[reader], Linear) for reader in network.readers(index))
        return _bytes([network.source_shapes(index)[0], *([network.shapes[index]] if read else [])])


def _bytes(shapes: Sequence[Shape]) -> int:
    return sum(height * width * channels for height, width, channels in shapes)


def _multiplications(layer: Linear, shapes: Sequence[Shape]) -> int:
    """Return the multiplications of a layer for one image, without those of padding."""
    if not isinstance(layer, Conv | Depthwise):
        return layer.multiplications(*shapes)
    inside = 1
    for axis, count in enumerate(layer.shape(*shapes)[:2]):
        taps = np.arange(layer.kernel[axis]) * layer.dilation[axis] - layer.padding[axis][0]
        places = np.arange(count)[:, None] * layer.stride[axis] + taps
        inside *= int(((places >= 0) & (places < shapes[0][axis])).sum())
    return inside * (layer.weights.size // (layer.kernel[0] * layer.kernel[1]))
