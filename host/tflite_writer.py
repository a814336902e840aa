"""Writes int8 TensorFlow Lite files of fully connected layers, by the schema's own builders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite


@dataclass
class Tensor:
    """One tensor, with data if it is constant."""

    name: str
    shape: tuple[int, ...]
    type: int = tflite.TensorType.INT8
    scales: Any = None
    zero_points: Any = None
    data: np.ndarray | None = None


@dataclass
class Graph:
    """Tensors and operators in order; operators are (code, options kind, options, inputs, outputs)."""

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[tuple[int, int, dict[str, Any], list[int], list[int]]] = field(default_factory=list)

    def tensor(self, *args: Any, **options: Any) -> int:
        """Add a tensor; returns its index."""
        self.tensors.append(Tensor(*args, **options))
        return len(self.tensors) - 1

    def activation(self, name: str, shape: tuple[int, ...], scale: float, zero_point: int) -> int:
        """Add an int8 tensor that operators write."""
        return self.tensor(name, shape, scales=[scale], zero_points=[zero_point])

    def fully_connected(
        self,
        source: int,
        weights: np.ndarray,
        scales: Any,
        bias: np.ndarray | None,
        result: int,
        *,
        activation: int = 0,
    ) -> int:
        """Weights int8 (channels, terms); bias int32 (channels,) or none."""
        points = np.zeros(len(scales), np.int64)
        inputs = [source, self.tensor(f"w{len(self.tensors)}", weights.shape, scales=scales, zero_points=points,
                                      data=weights)]  # fmt: skip
        if bias is not None:
            products = np.asarray(scales, np.float64) * self.tensors[source].scales[0]
            name = f"b{len(self.tensors)}"
            inputs.append(self.tensor(name, bias.shape, tflite.TensorType.INT32, products, points, bias))
        self.operators.append((tflite.BuiltinOperator.FULLY_CONNECTED, tflite.BuiltinOptions.FullyConnectedOptions,
                               {"FusedActivationFunction": activation}, inputs, [result]))  # fmt: skip
        return result

    def softmax(self, source: int, shape: tuple[int, ...], beta: float = 1.0) -> int:
        """Softmax over the last axis; returns its result."""
        result = self.activation("softmax", shape, 1 / 256, -128)
        self.operators.append((tflite.BuiltinOperator.SOFTMAX, tflite.BuiltinOptions.SoftmaxOptions, {"Beta": beta},
                               [source], [result]))  # fmt: skip
        return result

    def simple(self, code: int, source: int, result: int, *, constant: np.ndarray | None = None) -> int:
        """Add an operator without options, with a second, constant input on request."""
        inputs = [source]
        if constant is not None:
            inputs.append(self.tensor("shape", constant.shape, tflite.TensorType.INT32, data=constant))
        self.operators.append((code, 0, {}, inputs, [result]))
        return result

    def write(self, source: int, result: int) -> bytes:
        """The file."""
        b = flatbuffers.Builder(1024)

        def vector(start: Any, items: list[int]) -> int:
            start(b, len(items))
            for item in reversed(items):
                b.PrependUOffsetTRelative(item)
            return b.EndVector()

        codes = sorted({operator[0] for operator in self.operators})
        buffers, tensors = [], []
        tflite.BufferStart(b)
        buffers.append(tflite.BufferEnd(b))
        for tensor in self.tensors:
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
                quantisation = tflite.QuantizationParametersEnd(b)
            tflite.TensorStart(b)
            tflite.TensorAddShape(b, shape)
            tflite.TensorAddType(b, tensor.type)
            tflite.TensorAddBuffer(b, buffer)
            tflite.TensorAddName(b, name)
            if quantisation is not None:
                tflite.TensorAddQuantization(b, quantisation)
            tensors.append(tflite.TensorEnd(b))

        operators = []
        for code, kind, options, inputs, outputs in self.operators:
            table = None
            if kind:
                name = {v: k for k, v in vars(tflite.BuiltinOptions).items() if not k.startswith("_")}[kind]
                getattr(tflite, f"{name}Start")(b)
                for key, value in options.items():
                    getattr(tflite, f"{name}Add{key}")(b, value)
                table = getattr(tflite, f"{name}End")(b)
            inputs_vector = b.CreateNumpyVector(np.array(inputs, np.int32))
            outputs_vector = b.CreateNumpyVector(np.array(outputs, np.int32))
            tflite.OperatorStart(b)
            tflite.OperatorAddOpcodeIndex(b, codes.index(code))
            tflite.OperatorAddInputs(b, inputs_vector)
            tflite.OperatorAddOutputs(b, outputs_vector)
            if table is not None:
                tflite.OperatorAddBuiltinOptionsType(b, kind)
                tflite.OperatorAddBuiltinOptions(b, table)
            operators.append(tflite.OperatorEnd(b))

        code_tables = []
        for code in codes:
            tflite.OperatorCodeStart(b)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(code, 127))
            tflite.OperatorCodeAddBuiltinCode(b, code)
            tflite.OperatorCodeAddVersion(b, 1)
            code_tables.append(tflite.OperatorCodeEnd(b))
        tensors_vector = vector(tflite.SubGraphStartTensorsVector, tensors)
        operators_vector = vector(tflite.SubGraphStartOperatorsVector, operators)
        ends = [b.CreateNumpyVector(np.array([end], np.int32)) for end in (source, result)]
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors_vector)
        tflite.SubGraphAddInputs(b, ends[0])
        tflite.SubGraphAddOutputs(b, ends[1])
        tflite.SubGraphAddOperators(b, operators_vector)
        graph = tflite.SubGraphEnd(b)
        graphs = vector(tflite.ModelStartSubgraphsVector, [graph])
        codes_vector = vector(tflite.ModelStartOperatorCodesVector, code_tables)
        buffers_vector = vector(tflite.ModelStartBuffersVector, buffers)
        description = b.CreateString("test")
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, codes_vector)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddDescription(b, description)
        tflite.ModelAddBuffers(b, buffers_vector)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())
