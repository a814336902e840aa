"""Networks written as TensorFlow Lite files, for other runtimes."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from etchnet.host.exporters.flatbuffer import Graph
from etchnet.host.exporters.scales import tensor_scales, tensor_zero_points
from etchnet.host.network.layers import (
    Add,
    AddConstant,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Layer,
    Linear,
    MaxPool,
    Pad,
    Padding,
    Pool,
    Reshape,
    Slice,
    same_padding,
)
from etchnet.host.network.model import Quantisation
from etchnet.host.network.network import INPUT, Network

__all__ = ["Export", "to_tflite", "write_layer"]


def to_tflite(network: Network, *, batch: int = 1) -> bytes:
    """Return the network as a TensorFlow Lite file, with inputs (batch, height, width, channels) or (batch, values).

    The scales of the weights carry the factors of the layers, so that activations have scale 1 unless a layer needs
    another: an addition fixes the ratios of the scales of its operands and result, and a clamp above zero needs its own
    scale. float32 scales hold 24 bits of each factor, so a result next to a tie may differ by one.

    Raises
    ------
    ValueError
        TensorFlow Lite cannot express the network; the message names the layer and the reason.
    """
    return Export(network, batch).data


class Export:
    """The state of the export of one network.

    Parameters
    ----------
    network, batch
        The network, and the size of the first axis of all tensors.

    Attributes
    ----------
    graph
        The file so far.
    tensors
        For each layer written so far, and for each input, by its number, the tensor of the file that holds it.
    data
        The bytes of the file.
    """

    def __init__(self, network: Network, batch: int) -> None:
        self.network, self.batch = network, batch
        for index, layer in enumerate(network.layers):
            if layer.wide:
                raise ValueError(f"layer {index} has an int32 result: TensorFlow Lite's int8 layers have int8 results")
        self.zeros = tensor_zero_points(network)
        self.scales = tensor_scales(network, self.zeros)
        self.graph, self._images = Graph(), dict[int, int]()
        self.tensors = {INPUT - number: self._input(number) for number in range(len(network.input_shapes))}
        for index, layer in enumerate(network.layers):
            self.tensors[index] = write_layer(layer, self, index)
        inputs = [self.tensors[INPUT - number] for number in range(len(network.input_shapes))]
        self.data = self.graph.write(inputs, [self.tensors[output] for output in network.outputs])

    def _input(self, number: int) -> int:
        shape, tensor = self.network.input_shapes[number], INPUT - number
        readers = [self.network.layers[i] for i in self.network.readers(tensor)]
        flat = shape[:2] == (1, 1) and all(isinstance(layer, Dense) for layer in readers)
        sizes = shape[2:] if flat else shape
        name = "input" if len(self.network.input_shapes) == 1 else f"input{number}"
        return self.graph.activation(name, (self.batch, *sizes), self.scales[tensor], self.zeros[tensor])

    def source(self, index: int, position: int = 0) -> int:
        """Return a tensor that a layer reads."""
        return self.tensors[self.network.sources[index][position]]

    def images(self, index: int) -> list[int]:
        """Return the tensors that a layer reads, each with four dimensions."""
        return [self._image(source) for source in self.network.sources[index]]

    def _image(self, node: int) -> int:
        tensor = self.tensors[node]
        shape = self.graph.tensors[tensor].shape
        if len(shape) == 4:
            return tensor
        if node not in self._images:
            self._images[node] = self.graph.reshape(tensor, (self.batch, 1, 1, shape[1]))
        return self._images[node]

    def result(self, index: int) -> int:
        """Add the tensor of a layer's result: (batch, values) for a `Dense`, else (batch, height, width, channels)."""
        shape = self.network.shapes[index]
        sizes = shape[2:] if isinstance(self.network.layers[index], Dense) else shape
        return self.graph.activation(f"layer {index}", (self.batch, *sizes), self.scales[index], self.zeros[index])

    def activation(self, index: int) -> int:
        """Return the schema's number of the activation function that clamps as a layer does."""
        import tflite

        kinds, q = tflite.ActivationFunctionType, Quantisation(self.scales[index], self.zeros[index])
        zero, one, minus, six = (int(q.quantise(np.float32(v))) for v in (0, 1, -1, 6))
        limits = {
            (-128, 127): kinds.NONE,
            (zero, 127): kinds.RELU,
            (zero, six): kinds.RELU6,
            (minus, one): kinds.RELU_N1_TO_1,
        }
        layer = self.network.layers[index]
        if (layer.low, layer.high) not in limits:
            raise ValueError(
                f"layer {index} clamps to {layer.low}..{layer.high}: TensorFlow Lite has only ReLU, ReLU6 and -1..1"
            )
        return int(limits[layer.low, layer.high])

    def weights(self, index: int, layer: Linear) -> tuple[np.ndarray, np.ndarray]:
        """Return the scales of a layer's weights, float32, and its bias, int32."""
        factors = np.ldexp(layer.multiplier.astype(np.float64), layer.shift - 31)
        scales = factors * self.scales[index] / self.scales[self.network.sources[index][0]]
        return scales.astype(np.float32), layer.bias.astype(np.int32)

    def padded(
        self,
        index: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: Padding,
        value: int | None,
        dilation: tuple[int, int] = (1, 1),
    ) -> tuple[int, bool]:
        """Return the image over which a layer's window slides, and whether the window has SAME padding.

        Padding that is not SAME is added to the image by a separate operator, with `value`. If that is None, such
        padding raises ValueError.
        """
        image, shape = self.images(index)[0], self.network.source_shapes(index)[0]
        if not any(map(any, padding)):
            return image, False
        if padding == tuple(same_padding(shape[k], kernel[k], stride[k], dilation[k]) for k in range(2)):
            return image, True
        if value is None:
            raise ValueError(f"layer {index} pads by {padding}, which is not TensorFlow Lite's SAME")
        height, width = (shape[k] + sum(padding[k]) for k in range(2))
        padded = self.graph.like(image, (self.batch, height, width, shape[2]))
        same = value == self.zeros[self.network.sources[index][0]]
        return self.graph.pad(image, [(0, 0), *padding, (0, 0)], padded, value=None if same else value), False


