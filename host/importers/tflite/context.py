"""The state of an import, through which handlers read the tensors of their operators and add layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from etchnet.host.importers.builder import GraphBuilder, Value
from etchnet.host.importers.registry import OperatorRegistry
from etchnet.host.importers.tflite.reader import Operator, Reader, Tensor
from etchnet.host.network.model import Model, ModelError, Quantisation

__all__ = ["OPERATORS", "Context", "handles"]


class Context:
    """The state of the import of one TensorFlow Lite graph.

    Parameters
    ----------
    reader
        The file.

    Attributes
    ----------
    input
        The graph's input.
    batch
        Size of the first axis of the input, which all operators must keep.
    values
        Values of the builder, by the index of their tensor.
    reals
        Shapes, without the batch, of float32 tensors that hold the input unchanged, by the index of the tensor.
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
        self.reals: dict[int, tuple[int, ...]] = {}
        self.sizes: set[int] = set()
        self._builder: GraphBuilder | None = None
        self.input = first = reader.tensor(reader.input)
        reader.check_type("the input", first, "int8", "float32")
        if len(first.shape) < 2 or not first.shape[0]:
            raise ModelError(f"the input must have a batch and at least one more axis, not shape {first.shape}")
        self.batch = first.shape[0]
        if first.type == reader.tflite.TensorType.INT8:
            self.begin(reader.activation("the input", first), floating=False)
            self.values[first.index] = replace(self.builder.input, name=first.name or "input")
        else:
            self.reals[first.index] = first.shape[1:]

    def run(self, operator: Operator) -> None:
        """Import one operator."""
        handler = OPERATORS.handler(operator.kind, str(operator))
        if not operator.inputs or len(operator.outputs) != 1:
            raise ModelError(
                f"{operator} must have inputs and one output, not {len(operator.inputs)} and {len(operator.outputs)}"
            )
        written = self.reader.tensor(operator.outputs[0])
        known = (self.values, self.reals, self.sizes)
        if written.constant or any(written.index in kind for kind in known):
            raise ModelError(f"{operator} writes {written}, which is constant or already written")
        handler(self, operator)

    def finish(self) -> Model:
        """Return the model whose result is the graph's output."""
        output = self.reader.output
        if output not in self.values:
            raise ModelError(
                f"the output, {self.reader.tensor(output)}, must be computed from the input by operators on int8"
            )
        return self.builder.finish(self.values[output])

    @property
    def builder(self) -> GraphBuilder:
        """The model so far."""
        if self._builder is None:
            raise ModelError("the input is float32: its first operator must be QUANTIZE")
        return self._builder

    @property
    def has_begun(self) -> bool:
        """Whether `begin` has been called: a model with a float32 input begins at its QUANTIZE."""
        return self._builder is not None

    def begin(self, quantisation: Quantisation, *, floating: bool) -> None:
        """Start the model; its int8 input has the scale and zero point `quantisation`."""
        self._builder = GraphBuilder(self.reader.name, self.input.shape[1:], quantisation, floating=floating)

    def value(self, operator: Operator, position: int, *, host: bool = False) -> Value:
        """Return the value that an operator reads at a position: int8 on the machine, or any value if `host`."""
        tensor = self.reader.tensor(operator.inputs[position])
        if tensor.index in self.values:
            value = self.values[tensor.index]
            if not host and (value.steps or value.floating):
                raise ModelError(
                    f"{operator} comes after an operator that runs on the host, which must be among the last"
                )
            return value
        if tensor.constant:
            raise ModelError(f"{operator} reads {tensor}, which must be the result of an operator, not a constant")
        if tensor.index in self.reals:
            raise ModelError(f"{operator} reads float32: it must read int8, after a QUANTIZE")
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
