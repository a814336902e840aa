"""Checked access to the tables of a TensorFlow Lite file.

Files are untrusted input, and the accessors of the schema check nothing. This module checks everything that they
return, and every length before iterating over it. The caller catches the exceptions of the accessors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.host.network.model import ModelError, Quantisation

__all__ = ["Operator", "Reader", "Tensor"]

_BUILTIN_CODE = 10
"""offset of the field builtin_code, the fourth, in the vtable of an operator code"""
_MOST_OPERATORS = 1 << 16
_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Tensor:
    """The description of a tensor."""

    index: int
    name: str
    shape: tuple[int, ...]
    type: int
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int
    """axis along which scales differ"""
    buffer: int
    constant: bool

    def __str__(self) -> str:
        return f"tensor {self.index}" + (f" ({self.name})" if self.name else "")


@dataclass(frozen=True)
class Operator:
    """An operator: its kind, named as in the schema, its index, and the tensors that it reads and writes."""

    kind: str
    index: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: Any

    def __str__(self) -> str:
        return f"{self.kind} (operator {self.index})"


class Reader:
    """The first graph of a file, which is the one that runs.

    Parameters
    ----------
    tflite
        The package `tflite`.
    data
        The bytes of the file; the caller has checked its identifier.
    name
        Name of the file in messages.

    Attributes
    ----------
    graphs
        Number of graphs of the file.
    inputs, outputs
        Indices of the tensors that are inputs and outputs of the graph.

    Raises
    ------
    ModelError
        A part of the file is damaged or not supported. All methods may raise it.
    """

    def __init__(self, tflite: Any, data: bytes, name: str) -> None:
        self.tflite, self.name, self._size = tflite, name, len(data)
        self._root = root = tflite.Model.GetRootAs(data, 0)
        self._tables: dict[int, Tensor] = {}
        if root.Version() != 3:
            raise ModelError(f"{name} has schema version {root.Version()}; only 3 is supported")
        self.graphs = self._count("the list of graphs", root.SubgraphsLength())
        if not self.graphs:
            raise ModelError(f"{name} must have a graph")
        self._graph = graph = root.Subgraphs(0)
        self._tensors = self._count("the list of tensors", graph.TensorsLength())
        self._operators = self._count(
            "the list of operators", graph.OperatorsLength(), min(self._size, _MOST_OPERATORS)
        )
        inputs = self._vector("the list of inputs", graph.InputsLength(), graph.InputsAsNumpy)
        outputs = self._vector("the list of outputs", graph.OutputsLength(), graph.OutputsAsNumpy)
        if not len(inputs) or not len(outputs):
            raise ModelError(f"{name} has {len(inputs)} inputs and {len(outputs)} outputs; it must have some of each")
        self.inputs, self.outputs = [int(index) for index in inputs], [int(index) for index in outputs]

    def operators(self) -> Iterator[Operator]:
        """Iterate over the operators in order."""
        kinds = _names(self.tflite.BuiltinOperator)
        for index in range(self._operators):
            table = self._graph.Operators(index)
            code_index = table.OpcodeIndex()
            if not 0 <= code_index < self._root.OperatorCodesLength():
                raise ModelError(
                    f"{self.name} is damaged: operator {index} names code {code_index}, which does not exist"
                )
            code = self._root.OperatorCodes(code_index)
            number = _builtin_code(code)
            kind = kinds.get(number, f"operator {number}")
            if number == self.tflite.BuiltinOperator.CUSTOM:
                kind = f"{kind} {(code.CustomCode() or b'').decode('utf-8', 'replace')!r}"
            where = f"{kind} (operator {index})"
            inputs = self._vector(f"inputs of {where}", table.InputsLength(), table.InputsAsNumpy)
            outputs = self._vector(f"outputs of {where}", table.OutputsLength(), table.OutputsAsNumpy)
            yield Operator(kind, index, tuple(map(int, inputs)), tuple(map(int, outputs)), table)

    def tensor(self, index: int) -> Tensor:
        """Return the description of a tensor."""
        if index not in self._tables:
            self._tables[index] = self._tensor(index)
        return self._tables[index]

    def _tensor(self, index: int) -> Tensor:
        if not 0 <= index < self._tensors:
            raise ModelError(f"{self.name} is damaged: tensor {index} does not exist, there are {self._tensors}")
        table = self._graph.Tensors(index)
        shape = self._vector("a shape", table.ShapeLength(), table.ShapeAsNumpy, _MOST_DIMENSIONS)
        quantisation = table.Quantization()
        scales, points, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        if quantisation is not None:
            most = self._size // 4
            scales = self._vector("a list of scales", quantisation.ScaleLength(), quantisation.ScaleAsNumpy, most)
            points = self._vector(
                "a list of zero points", quantisation.ZeroPointLength(), quantisation.ZeroPointAsNumpy, most
            )
            axis = quantisation.QuantizedDimension()
        buffer = table.Buffer()
        if not 0 <= buffer < self._root.BuffersLength():
            raise ModelError(f"{self.name} is damaged: tensor {index} names buffer {buffer}, which does not exist")
        content = self._root.Buffers(buffer)
        name = (table.Name() or b"").decode("utf-8", "replace")
        if any(n < 0 for n in shape):
            raise ModelError(f"tensor {index} ({name}) has shape {tuple(map(int, shape))}: sizes must be at least 0")
        if table.Sparsity() is not None:
            raise ModelError(f"tensor {index} ({name}) is sparse; only dense tensors are supported")
        return Tensor(
            index,
            name,
            tuple(map(int, shape)),
            table.Type(),
            scales,
            points,
            int(axis),
            buffer,
            content is not None and content.DataLength() > 0,
        )

    def constant(self, what: str, tensor: Tensor, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return the values of a constant tensor as a read-only array."""
        kind = np.dtype(dtype)
        if not tensor.constant:
            raise ModelError(f"{what} must be constant")
        content = self._root.Buffers(tensor.buffer)
        length = self._count("a buffer", content.DataLength())
        wanted = math.prod(shape) * kind.itemsize
        if length != wanted:
            raise ModelError(f"{what} must have {wanted} bytes for shape {shape}, not {length}")
        return np.frombuffer(content.DataAsNumpy(), kind).reshape(shape)

    def options(self, operator: Operator, kind: str) -> Any:
        """Return the options of an operator, which must be of the schema's type `kind`."""
        table = operator.table.BuiltinOptions()
        if operator.table.BuiltinOptionsType() != getattr(self.tflite.BuiltinOptions, kind) or table is None:
            raise ModelError(f"{operator} must have {kind}")
        options = getattr(self.tflite, kind)()
        options.Init(table.Bytes, table.Pos)
        return options

    def type_name(self, tensor: Tensor) -> str:
        """Return the name of a tensor's type."""
        return str(_names(self.tflite.TensorType).get(tensor.type, tensor.type)).lower()

    def check_type(self, what: str, tensor: Tensor, *kinds: str) -> None:
        """Refuse a tensor whose type is not one of `kinds`."""
        if tensor.type not in [getattr(self.tflite.TensorType, kind.upper()) for kind in kinds]:
            raise ModelError(f"{what} must be {' or '.join(kinds)}, not {self.type_name(tensor)}")

    def activation(self, what: str, tensor: Tensor, *kinds: str) -> Quantisation:
        """Return the scale and zero point of a tensor of one of `kinds`, by default int8; it must have one of each."""
        self.check_type(what, tensor, *(kinds or ("int8",)))
        if len(tensor.scales) != 1 or len(tensor.zero_points) != 1:
            raise ModelError(
                f"{what} must have one scale and one zero point, not {len(tensor.scales)} and {len(tensor.zero_points)}"
            )
        scale, point = float(tensor.scales[0]), int(tensor.zero_points[0])
        if not (np.isfinite(scale) and scale > 0):
            raise ModelError(f"{what} must have a positive scale, not {scale}")
        limits = np.iinfo(self.type_name(tensor))
        if not limits.min <= point <= limits.max:
            raise ModelError(f"{what} must have a zero point from {limits.min} to {limits.max}, not {point}")
        return Quantisation(scale, point, dtype=self.type_name(tensor))

    def _count(self, what: str, length: int, most: int | None = None) -> int:
        if not 0 <= length <= (self._size if most is None else most):
            raise ModelError(f"{self.name} is damaged: {what} claims {length} entries")
        return length

    def _vector(self, what: str, length: int, array: Any, most: int | None = None) -> np.ndarray:
        self._count(what, length, most)
        return np.zeros(0, np.int64) if length == 0 else np.array(array())


def _builtin_code(code: Any) -> int:
    """Return the number of an operator: the larger of its two fields, as in the runtime.

    Files leave either of them at 0: older ones the new field, some newer ones the old field, which ends at 127. The
    accessor of the new field returns the old one for numbers below 127, and so cannot be used.
    """
    table = code._tab
    slot = table.Offset(_BUILTIN_CODE)
    at = table.Pos + slot
    new = int.from_bytes(table.Bytes[at : at + 4], "little", signed=True) if slot else 0
    return max(new, int(code.DeprecatedBuiltinCode()))


def _names(enumeration: Any) -> dict[int, str]:
    return {value: key for key, value in vars(enumeration).items() if not key.startswith("_")}
