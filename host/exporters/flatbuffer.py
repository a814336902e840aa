"""A writer of int8 TensorFlow Lite files, based on the schema's generated builders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite


@dataclass
class Tensor:
    """One tensor; a constant has data."""

    name: str
    shape: tuple[int, ...]
    type: int = tflite.TensorType.INT8
    scales: Any = None
    zero_points: Any = None
    data: np.ndarray | None = None
    axis: int = 0
    """axis along which scales differ"""


@dataclass
class Graph:
    """A graph under construction: tensors, and operators (code, kind of options, options, inputs, outputs) in order.

    Methods take and return tensors by index. Methods that add an operator return the tensor that it writes; those
    without a `result` parameter create that tensor. `activation` is one of `tflite.ActivationFunctionType`.
    """

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[tuple[int, int, dict[str, Any], list[int], list[int]]] = field(default_factory=list)

    def tensor(self, *args: Any, **options: Any) -> int:
        """Add a tensor; returns its index."""
        self.tensors.append(Tensor(*args, **options))
        return len(self.tensors) - 1

    def activation(self, name: str, shape: tuple[int, ...], scale: float, zero_point: int) -> int:
        """Add an int8 tensor that operators write."""
        return self.tensor(name, shape, scales=[scale], zero_points=[zero_point])

    def like(self, source: int, shape: tuple[int, ...] | None = None, *, name: str = "") -> int:
        """Add a tensor with the type, scale and zero point of another, and its shape unless one is given."""
        t = self.tensors[source]
        name = name or f"t{len(self.tensors)}"
        return self.tensor(name, t.shape if shape is None else shape, t.type, t.scales, t.zero_points)

    def operator(self, name: str, options: str, values: dict[str, Any], inputs: list[int], result: int) -> int:
        """Add any operator, by the schema's names; `options` may be empty."""
        kind = getattr(tflite.BuiltinOptions, options) if options else 0
        self.operators.append((getattr(tflite.BuiltinOperator, name), kind, values, inputs, [result]))
        return result

    def _weighted(self, source: int, weights: np.ndarray, scales: Any, bias: np.ndarray | None, axis: int) -> list[int]:
        points = np.zeros(len(scales), np.int64)
        name = f"w{len(self.tensors)}"
        inputs = [source, self.tensor(name, weights.shape, scales=scales, zero_points=points, data=weights, axis=axis)]
        if bias is not None:
            products = np.asarray(scales, np.float64) * self.tensors[source].scales[0]
            name = f"b{len(self.tensors)}"
            inputs.append(self.tensor(name, bias.shape, tflite.TensorType.INT32, products, points, bias))
        return inputs

    def fully_connected(
        self,
        source: int,
        weights: np.ndarray,
        scales: Any,
        bias: np.ndarray | None,
        result: int,
        *,
        activation: int = 0,
        keep_num_dims: bool = False,
    ) -> int:
        """Add FULLY_CONNECTED: weights int8 (channels, terms), bias int32 (channels,) or None."""
        values = {"FusedActivationFunction": activation, "KeepNumDims": keep_num_dims}
        inputs = self._weighted(source, weights, scales, bias, 0)
        return self.operator("FULLY_CONNECTED", "FullyConnectedOptions", values, inputs, result)

    def conv_2d(
        self,
        source: int,
        weights: np.ndarray,
        scales: Any,
        bias: np.ndarray | None,
        result: int,
        *,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        same: bool = False,
        activation: int = 0,
    ) -> int:
        """Add CONV_2D: weights int8 (channels, y, x, inputs), bias int32 (channels,) or None; pairs are (y, x)."""
        values = _sliding(stride, same, activation) | _dilated(dilation)
        inputs = self._weighted(source, weights, scales, bias, 0)
        return self.operator("CONV_2D", "Conv2DOptions", values, inputs, result)

    def depthwise_conv_2d(
        self,
        source: int,
        weights: np.ndarray,
        scales: Any,
        bias: np.ndarray | None,
        result: int,
        *,
        multiplier: int = 1,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        same: bool = False,
        activation: int = 0,
    ) -> int:
        """Add DEPTHWISE_CONV_2D: weights int8 (1, y, x, channels), bias int32 (channels,) or None."""
        values = _sliding(stride, same, activation) | _dilated(dilation) | {"DepthMultiplier": multiplier}
        inputs = self._weighted(source, weights, scales, bias, 3)
        return self.operator("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", values, inputs, result)

    def pool_2d(
        self,
        kind: str,
        source: int,
        result: int,
        *,
        window: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        same: bool = False,
        activation: int = 0,
    ) -> int:
        """Add AVERAGE_POOL_2D or MAX_POOL_2D; `kind` is average or max."""
        values = _sliding(stride, same, activation) | {"FilterHeight": window[0], "FilterWidth": window[1]}
        return self.operator(f"{kind.upper()}_POOL_2D", "Pool2DOptions", values, [source], result)

    def mean(self, source: int, axes: Any, result: int, *, keep_dims: bool = False) -> int:
        """Add MEAN over axes, counted with the batch."""
        inputs = [source, self.constant(np.array(axes, np.int32))]
        return self.operator("MEAN", "ReducerOptions", {"KeepDims": keep_dims}, inputs, result)

    def add(self, first: int, second: int, result: int, *, activation: int = 0) -> int:
        """Add ADD, the sum of two tensors."""
        return self.operator("ADD", "AddOptions", {"FusedActivationFunction": activation}, [first, second], result)

    def concatenation(self, sources: list[int], axis: int, result: int) -> int:
        """Add CONCATENATION along an axis, counted with the batch."""
        return self.operator("CONCATENATION", "ConcatenationOptions", {"Axis": axis}, list(sources), result)

    def pad(self, source: int, paddings: Any, result: int, *, value: int | None = None) -> int:
        """Add PAD, or PADV2 for an int8 `value`; paddings are (before, after) per axis."""
        inputs = [source, self.constant(np.array(paddings, np.int32))]
        if value is None:
            return self.operator("PAD", "", {}, inputs, result)
        constant = self.like(result, (1,), name="value")
        self.tensors[constant].data = np.array([value], np.int8)
        return self.operator("PADV2", "", {}, [*inputs, constant], result)

    def reshape(self, source: int, shape: tuple[int, ...]) -> int:
        """Add RESHAPE to a shape, batch included, and its result."""
        result = self.like(source, shape)
        return self.operator("RESHAPE", "", {}, [source, self.constant(np.array(shape, np.int32))], result)

    def squeeze(self, source: int, axes: list[int]) -> int:
        """Add SQUEEZE, which removes axes of size 1, and its result."""
        shape = tuple(n for axis, n in enumerate(self.tensors[source].shape) if axis not in axes)
        values = {"SqueezeDims": np.array(axes, np.int32)}
        return self.operator("SQUEEZE", "SqueezeOptions", values, [source], self.like(source, shape))

    def expand_dims(self, source: int, axis: int) -> int:
        """Add EXPAND_DIMS, which inserts an axis of size 1, and its result."""
        shape = self.tensors[source].shape
        inputs = [source, self.constant(np.array([axis], np.int32))]
        return self.operator("EXPAND_DIMS", "", {}, inputs, self.like(source, (*shape[:axis], 1, *shape[axis:])))

    def softmax(self, source: int, shape: tuple[int, ...], beta: float = 1.0) -> int:
        """Add SOFTMAX over the last axis, and its result."""
        result = self.activation("softmax", shape, 1 / 256, -128)
        return self.operator("SOFTMAX", "SoftmaxOptions", {"Beta": beta}, [source], result)

    def constant(self, values: np.ndarray, *, name: str = "constant") -> int:
        """Add an int32 constant."""
        return self.tensor(name, values.shape, tflite.TensorType.INT32, data=values)

    def simple(self, code: int, source: int, result: int, *, constant: np.ndarray | None = None) -> int:
        """Add an operator without options, with `constant` as its second input if it is given."""
        inputs = [source] if constant is None else [source, self.constant(constant)]
        self.operators.append((code, 0, {}, inputs, [result]))
        return result

    def write(self, sources: int | Sequence[int], results: int | Sequence[int]) -> bytes:
        """Return the bytes of the file, for a model with input tensors `sources` and output tensors `results`."""
        b = flatbuffers.Builder(1024)
        codes = sorted({operator[0] for operator in self.operators})
        tflite.BufferStart(b)
        buffers = [tflite.BufferEnd(b)]  # the buffer of all tensors without data
        tensors = [_write_tensor(b, tensor, buffers) for tensor in self.tensors]
        operators = [_write_operator(b, codes.index(operator[0]), *operator[1:]) for operator in self.operators]
        code_tables = [_write_code(b, code) for code in codes]
        tensors_vector = _vector(b, tflite.SubGraphStartTensorsVector, tensors)
        operators_vector = _vector(b, tflite.SubGraphStartOperatorsVector, operators)
        ends = [b.CreateNumpyVector(np.atleast_1d(np.array(end, np.int32))) for end in (sources, results)]
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors_vector)
        tflite.SubGraphAddInputs(b, ends[0])
        tflite.SubGraphAddOutputs(b, ends[1])
        tflite.SubGraphAddOperators(b, operators_vector)
        graph = tflite.SubGraphEnd(b)
        graphs = _vector(b, tflite.ModelStartSubgraphsVector, [graph])
        codes_vector = _vector(b, tflite.ModelStartOperatorCodesVector, code_tables)
        buffers_vector = _vector(b, tflite.ModelStartBuffersVector, buffers)
        description = b.CreateString("int8 network written by Etchnet")
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, codes_vector)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddDescription(b, description)
        tflite.ModelAddBuffers(b, buffers_vector)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())


