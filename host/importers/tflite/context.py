"""The state of an import, through which handlers read the tensors of their operators and add layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from etchnet.host.importers.builder import GraphBuilder
from etchnet.host.importers.registry import OperatorRegistry
from etchnet.host.importers.tflite.reader import Operator, Reader, Tensor
from etchnet.host.importers.value import Value
from etchnet.host.network.layers import Padding
from etchnet.host.network.model import Model, ModelError, Quantisation

__all__ = ["OPERATORS", "Blocks", "Context", "handles"]

_SEVERAL_RESULTS = ("SPLIT", "SPLIT_V", "UNPACK")
_INPUT_TYPES = ("int8", "uint8", "int16", "float32")


@dataclass(frozen=True)
class Blocks:
    """A tensor that SPACE_TO_BATCH_ND has cut into `block` (y, x) interleaved images, as additional batches.

    Attributes
    ----------
    value
        The whole image.
    """

    value: Value
    block: tuple[int, int]


class Context:
    """The state of the import of one TensorFlow Lite graph.

    Parameters
    ----------
    reader
        The file.
    batch
        Size of the first axis of all inputs that is the batch; 1 if they may be without it.

    Attributes
    ----------
    builder
        The model so far.
    batch
        Size of the first axis, which all operators must keep. If it is 1, a tensor may be without it.
    values
        Values of the builder, by the index of their tensor.
    sizes
        Indices of int32 tensors that are computed from shapes. They are not evaluated: the importer takes the shape of
        a RESHAPE from its result in the file.
    blocks
        Results of SPACE_TO_BATCH_ND, and of a convolution after it, by the index of their tensor.
    borders
        For images with a border of their zero point, by the index of their tensor: the image without it, and its sides.

    Raises
    ------
    ModelError
        An operator does not support one of its tensors. All methods may raise it.
    """

    def __init__(self, reader: Reader, batch: int) -> None:
        self.reader = reader
        self.values: dict[int, Value] = {}
        self.sizes: set[int] = set()
        self.blocks: dict[int, Blocks] = {}
        self.borders: dict[int, tuple[Value, Padding]] = {}
        self.builder = GraphBuilder(reader.name)
        self.batch = batch
        for index in reader.inputs:
            self._input(reader.tensor(index))

    def _input(self, tensor: Tensor) -> None:
        """Add an input of the graph."""
        reader, what = self.reader, f"the input {tensor.name}" if len(self.reader.inputs) > 1 else "the input"
        reader.check_type(what, tensor, *_INPUT_TYPES)
        if tensor.index in self.values:
            raise ModelError(f"{what} must be there once")
        kind = reader.type_name(tensor)
        given = None if kind == "float32" else reader.activation(what, tensor, kind)
        self.values[tensor.index] = self.builder.input(tensor.name or "input", self.shape(tensor), given, kind)

    def run(self, operator: Operator) -> None:
        """Import one operator."""
        handler = OPERATORS.handler(operator.kind, str(operator))
        several = operator.kind in _SEVERAL_RESULTS
        if not operator.inputs or not operator.outputs or (len(operator.outputs) > 1 and not several):
            raise ModelError(
                f"{operator} must have inputs and {'outputs' if several else 'one output'}, "
                f"not {len(operator.inputs)} and {len(operator.outputs)}"
            )
        for index in operator.outputs:
            written = self.reader.tensor(index)
            if written.constant or index in self.values or index in self.sizes or index in self.blocks:
                raise ModelError(f"{operator} writes {written}, which is constant or already written")
        handler(self, operator)

    def finish(self) -> Model:
        """Return the model whose results are the graph's outputs."""
        outputs = []
        for index in self.reader.outputs:
            tensor = self.reader.tensor(index)
            if index not in self.values:
                raise ModelError(f"the output, {tensor}, must be computed from the input by operators on int8")
            value = self.values[index]
            outputs.append(replace(value, name=tensor.name or value.name))
        return self.builder.finish(outputs)

    def value(self, operator: Operator, position: int, *, host: bool = False) -> Value:
        """Return the value that an operator reads at a position: int8 for layers, or any value if `host`."""
        tensor = self.reader.tensor(operator.inputs[position])
        if tensor.index in self.values:
            value = self.values[tensor.index]
            if not host:
                self.builder.check_operands(str(operator), [value])
            return value
        if tensor.constant:
            raise ModelError(f"{operator} reads {tensor}, which must be the result of an operator, not a constant")
        if tensor.index in self.blocks:
            raise ModelError(
                f"{operator} reads blocks of {self.blocks[tensor.index].value.name}: between SPACE_TO_BATCH_ND and "
                "BATCH_TO_SPACE_ND there must be one convolution"
            )
        raise ModelError(f"{operator} reads {tensor}, which must be the result of an operator before it")

    def shape(self, tensor: Tensor) -> tuple[int, ...]:
        """Return the shape of a tensor without the batch; a batch of 1 may be absent from the tensor."""
        return tensor.shape[1:] if tensor.shape[:1] == (self.batch,) else tensor.shape

    def by_file_axes(self, operator: Operator, values: Sequence[Value]) -> tuple[list[Value], int]:
        """Return values with all axes that their tensors have in the file, and the number of axes that are missing.

        A batch of 1 is an axis like others. A larger one is missing, and no operator can change it.
        """
        if self.batch > 1:
            return list(values), 1
        rank = len(self.reader.tensor(operator.inputs[0]).shape)
        whole = [(1,) * (rank - len(value.shape)) + value.shape for value in values]
        return [self.builder.reshape(str(operator), v, s) for v, s in zip(values, whole, strict=True)], 0

    def result(self, operator: Operator, position: int = 0) -> Tensor:
        """Return a tensor that an operator writes; its batch must be that of the input."""
        tensor = self.reader.tensor(operator.outputs[position])
        if self.batch > 1 and tensor.shape[:1] != (self.batch,):
            raise ModelError(f"{operator} must keep the batch of {self.batch}, not have result shape {tensor.shape}")
        self.builder.check_size(f"{operator}: the result", self.shape(tensor))
        return tensor

    def output(self, operator: Operator, position: int = 0) -> tuple[Tensor, Quantisation]:
        """Return an int8 tensor that an operator writes, with its scale and zero point."""
        tensor = self.result(operator, position)
        return tensor, self.reader.activation(f"{operator}: the result", tensor)

    def label(self, operator: Operator, position: int = 0) -> str:
        """Return the name of the layer that an operator becomes: that of its output."""
        return self.reader.tensor(operator.outputs[position]).name or str(operator)

    def set(self, operator: Operator, value: Value, position: int = 0) -> None:
        """Record the value of an operator's output."""
        self.values[operator.outputs[position]] = value

    def set_reshaped(self, operator: Operator, value: Value, position: int = 0) -> None:
        """Record the value of an operator's output in the shape of the file, which must have as many values."""
        tensor = self.reader.tensor(operator.outputs[position])
        if math.prod(value.shape) != math.prod(self.shape(tensor)):
            raise ModelError(f"{operator}: the result must have shape {value.shape}, not {tensor.shape} as in the file")
        name = self.label(operator, position)
        self.set(operator, self.builder.reshape(str(operator), value, self.shape(tensor), name=name), position)

    def append(self, operator: Operator, layer: Any, sources: list[Value]) -> None:
        """Add the layer whose result is an operator's output."""
        result, out = self.output(operator)
        self.set(
            operator,
            self.builder.add(str(operator), layer, sources, out, name=self.label(operator), shape=self.shape(result)),
        )

    def expect_inputs(self, operator: Operator, count: int) -> None:
        """Refuse an operator that does not have `count` inputs."""
        if len(operator.inputs) != count:
            raise ModelError(f"{operator} must have {count} input{'s'[: count != 1]}, not {len(operator.inputs)}")


Handler = Callable[[Context, Operator], None]

OPERATORS: OperatorRegistry[Handler] = OperatorRegistry()
"""handlers of builtin operators, by the schema's names; each records the value of the operator's output"""
handles = OPERATORS.handles
