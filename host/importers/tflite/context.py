"""The state of an import, through which handlers read the tensors of their operators and add layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from etchnet.host.importers.builder import GraphBuilder
from etchnet.host.importers.registry import OperatorRegistry
from etchnet.host.importers.tflite.reader import Operator, Reader, Tensor
from etchnet.host.importers.value import Value
from etchnet.host.network.model import Model, ModelError, Quantisation

__all__ = ["OPERATORS", "Context", "handles"]

_INPUT_TYPES = ("int8", "uint8", "int16", "float32")


class Context:
    """The state of the import of one TensorFlow Lite graph.

    Parameters
    ----------
    reader
        The file.

    Attributes
    ----------
    builder
        The model so far.
    batch
        Size of the first axis of the inputs, which all operators must keep.
    values
        Values of the builder, by the index of their tensor.
    sizes
        Indices of int32 tensors that are computed from shapes. They are not evaluated: the importer takes the shape of
        a RESHAPE from its result in the file.

    Raises
    ------
    ModelError
        An operator does not support one of its tensors. All methods may raise it.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.values: dict[int, Value] = {}
        self.sizes: set[int] = set()
        self.builder = GraphBuilder(reader.name)
        self.batch = 0
        for index in reader.inputs:
            self._input(reader.tensor(index))

    def _input(self, tensor: Tensor) -> None:
        """Add an input of the graph."""
        reader, what = self.reader, f"the input {tensor.name}" if len(self.reader.inputs) > 1 else "the input"
        reader.check_type(what, tensor, *_INPUT_TYPES)
        if len(tensor.shape) < 2 or not tensor.shape[0]:
            raise ModelError(f"{what} must have a batch and at least one more axis, not shape {tensor.shape}")
        if self.batch not in (0, tensor.shape[0]):
            raise ModelError(f"{what} must have the batch of the first input, {self.batch}, not {tensor.shape[0]}")
        if tensor.index in self.values:
            raise ModelError(f"{what} must be there once")
        self.batch, kind = tensor.shape[0], reader.type_name(tensor)
        given = None if kind == "float32" else reader.activation(what, tensor, kind)
        self.values[tensor.index] = self.builder.input(tensor.name or "input", tensor.shape[1:], given, kind)

    def run(self, operator: Operator) -> None:
        """Import one operator."""
        handler = OPERATORS.handler(operator.kind, str(operator))
        if not operator.inputs or len(operator.outputs) != 1:
            raise ModelError(
                f"{operator} must have inputs and one output, not {len(operator.inputs)} and {len(operator.outputs)}"
            )
        written = self.reader.tensor(operator.outputs[0])
        known = (self.values, self.sizes)
        if written.constant or any(written.index in kind for kind in known):
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
            if not host and value.steps:
                raise ModelError(
                    f"{operator} comes after an operator that runs on the host, which must be among the last"
                )
            if not host and value.dtype != "int8":
                raise ModelError(f"{operator} reads {value.dtype}: it must read int8, after a QUANTIZE")
            return value
        if tensor.constant:
            raise ModelError(f"{operator} reads {tensor}, which must be the result of an operator, not a constant")
        raise ModelError(f"{operator} reads {tensor}, which must be the result of an operator before it")

    def result(self, operator: Operator) -> Tensor:
        """Return the tensor that an operator writes; its batch must be that of the input."""
        tensor = self.reader.tensor(operator.outputs[0])
        if not tensor.shape or tensor.shape[0] != self.batch:
            raise ModelError(f"{operator} must keep the batch of {self.batch}, not have result shape {tensor.shape}")
        self.builder.check_size(f"{operator}: the result", tensor.shape[1:])
        return tensor

    def output(self, operator: Operator) -> tuple[Tensor, Quantisation]:
        """Return the int8 tensor that an operator writes, with its scale and zero point."""
        tensor = self.result(operator)
        return tensor, self.reader.activation(f"{operator}: the result", tensor)

    def label(self, operator: Operator) -> str:
        """Return the name of the layer that an operator becomes: that of its output."""
        return self.reader.tensor(operator.outputs[0]).name or str(operator)

    def set(self, operator: Operator, value: Value) -> None:
        """Record the value of an operator's output."""
        self.values[operator.outputs[0]] = value

    def append(self, operator: Operator, layer: Any, sources: list[Value]) -> None:
        """Add the layer whose result is an operator's output."""
        result, out = self.output(operator)
        self.set(
            operator,
            self.builder.add(str(operator), layer, sources, out, name=self.label(operator), shape=result.shape[1:]),
        )

    def expect_inputs(self, operator: Operator, count: int) -> None:
        """Refuse an operator that does not have `count` inputs."""
        if len(operator.inputs) != count:
            raise ModelError(f"{operator} must have {count} input{'s'[: count != 1]}, not {len(operator.inputs)}")


Handler = Callable[[Context, Operator], None]

OPERATORS: OperatorRegistry[Handler] = OperatorRegistry()
"""handlers of builtin operators, by the schema's names; each records the value of the operator's output"""
handles = OPERATORS.handles