def _vector(b: flatbuffers.Builder, start: Any, items: list[int]) -> int:
    start(b, len(items))
    for item in reversed(items):
        b.PrependUOffsetTRelative(item)
    return int(b.EndVector())


def _write_tensor(b: flatbuffers.Builder, tensor: Tensor, buffers: list[int]) -> int:
    """Write a tensor; its data, if it has any, is appended to `buffers`."""
    buffer = 0
    if tensor.data is not None:
        data = b.CreateNumpyVector(np.frombuffer(tensor.data.tobytes(), np.uint8))
        tflite.BufferStart(b)
        tflite.BufferAddData(b, data)
        buffer = len(buffers)
        buffers.append(tflite.BufferEnd(b))
    name, shape = b.CreateString(tensor.name), b.CreateNumpyVector(np.array(tensor.shape, np.int32))
    quantisation = None
    if tensor.scales is not None:
        scales = b.CreateNumpyVector(np.array(tensor.scales, np.float32))
        points = b.CreateNumpyVector(np.array(tensor.zero_points, np.int64))
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scales)
        tflite.QuantizationParametersAddZeroPoint(b, points)
        tflite.QuantizationParametersAddQuantizedDimension(b, tensor.axis)
        quantisation = tflite.QuantizationParametersEnd(b)
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, shape)
    tflite.TensorAddType(b, tensor.type)
    tflite.TensorAddBuffer(b, buffer)
    tflite.TensorAddName(b, name)
    if quantisation is not None:
        tflite.TensorAddQuantization(b, quantisation)
    return int(tflite.TensorEnd(b))


