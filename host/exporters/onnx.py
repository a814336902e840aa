"""Networks written as ONNX files with the int8 operators of ONNX Runtime, for comparison with that runtime."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from etchnet.host.exporters.scales import tensor_scales, tensor_zero_points
from etchnet.host.network.layers import (
    Add,
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
    Shape,
    Slice,
)
from etchnet.host.network.network import INPUT, Network

__all__ = ["OnnxExport", "to_onnx", "write_node"]

_CONTRIBUTED = "com.microsoft"
_OPSETS = {"": 17, _CONTRIBUTED: 1}
_IR_VERSION = 8

_AXES = (2, 3, 1)
"""axis of an image (N, channels, height, width) for each axis of a layer: height, width, channels"""


def to_onnx(network: Network) -> bytes:
    """Return the network as an ONNX file whose input and output are flat, int8 (N, values), in the machine's order.

    Images inside the file have the order (N, channels, height, width). Scales are those of `tensor_scales`.

    Raises
    ------
    ValueError
        ONNX Runtime has no int8 operator for a layer, or the network has several inputs or outputs.
    """
    return OnnxExport(network).data


class OnnxExport:
    """The state of the export of one network.

    Attributes
    ----------
    data
        The bytes of the file.
    """

    def __init__(self, network: Network) -> None:
        if len(network.input_shapes) > 1 or len(network.outputs) > 1:
            raise ValueError("only networks with one input and one output are written")
        for index, layer in enumerate(network.layers):
            if layer.wide:
                raise ValueError(f"layer {index} has an int32 result; only int8 results are written")
        self.network = network
        self.zeros = tensor_zero_points(network)
        self.scales = tensor_scales(network, self.zeros)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._images: dict[int, str] = {}
        self._flat = {INPUT: "x"}
        for index, layer in enumerate(network.layers):
            write_node(layer, self, index)
        self.data = self._write(self.flat(network.outputs[0]))

    def _write(self, result: str) -> bytes:
        sizes = (("x", self.network.input_size), (result, self.network.output_size))
        ends = [helper.make_tensor_value_info(name, TensorProto.INT8, ["n", size]) for name, size in sizes]
        graph = helper.make_graph(self._nodes, "network", ends[:1], ends[1:], self._constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()]
        written: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION).SerializeToString()
        return written

    def node(self, operator: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        """Add an operator with one result; returns the name of the result."""
        result = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [result], domain=domain, **attributes))
        return result

    def constant(self, values: Any) -> str:
        """Add a constant; returns its name."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def source(self, index: int, position: int = 0) -> int:
        """Return the number of a tensor that a layer reads."""
        return self.network.sources[index][position]

    def quantisation(self, number: int) -> list[str]:
        """Return the names of a tensor's scale and zero point."""
        return [self.constant(np.float32(self.scales[number])), self.constant(np.int8(self.zeros[number]))]

    def _shape(self, number: int) -> Shape:
        return self.network.input_shape if number == INPUT else self.network.shapes[number]

    def image(self, number: int) -> str:
        """Return the name of a tensor of shape (N, channels, height, width)."""
        if number not in self._images:
            shape = self._shape(number)
            lines = self.node("Reshape", [self._flat[number], self.constant(np.array([-1, *shape], np.int64))])
            self._images[number] = self.node("Transpose", [lines], perm=[0, 3, 1, 2])
        return self._images[number]

    def flat(self, number: int) -> str:
        """Return the name of a tensor of shape (N, values), in the order (height, width, channel)."""
        if number not in self._flat:
            lines = self.node("Transpose", [self._images[number]], perm=[0, 2, 3, 1])
            size = int(np.prod(self._shape(number)))
            self._flat[number] = self.node("Reshape", [lines, self.constant(np.array([-1, size], np.int64))])
        return self._flat[number]

    def put(self, index: int, name: str, *, flat: bool = False) -> None:
        """Record the result of layer number `index`, clamped to the layer's bounds."""
        layer = self.network.layers[index]
        low, high = getattr(layer, "low", -128), getattr(layer, "high", 127)
        if (low, high) != (-128, 127):
            name = self.node("Clip", [name, self.constant(np.int8(low)), self.constant(np.int8(high))])
        (self._flat if flat else self._images)[index] = name

    def weights(self, index: int, layer: Linear, weights: np.ndarray) -> list[str]:
        """Return the names of a layer's weights, output channel first or last, and of their scales and zero points."""
        factors = np.ldexp(layer.multiplier.astype(np.float64), layer.shift - 31)
        scales = factors * self.scales[index] / self.scales[self.source(index)]
        zeros = np.zeros(len(scales), np.int8)
        return [self.constant(weights), self.constant(scales.astype(np.float32)), self.constant(zeros)]


