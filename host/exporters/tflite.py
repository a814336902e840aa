"""Networks as TensorFlow Lite files, for other people's runtimes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from etchnet.host.exporters.flatbuffer import Graph
from etchnet.host.network.layers import (
    Add,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Linear,
    MaxPool,
    Pad,
    Padding,
    Pool,
    Reshape,
    Scaling,
    same_padding,
)
from etchnet.host.network.model import Quantisation
from etchnet.host.network.network import INPUT, Network

__all__ = ["to_tflite"]

_FLUSHED = 2.0**-40
"""a scale, beside another, whose multiplier in an addition is flushed to zero"""


def to_tflite(network: Network, *, batch: int = 1) -> bytes:
    """The network as a TensorFlow Lite file; its input is (batch, height, width, channels), or (batch, values).

    Weights carry the factors, so that activations have scale 1 where nothing else is asked for: operands and results of
    additions have scales in the proportion that the additions need, and a clamp above zero needs one of its own.
    float32 scales hold 24 bits of each factor, so that a result next to a tie may differ by one.

    Raises
    ------
    ValueError
        TensorFlow Lite has no such network: the message names the layer and why.
    """
    return _Export(network, batch).data


class _Ratios:
    """Tensors, by number, whose scales stand in known proportions."""

    def __init__(self, count: int) -> None:
        self._parents = {index: (index, 1.0) for index in range(-1, count)}

    def root(self, index: int) -> tuple[int, float]:
        """What stands for all in proportion to a tensor, and how many times its scale the tensor's is."""
        ratio = 1.0
        while self._parents[index][0] != index:
            index, step = self._parents[index]
            ratio *= step
        return index, ratio

    def join(self, first: int, second: int, ratio: float) -> bool:
        """Scale of the first = ratio x scale of the second; False where they already have another proportion."""
        (a, times_a), (b, times_b) = self.root(first), self.root(second)
        if a == b:
            return math.isclose(times_a, ratio * times_b, rel_tol=1e-6)
        self._parents[a] = (b, ratio * times_b / times_a)
        return True


