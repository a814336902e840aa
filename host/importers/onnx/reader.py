"""Checked access to the graph of an ONNX file.

Files are untrusted input. The package onnx parses the protobuf. `check_model` looks at it before ONNX Runtime does:
data in other files is refused, and so is what would need more memory than a model may have.
"""

from __future__ import annotations

import graphlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.host.importers.graph import MOST_VALUES
from etchnet.host.network.model import ModelError

__all__ = ["Graph", "Node", "Port", "check_model", "make_node", "parse_model", "read_graph"]

_MOST_NODES = 1 << 16
_MOST_DIMENSIONS = 8
_MOST_CONSTANT_VALUES = 1 << 27
_MOST_BATCH = 1 << 12
_INPUT_TYPES = ("float32", "int8", "uint8", "int16", "uint16")
_DOMAINS = ("", "ai.onnx", "com.microsoft")
# By the numbers of TensorProto.DataType: numpy's type, and the field that holds values that are not raw.
_TYPES: dict[int, tuple[str, np.dtype, str]] = {
    1: ("float32", np.dtype("<f4"), "float_data"),
    2: ("uint8", np.dtype("u1"), "int32_data"),
    3: ("int8", np.dtype("i1"), "int32_data"),
    6: ("int32", np.dtype("<i4"), "int32_data"),
    7: ("int64", np.dtype("<i8"), "int64_data"),
    4: ("uint16", np.dtype("<u2"), "int32_data"),
    5: ("int16", np.dtype("<i2"), "int32_data"),
    9: ("bool", np.dtype("?"), "int32_data"),
    11: ("float64", np.dtype("<f8"), "double_data"),
}
_OTHER_TYPES = {
    8: "string",
    10: "float16",
    16: "bfloat16",
    21: "uint4",
    22: "int4",
}


def type_name(number: int) -> str:
    """Return the name of a type, from its number in TensorProto.DataType."""
    return _TYPES[number][0] if number in _TYPES else _OTHER_TYPES.get(number, f"type {number}")


@dataclass(frozen=True, eq=False)
class Node:
    """One operator.

    Attributes
    ----------
    where
        Name of the operator in messages.
    inputs, outputs
        Names of values; the name of an absent input is empty.
    attributes
        Integers, floats, bytes, and lists of them; tensors as arrays.
    proto
        The message of the operator.
    """

    where: str
    kind: str
    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: dict[str, Any]
    proto: Any

    @property
    def label(self) -> str:
        """Name of the layer that the node becomes: its own name, or that of its first output."""
        return self.name or next(iter(self.outputs), self.kind)

    def __getitem__(self, index: int) -> str:
        """Return the name of an input, empty if it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def integer(self, name: str, default: int) -> int:
        """Return an attribute that must be an integer."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise ModelError(f"{self.where}: {name} must be an integer, not {value!r}")
        return value

    def number(self, name: str, default: float) -> float:
        """Return an attribute that must be a float."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise ModelError(f"{self.where}: {name} must be a number, not {value!r}")
        return float(value)

    def text(self, name: str, default: str) -> str:
        """Return an attribute that must be text."""
        value = self.attributes.get(name, default)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if not isinstance(value, str):
            raise ModelError(f"{self.where}: {name} must be text, not {value!r}")
        return value

    def integers(self, name: str, default: Sequence[int] | None, length: int | None = None) -> list[int]:
        """Return an attribute that must be a list of integers, of that length if one is given."""
        value = self.attributes.get(name, default)
        if not isinstance(value, list | tuple) or any(not isinstance(n, int) for n in value):
            raise ModelError(f"{self.where}: {name} must be a list of integers, not {value!r}")
        if length is not None and len(value) != length:
            raise ModelError(f"{self.where}: {name} must have {length} entries, not {list(value)}")
        return list(value)


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes
    ----------
    dtype
        Type as the file has it.
    shape
        Its shape without the batch; empty for outputs, whose shapes follow from the operators.
    batch
        Size of the batch in the file; None if it is not fixed.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    batch: int | None = None


@dataclass(frozen=True)
class Graph:
    """The operators of a model in an order in which each reads only earlier results, its constants, inputs and outputs.

    Attributes
    ----------
    model
        The message that holds the graph; operators that the host computes take its versions of operator sets.
    opset
        Version of the standard operator set.
    constants
        Arrays, or messages that become arrays when they are read.
    """

    name: str
    model: Any
    opset: int
    inputs: Sequence[Port]
    outputs: Sequence[str]
    constants: dict[str, Any]
    nodes: Sequence[Node]

    @property
    def batch(self) -> int | None:
        """Size of the batch in the file; None if it is not fixed."""
        return self.inputs[0].batch

    def constant(self, where: str, name: str) -> np.ndarray | None:
        """Return the constant of that name, or None."""
        tensor = self.constants.get(name)
        return tensor if tensor is None or isinstance(tensor, np.ndarray) else _array(f"{where}: {name!r}", tensor)


def parse_model(data: bytes, name: str) -> Any:
    """Return the message in the bytes of an .onnx file; raises ModelError."""
    import onnx

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's own exceptions differ by version
        raise ModelError(f"{name} is not an ONNX file: {error}") from None
    if not model.HasField("graph") or not model.graph.node:
        raise ModelError(f"{name} is not an ONNX file, or has no operators")
    return model


def check_model(model: Any, name: str, supported: Callable[[str, str], object]) -> None:
    """Check what a file must not have before ONNX Runtime may see it; raises ModelError.

    No data is in other files, every size is within its limit, and `supported`, which takes the type of an operator and
    its name in messages, knows every operator: none of these allocates more than its inputs and results need.
    Operators without a name get one, where it is free.
    """
    graph = model.graph
    if len(graph.node) > _MOST_NODES:
        raise ModelError(f"{name} has {len(graph.node)} operators; at most {_MOST_NODES} are supported")
    if graph.sparse_initializer:
        raise ModelError(f"{name} has sparse constants, which are not supported")
    if model.functions:
        raise ModelError(f"{name} has functions of its own, which are not supported: inline them, as onnx.inliner does")
    _check_names(graph, name)
    constants = {tensor.name for tensor in graph.initializer}
    if len(constants) != len(graph.initializer):
        raise ModelError(f"{name} is damaged: two constants have the same name")
    for tensor in graph.initializer:
        _check_tensor(f"the constant {tensor.name!r}", tensor)
    ports = [_input(value) for value in graph.input if value.name not in constants]
    named = {proto.name for proto in graph.node}
    for index, proto in enumerate(graph.node):
        node = make_node(index, proto)
        supported(node.kind, node.where)
        # ONNX Runtime calls operators by their names alone.
        if not proto.name and node.label not in named:
            proto.name = node.label
    _check_sizes(model, max((port.batch or 1 for port in ports), default=1))


def _check_names(graph: Any, name: str) -> None:
    """Refuse names that are not text: protobuf's parser returns the bytes of text that is not UTF-8."""
    named = (*graph.node, *graph.initializer, *graph.input, *graph.output)
    values = (value for node in graph.node for value in (*node.input, *node.output))
    for given in itertools.chain((message.name for message in named), values):
        if not isinstance(given, str):
            raise ModelError(f"{name} is damaged: the name {given!r} is not UTF-8")