def _pads(padding: Padding) -> list[int]:
    (top, bottom), (left, right) = padding
    return [top, left, bottom, right]


@singledispatch
def write_node(layer: Layer, export: OnnxExport, index: int) -> None:
    """Write layer number `index`; one function is registered here for each class of layer that can be written."""
    raise ValueError(f"layer {index}, {type(layer).__name__}, has no int8 operator in ONNX Runtime")


@write_node.register(Dense)
def _dense(layer: Dense, export: OnnxExport, index: int) -> None:
    source = export.source(index)
    weights, scales, zeros = export.weights(index, layer, layer.weights)
    scale, zero = export.quantisation(source)
    bias = export.constant(layer.bias.astype(np.int32))
    inputs = [export.flat(source), scale, zero, weights, scales, zeros, bias, *export.quantisation(index)]
    export.put(index, export.node("QGemm", inputs, _CONTRIBUTED), flat=True)


def _convolution(layer: Conv | Depthwise, export: OnnxExport, index: int, weights: np.ndarray, groups: int) -> None:
    source = export.source(index)
    scale, zero = export.quantisation(source)
    given = export.weights(index, layer, np.ascontiguousarray(weights))
    bias = export.constant(layer.bias.astype(np.int32))
    inputs = [export.image(source), scale, zero, *given, *export.quantisation(index), bias]
    result = export.node(
        "QLinearConv",
        inputs,
        kernel_shape=layer.kernel,
        pads=_pads(layer.padding),
        strides=layer.stride,
        dilations=layer.dilation,
        group=groups,
    )
    export.put(index, result)


@write_node.register(Conv)
def _conv(layer: Conv, export: OnnxExport, index: int) -> None:
    _convolution(layer, export, index, layer.weights.transpose(3, 2, 0, 1), 1)


@write_node.register(Depthwise)
def _depthwise(layer: Depthwise, export: OnnxExport, index: int) -> None:
    weights = layer.weights.reshape(*layer.kernel, 1, layer.channels).transpose(3, 2, 0, 1)
    _convolution(layer, export, index, weights, layer.weights.shape[2])


def _window(layer: Pool) -> dict[str, Any]:
    return {"kernel_shape": layer.window, "pads": _pads(layer.padding), "strides": layer.stride}


@write_node.register(AveragePool)
def _average_pool(layer: AveragePool, export: OnnxExport, index: int) -> None:
    source = export.source(index)
    inputs = [export.image(source), *export.quantisation(source), *export.quantisation(index)]
    export.put(index, export.node("QLinearAveragePool", inputs, _CONTRIBUTED, **_window(layer)))


@write_node.register(MaxPool)
def _max_pool(layer: MaxPool, export: OnnxExport, index: int) -> None:
    export.put(index, export.node("MaxPool", [export.image(export.source(index))], **_window(layer)))


@write_node.register(Add)
def _add(layer: Add, export: OnnxExport, index: int) -> None:
    if layer.signs != (1, 1):
        raise ValueError(f"layer {index} subtracts, which is not written; only additions are")
    sources = [export.source(index, position) for position in range(2)]
    operands = [name for source in sources for name in (export.image(source), *export.quantisation(source))]
    export.put(index, export.node("QLinearAdd", [*operands, *export.quantisation(index)], _CONTRIBUTED))


@write_node.register(Concat)
def _concat(layer: Concat, export: OnnxExport, index: int) -> None:
    images = [export.image(source) for source in export.network.sources[index]]
    export.put(index, export.node("Concat", images, axis=_AXES[layer.axis]))


@write_node.register(Pad)
def _pad(layer: Pad, export: OnnxExport, index: int) -> None:
    borders = ((0, 0), layer.channels, *layer.padding)
    pads = np.array([border[end] for end in range(2) for border in borders], np.int64)
    inputs = [export.image(export.source(index)), export.constant(pads), export.constant(np.int8(layer.value))]
    export.put(index, export.node("Pad", inputs))


@write_node.register(Reshape)
def _reshape(layer: Reshape, export: OnnxExport, index: int) -> None:
    export.put(index, export.flat(export.source(index)), flat=True)


@write_node.register(Slice)
def _slice(layer: Slice, export: OnnxExport, index: int) -> None:
    ranges = [[getattr(part, name) for part in layer.ranges] for name in ("start", "stop")]
    parts = [*ranges, _AXES, layer.stride]
    inputs = [export.image(export.source(index)), *(export.constant(np.array(part, np.int64)) for part in parts)]
    export.put(index, export.node("Slice", inputs))