class _Export:
    def __init__(self, network: Network, batch: int) -> None:
        self._network, self._batch, self._sources = network, batch, network.sources
        for index, layer in enumerate(network.layers):
            if layer.wide:
                raise ValueError(f"layer {index} gives int32: TensorFlow Lite's int8 layers give int8")
        self._zeros = self._zero_points()
        self._scales = self._all_scales()
        self._graph, self._images = Graph(), dict[int, int]()
        self._tensors = {INPUT: self._input()}
        for index in range(len(network.layers)):
            self._tensors[index] = self._layer(index)
        self.data = self._graph.write(self._tensors[INPUT], self._tensors[len(network.layers) - 1])

    # Scales and zero points

    def _zero_points(self) -> dict[int, int]:
        """Of every tensor: what its layer gives, or what its readers take."""
        layers = self._network.layers
        groups = _Ratios(len(layers))
        for index, layer in enumerate(layers):
            if not isinstance(layer, Linear | Add):
                for source in self._sources[index]:
                    groups.join(index, source, 1.0)
        known: dict[int, int] = {}
        for index, layer in enumerate(layers):
            if isinstance(layer, Linear | Add):
                before = known.setdefault(groups.root(index)[0], layer.zero_point)
                if before != layer.zero_point:
                    raise ValueError(f"layer {index} gives zero point {layer.zero_point}, but {before} is read")
        for index, layer in enumerate(layers):
            taken: Sequence[int] = ()
            if isinstance(layer, Linear):
                taken = (layer.input_zero_point,)
            elif isinstance(layer, Add):
                taken = layer.zero_points
            for source, zero in zip(self._sources[index], taken, strict=False):
                before = known.setdefault(groups.root(source)[0], zero)
                if before != zero:
                    raise ValueError(f"layer {index} takes zero point {zero}, but {before} comes in")
        return {index: known.get(groups.root(index)[0], 0) for index in range(-1, len(layers))}

    def _all_scales(self) -> dict[int, float]:
        layers = self._network.layers
        ratios = _Ratios(len(layers))
        for index, layer in enumerate(layers):
            sources, agree = self._sources[index], True
            if isinstance(layer, Add):
                first, second = (self._operand(index, scaling) for scaling in (layer.first, layer.second))
                behind = math.ldexp(layer.result.multiplier, layer.result.left - layer.result.right - 31)
                if not behind:
                    raise ValueError(f"layer {index} multiplies its sum by 0")
                agree = ratios.join(sources[0], sources[1], first / second)
                # Its operands lie at 2**-20 of twice the larger scale.
                agree &= ratios.join(index, sources[0 if first >= second else 1], 2.0 / ((1 << 20) * behind))
            elif not isinstance(layer, Linear):
                agree = all(ratios.join(index, source, 1.0) for source in sources)
            if not agree:
                raise ValueError(f"layer {index} needs scales of its operands in another proportion than theirs")
        roots: dict[int, float] = {}
        for index in range(len(layers)):
            if wanted := self._wanted_scale(index):
                root, ratio = ratios.root(index)
                roots.setdefault(root, wanted / ratio)
        scales = {}
        for index in range(-1, len(layers)):
            root, ratio = ratios.root(index)
            scales[index] = float(np.float32(roots.get(root, 1.0) * ratio))
            if not (math.isfinite(scales[index]) and scales[index]):
                raise ValueError(
                    f"layer {index} needs a scale of {roots.get(root, 1.0) * ratio}, which is not a float32"
                )
        return scales

    @staticmethod
    def _operand(index: int, scaling: Scaling) -> float:
        if scaling.left != 20:
            raise ValueError(f"layer {index} raises its operands by {scaling.left} bits: TensorFlow Lite does by 20")
        return math.ldexp(scaling.multiplier, -scaling.right - 31) or _FLUSHED

    def _limits(self, index: int) -> tuple[int, int]:
        layer = self._network.layers[index]
        return (layer.low, layer.high) if isinstance(layer, Linear | Pool | Add) else (-128, 127)

    def _wanted_scale(self, index: int) -> float | None:
        """The scale at which a clamp is that of RELU6 or RELU_N1_TO_1."""
        (low, high), zero = self._limits(index), self._zeros[index]
        if low == zero:
            return 6 / (high - zero) if zero < high < 127 else None
        if -128 < low < zero:
            return 1 / (zero - low)
        return 1 / (high - zero) if zero < high < 127 else None

    def _activation(self, index: int) -> int:
        import tflite

        kinds, q = tflite.ActivationFunctionType, Quantisation(self._scales[index], self._zeros[index])
        zero, one, minus, six = (int(q.quantise(np.float32(v))) for v in (0, 1, -1, 6))
        limits = {
            (-128, 127): kinds.NONE,
            (zero, 127): kinds.RELU,
            (zero, six): kinds.RELU6,
            (minus, one): kinds.RELU_N1_TO_1,
        }
        low, high = self._limits(index)
        if (low, high) not in limits:
            raise ValueError(f"layer {index} clamps to {low}..{high}: only ReLU, ReLU6 and -1..1 can be written")
        return int(limits[low, high])

    # Tensors and operators

    def _input(self) -> int:
        shape = self._network.input_shape
        readers = [self._network.layers[i] for i in self._network.readers(INPUT)]
        flat = shape[:2] == (1, 1) and all(isinstance(layer, Dense) for layer in readers)
        sizes = shape[2:] if flat else shape
        return self._graph.activation("input", (self._batch, *sizes), self._scales[INPUT], self._zeros[INPUT])

    def _image(self, node: int) -> int:
        """A layer's result with four dimensions."""
        tensor = self._tensors[node]
        shape = self._graph.tensors[tensor].shape
        if len(shape) == 4:
            return tensor
        if node not in self._images:
            self._images[node] = self._graph.reshape(tensor, (self._batch, 1, 1, shape[1]))
        return self._images[node]

    def _layer(self, index: int) -> int:
        """Write a layer; returns its result."""
        network, graph = self._network, self._graph
        layer, sources, shape = network.layers[index], self._sources[index], network.shapes[index]
        if isinstance(layer, Reshape):
            return graph.reshape(self._tensors[sources[0]], (self._batch, *shape))
        sizes = shape[2:] if isinstance(layer, Dense) else shape
        result = graph.activation(f"layer {index}", (self._batch, *sizes), self._scales[index], self._zeros[index])
        if isinstance(layer, Linear):
            return self._linear(index, layer, result)
        images = [self._image(source) for source in sources]
        if isinstance(layer, Pool):
            source, same = self._padded(
                index, layer.window, layer.padding, -128 if isinstance(layer, MaxPool) else None
            )
            return graph.pool_2d(
                "average" if isinstance(layer, AveragePool) else "max",
                source,
                result,
                window=layer.window,
                stride=layer.stride,
                same=same,
                activation=self._activation(index),
            )
        if isinstance(layer, Add):
            return graph.add(images[0], images[1], result, activation=self._activation(index))
        if isinstance(layer, Concat):
            return graph.concatenation(images, layer.axis + 1, result)
        assert isinstance(layer, Pad)
        value = None if layer.value == self._zeros[index] else layer.value
        return graph.pad(images[0], [(0, 0), *layer.padding, layer.channels], result, value=value)

    def _linear(self, index: int, layer: Linear, result: int) -> int:
        source, activation = self._sources[index][0], self._activation(index)
        factors = np.ldexp(layer.multiplier.astype(np.float64), layer.shift - 31)
        scales = (factors * self._scales[index] / self._scales[source]).astype(np.float32)
        bias = layer.bias.astype(np.int32)
        if isinstance(layer, Dense):
            weights = np.ascontiguousarray(layer.weights.T)
            return self._graph.fully_connected(
                self._tensors[source], weights, scales, bias, result, activation=activation
            )
        assert isinstance(layer, Conv | Depthwise)
        image, same = self._padded(index, layer.kernel, layer.padding, layer.input_zero_point, layer.dilation)
        settings = {"stride": layer.stride, "dilation": layer.dilation, "same": same, "activation": activation}
        if isinstance(layer, Conv):
            weights = np.ascontiguousarray(layer.weights.transpose(3, 0, 1, 2))
            return self._graph.conv_2d(image, weights, scales, bias, result, **settings)  # type: ignore[arg-type]
        weights = layer.weights.reshape(1, *layer.kernel, layer.channels)
        multiplier = layer.weights.shape[3]
        return self._graph.depthwise_conv_2d(
            image,
            weights,
            scales,
            bias,
            result,
            multiplier=multiplier,
            **settings,  # type: ignore[arg-type]
        )

    def _padded(
        self,
        index: int,
        kernel: tuple[int, int],
        padding: Padding,
        value: int | None,
        dilation: tuple[int, int] = (1, 1),
    ) -> tuple[int, bool]:
        """The image that a window slides over, padded beforehand where SAME does not do it; and whether SAME does."""
        source, layer = self._sources[index][0], self._network.layers[index]
        image, shape = self._image(source), self._network.source_shapes(index)[0]
        assert isinstance(layer, Conv | Depthwise | Pool)
        if not any(map(any, padding)):
            return image, False
        if padding == tuple(same_padding(shape[k], kernel[k], layer.stride[k], dilation[k]) for k in range(2)):
            return image, True
        if value is None:
            raise ValueError(f"layer {index} pads by {padding}, which is not TensorFlow Lite's SAME")
        height, width = (shape[k] + sum(padding[k]) for k in range(2))
        padded = self._graph.like(image, (self._batch, height, width, shape[2]))
        same = value == self._zeros[source]
        return self._graph.pad(image, [(0, 0), *padding, (0, 0)], padded, value=None if same else value), False