def _write_operator(
    b: flatbuffers.Builder, code: int, kind: int, options: dict[str, Any], inputs: list[int], outputs: list[int]
) -> int:
    """Write an operator, and its options if `kind` is not 0; `code` is an index into the model's operator codes."""
    table = None
    if kind:
        name = {v: k for k, v in vars(tflite.BuiltinOptions).items() if not k.startswith("_")}[kind]
        options = {
            key: b.CreateNumpyVector(value) if isinstance(value, np.ndarray) else value
            for key, value in options.items()
        }
        getattr(tflite, f"{name}Start")(b)
        for key, value in options.items():
            getattr(tflite, f"{name}Add{key}")(b, value)
        table = getattr(tflite, f"{name}End")(b)
    inputs_vector = b.CreateNumpyVector(np.array(inputs, np.int32))
    outputs_vector = b.CreateNumpyVector(np.array(outputs, np.int32))
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, code)
    tflite.OperatorAddInputs(b, inputs_vector)
    tflite.OperatorAddOutputs(b, outputs_vector)
    if table is not None:
        tflite.OperatorAddBuiltinOptionsType(b, kind)
        tflite.OperatorAddBuiltinOptions(b, table)
    return int(tflite.OperatorEnd(b))


def _write_code(b: flatbuffers.Builder, code: int) -> int:
    """Write an operator code, also into the field of older schema versions, which holds codes up to 127."""
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(code, 127))
    tflite.OperatorCodeAddBuiltinCode(b, code)
    tflite.OperatorCodeAddVersion(b, 1)
    return int(tflite.OperatorCodeEnd(b))


def _sliding(stride: tuple[int, int], same: bool, activation: int) -> dict[str, int]:
    padding = tflite.Padding.SAME if same else tflite.Padding.VALID
    return {"Padding": padding, "StrideH": stride[0], "StrideW": stride[1], "FusedActivationFunction": activation}


def _dilated(dilation: tuple[int, int]) -> dict[str, int]:
    return {"DilationHFactor": dilation[0], "DilationWFactor": dilation[1]}