def read_graph(model: Any, name: str) -> Graph:
    """Return the graph of a message; raises ModelError."""
    graph = model.graph
    versions = {entry.domain: entry.version for entry in model.opset_import}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    inputs = [_input(value) for value in graph.input if value.name not in constants]
    if not inputs or not graph.output:
        raise ModelError(f"{name} must have at least one input and one output")
    if len({port.batch for port in inputs}) > 1:
        raise ModelError(f"{name}: all inputs must have the same batch, not {[port.batch for port in inputs]}")
    outputs = [value.name for value in graph.output]
    nodes = _needed([make_node(index, proto) for index, proto in enumerate(graph.node)], outputs)
    version = versions.get("", versions.get("ai.onnx", 0))
    return Graph(name, model, version, inputs, outputs, constants, nodes)


def _needed(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """Return the operators that the outputs need, each after those whose results it reads; raises ModelError."""
    makers = {result: node for node in nodes for result in node.outputs if result}
    before: dict[Node, list[Node]] = {}
    open_names = list(outputs)
    while open_names:
        node = makers.get(open_names.pop())
        if node is not None and node not in before:
            before[node] = [makers[name] for name in node.inputs if name in makers]
            open_names.extend(node.inputs)
    # In the order of the file, so that the network is the same in every process.
    ordered = {node: before[node] for node in nodes if node in before}
    try:
        return list(graphlib.TopologicalSorter(ordered).static_order())
    except graphlib.CycleError as error:
        raise ModelError(f"{error.args[1][0].where} reads its own result") from None


def _input(value: Any) -> Port:
    what = f"the input {value.name!r}"
    if not value.type.HasField("tensor_type"):
        raise ModelError(f"{what} must be a tensor")
    tensor = value.type.tensor_type
    kind = type_name(tensor.elem_type)
    if kind not in _INPUT_TYPES:
        raise ModelError(f"{what} must be one of {', '.join(_INPUT_TYPES)}, not {kind}")
    sizes = tensor.shape.dim
    if not 2 <= len(sizes) <= _MOST_DIMENSIONS:
        raise ModelError(f"{what} must have 2 to {_MOST_DIMENSIONS} dimensions, the batch first, not {len(sizes)}")
    shape = []
    for axis, size in enumerate(sizes):
        if axis and (not size.HasField("dim_value") or size.dim_value < 1):
            shown = size.dim_param or size.dim_value
            raise ModelError(f"{what}: dimension {axis} must be known, not {shown!r}: only the batch may be open")
        shape.append(int(size.dim_value))
    fixed = sizes[0].HasField("dim_value") and sizes[0].dim_value
    if fixed and not 1 <= fixed <= _MOST_BATCH:
        raise ModelError(f"{what}: the batch must be from 1 to {_MOST_BATCH}, not {fixed}")
    if math.prod(shape[1:]) > MOST_VALUES:
        raise ModelError(f"{what} must have at most {MOST_VALUES} values per image, not shape {tuple(shape[1:])}")
    return Port(value.name, kind, tuple(shape[1:]), int(fixed) if fixed else None)


def _check_sizes(model: Any, batch: int) -> None:
    """Refuse a model with a tensor that is too large, as far as shapes follow from the inputs and constants."""
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # ONNX Runtime says what is wrong with shapes that contradict each other
        return
    most = max(batch * MOST_VALUES, _MOST_CONSTANT_VALUES)
    for value in inferred.graph.value_info:
        sizes = [size.dim_value for size in value.type.tensor_type.shape.dim if size.HasField("dim_value")]
        if math.prod(sizes) > most:
            raise ModelError(f"{value.name!r} must have at most {most} values, not shape {tuple(sizes)}")


def make_node(index: int, proto: Any) -> Node:
    """Return an operator of a message; `index` stands for its name in messages if it has none."""
    name = proto.name or (proto.output[0] if proto.output else "") or f"operator {index}"
    where = f"{proto.op_type or 'an operator without a type'} ({name})"
    if proto.domain not in _DOMAINS:
        raise ModelError(f"{where} is of the domain {proto.domain!r}, which is not supported")
    attributes: dict[str, Any] = {}
    for entry in proto.attribute:
        if entry.ref_attr_name or entry.name in attributes:
            raise ModelError(f"{where}: attribute {entry.name!r} is given twice, or by reference")
        attributes[entry.name] = _attribute(where, entry)
    return Node(where, proto.op_type, proto.name, list(proto.input), list(proto.output), attributes, proto)


def _attribute(where: str, entry: Any) -> Any:
    # By the numbers of AttributeProto.AttributeType.
    if entry.type == 4:
        return _array(f"{where}: {entry.name!r}", entry.t)
    fields = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints", 8: "strings"}
    if entry.type not in fields:
        raise ModelError(
            f"{where}: attribute {entry.name!r} must be a number, text, a tensor or a list, not of type {entry.type}"
        )
    value = getattr(entry, fields[entry.type])
    return list(value) if entry.type >= 6 else value


def _check_tensor(what: str, tensor: Any) -> tuple[int, ...]:
    """Return the shape of a constant whose data are in the file and within limits."""
    if tensor.data_location == 1 or tensor.external_data:
        raise ModelError(f"{what} is in another file; a model must be one file")
    if tensor.HasField("segment"):
        raise ModelError(f"{what} is stored in segments, which are not supported")
    shape = tuple(int(n) for n in tensor.dims)
    if len(shape) > _MOST_DIMENSIONS or min(shape, default=1) < 0 or math.prod(shape) > _MOST_CONSTANT_VALUES:
        raise ModelError(
            f"{what} must have at most {_MOST_DIMENSIONS} dimensions and {_MOST_CONSTANT_VALUES} values, "
            f"not shape {shape}"
        )
    return shape


def _array(what: str, tensor: Any) -> np.ndarray:
    shape = _check_tensor(what, tensor)
    if tensor.data_type not in _TYPES:
        raise ModelError(
            f"{what} is {type_name(tensor.data_type)}; supported are {', '.join(t[0] for t in _TYPES.values())}"
        )
    _, dtype, field = _TYPES[tensor.data_type]
    size = math.prod(shape)
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != size * dtype.itemsize:
            raise ModelError(
                f"{what} must have {size * dtype.itemsize} bytes for shape {shape}, not {len(tensor.raw_data)}"
            )
        return np.frombuffer(tensor.raw_data, dtype).reshape(shape)
    values = getattr(tensor, field)
    if len(values) != size:
        raise ModelError(f"{what} must have {size} values for shape {shape}, not {len(values)}")
    array = np.array(values, np.float64 if dtype.kind == "f" else np.int64)
    with np.errstate(all="ignore"):
        typed = array.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(typed, array):
        raise ModelError(f"{what} has values that do not fit {_TYPES[tensor.data_type][0]}")
    return typed.reshape(shape)