@singledispatch
def write_layer(layer: Layer, export: Export, index: int) -> int:
    """Write layer number `index`; returns the tensor of its result.

    One function is registered here for each class of layer.
    """
    raise ValueError(f"layer {index}, a {type(layer).__name__}, has no operator in TensorFlow Lite")


@write_layer.register(Dense)
def _dense(layer: Dense, export: Export, index: int) -> int:
    scales, bias = export.weights(index, layer)
    weights = np.ascontiguousarray(layer.weights.T)
    return export.graph.fully_connected(
        export.source(index), weights, scales, bias, export.result(index), activation=export.activation(index)
    )


@write_layer.register(Conv)
def _conv(layer: Conv, export: Export, index: int) -> int:
    scales, bias = export.weights(index, layer)
    result = export.result(index)
    image, same = export.padded(
        index, layer.kernel, layer.stride, layer.padding, layer.input_zero_point, layer.dilation
    )
    return export.graph.conv_2d(
        image,
        np.ascontiguousarray(layer.weights.transpose(3, 0, 1, 2)),
        scales,
        bias,
        result,
        stride=layer.stride,
        dilation=layer.dilation,
        same=same,
        activation=export.activation(index),
    )


@write_layer.register(Depthwise)
def _depthwise(layer: Depthwise, export: Export, index: int) -> int:
    scales, bias = export.weights(index, layer)
    result = export.result(index)
    image, same = export.padded(
        index, layer.kernel, layer.stride, layer.padding, layer.input_zero_point, layer.dilation
    )
    return export.graph.depthwise_conv_2d(
        image,
        layer.weights.reshape(1, *layer.kernel, layer.channels),
        scales,
        bias,
        result,
        multiplier=layer.weights.shape[3],
        stride=layer.stride,
        dilation=layer.dilation,
        same=same,
        activation=export.activation(index),
    )


@write_layer.register(AveragePool)
def _average_pool(layer: AveragePool, export: Export, index: int) -> int:
    return _pool(layer, export, index, "average", None)


@write_layer.register(MaxPool)
def _max_pool(layer: MaxPool, export: Export, index: int) -> int:
    return _pool(layer, export, index, "max", -128)


def _pool(layer: Pool, export: Export, index: int, kind: str, pad: int | None) -> int:
    result = export.result(index)
    image, same = export.padded(index, layer.window, layer.stride, layer.padding, pad)
    return export.graph.pool_2d(
        kind,
        image,
        result,
        window=layer.window,
        stride=layer.stride,
        same=same,
        activation=export.activation(index),
    )


@write_layer.register(Add)
def _add(layer: Add, export: Export, index: int) -> int:
    if layer.signs != (1, 1):
        raise ValueError(f"layer {index} subtracts, which is not written; only additions are")
    result = export.result(index)
    first, second = export.images(index)
    return export.graph.add(first, second, result, activation=export.activation(index))


@write_layer.register(AddConstant)
def _add_constant(layer: AddConstant, export: Export, index: int) -> int:
    raise ValueError(f"layer {index} adds constants at a scale of their own, which TensorFlow Lite's int8 may not hold")


@write_layer.register(Concat)
def _concat(layer: Concat, export: Export, index: int) -> int:
    result = export.result(index)
    return export.graph.concatenation(export.images(index), layer.axis + 1, result)


@write_layer.register(Pad)
def _pad(layer: Pad, export: Export, index: int) -> int:
    result = export.result(index)
    value = None if layer.value == export.zeros[index] else layer.value
    return export.graph.pad(export.images(index)[0], [(0, 0), *layer.padding, layer.channels], result, value=value)


@write_layer.register(Reshape)
def _reshape(layer: Reshape, export: Export, index: int) -> int:
    return export.graph.reshape(export.source(index), (export.batch, *layer.size))


@write_layer.register(Slice)
def _slice(layer: Slice, export: Export, index: int) -> int:
    parts = [slice(0, export.batch, 1), *layer.ranges]
    ends = [[getattr(part, name) for part in parts] for name in ("start", "stop", "step")]
    inputs = [*export.images(index), *(export.graph.constant(np.array(end, np.int32)) for end in ends)]
    return export.graph.operator("STRIDED_SLICE", "StridedSliceOptions", {}, inputs, export.result(index))
