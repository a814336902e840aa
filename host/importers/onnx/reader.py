"""Checked access to the graph of an ONNX file.

Files are untrusted input. The package onnx parses the protobuf, and this module checks everything in it: data in other
files is refused, names must be defined once and before they are read, and the size of data must match its shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.host.network.model import ModelError

__all__ = ["Graph", "Node", "read_graph"]

_MOST_NODES = 1 << 16
_MOST_DIMENSIONS = 8
_MOST_CONSTANT_VALUES = 1 << 27
_OPSETS = range(10, 26)
_DOMAINS = ("", "ai.onnx", "com.microsoft")
# By the numbers of TensorProto.DataType: numpy's type, and the field that holds values that are not raw.
_TYPES: dict[int, tuple[str, np.dtype, str]] = {
    1: ("float32", np.dtype("<f4"), "float_data"),
    2: ("uint8", np.dtype("u1"), "int32_data"),
    3: ("int8", np.dtype("i1"), "int32_data"),
    6: ("int32", np.dtype("<i4"), "int32_data"),
    7: ("int64", np.dtype("<i8"), "int64_data"),
}
_OTHER_TYPES = {
    4: "uint16",
    5: "int16",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    16: "bfloat16",
    21: "uint4",
    22: "int4",
}


def type_name(number: int) -> str:
    """Return the name of a type, from its number in TensorProto.DataType."""
    return _TYPES[number][0] if number in _TYPES else _OTHER_TYPES.get(number, f"type {number}")


@dataclass(frozen=True)
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
    """

    where: str
    kind: str
    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: dict[str, Any]

    @property
    def label(self) -> str:
        """Name of the layer that the node becomes: its own name, or that of its first output."""
        return self.name or self.outputs[0]

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
class Graph:
    """The operators of a model in order, its constants, its one input and its one output.

    Attributes
    ----------
    opset
        Version of the standard operator set.
    input_type
        "float32" or "int8".
    input_shape
        Shape of the input, without the batch.
    batch
        Size of the batch in the file; None if it is not fixed.
    """

    name: str
    opset: int
    input: str
    input_type: str
    input_shape: tuple[int, ...]
    batch: int | None
    output: str
    constants: dict[str, Any]
    nodes: Sequence[Node]

    def constant(self, where: str, name: str) -> np.ndarray | None:
        """Return the constant of that name, or None."""
        tensor = self.constants.get(name)
        return tensor if tensor is None or isinstance(tensor, np.ndarray) else _array(f"{where}: {name!r}", tensor)


def read_graph(data: bytes, name: str) -> Graph:
    """Parse the graph in the bytes of an .onnx file; raises ModelError."""
    try:
        import onnx
    except ImportError:
        raise ModelError("reading .onnx files needs the package onnx: pip install 'etchnet[onnx]'") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's own exceptions differ by version
        raise ModelError(f"{name} is not an ONNX file: {error}") from None
    if not model.HasField("graph") or not model.graph.node:
        raise ModelError(f"{name} is not an ONNX file, or has no operators")
    graph = model.graph
    if len(graph.node) > _MOST_NODES:
        raise ModelError(f"{name} has {len(graph.node)} operators; at most {_MOST_NODES} are supported")
    if graph.sparse_initializer:
        raise ModelError(f"{name} has sparse constants, which are not supported")
    opset = _opset(name, model)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    if len(constants) != len(graph.initializer):
        raise ModelError(f"{name} is damaged: two constants have the same name")
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ModelError(f"{name} has {len(inputs)} inputs and {len(graph.output)} outputs; one of each is supported")
    kind, shape, batch = _input(inputs[0])
    defined = {inputs[0].name, *constants}
    nodes = []
    for index, proto in enumerate(graph.node):
        node = _node(index, proto)
        for source in node.inputs:
            if source and source not in defined:
                raise ModelError(f"{node.where} reads {source!r}, which must be the result of an operator before it")
        for result in node.outputs:
            if result and result in defined:
                raise ModelError(f"{node.where} writes {result!r}, which is already defined")
            defined.add(result)
        nodes.append(node)
    return Graph(name, opset, inputs[0].name, kind, shape, batch, graph.output[0].name, constants, nodes)


def _opset(name: str, model: Any) -> int:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    version = versions.get("", versions.get("ai.onnx", 0))
    if version not in _OPSETS:
        raise ModelError(
            f"{name} uses version {version} of the standard operators; {_OPSETS[0]} to {_OPSETS[-1]} are supported"
        )
    return int(version)


def _input(value: Any) -> tuple[str, tuple[int, ...], int | None]:
    if not value.type.HasField("tensor_type"):
        raise ModelError("the input must be a tensor")
    tensor = value.type.tensor_type
    kind = type_name(tensor.elem_type)
    if kind not in ("float32", "int8"):
        raise ModelError(f"the input must be int8 or float32, not {kind}")
    sizes = tensor.shape.dim
    if not 2 <= len(sizes) <= _MOST_DIMENSIONS:
        raise ModelError(f"the input must have 2 to {_MOST_DIMENSIONS} dimensions, the batch first, not {len(sizes)}")
    shape = []
    for axis, size in enumerate(sizes):
        if axis and (not size.HasField("dim_value") or size.dim_value < 1):
            shown = size.dim_param or size.dim_value
            raise ModelError(f"the input's dimension {axis} must be known, not {shown!r}: only the batch may be open")
        shape.append(int(size.dim_value))
    fixed = sizes[0].HasField("dim_value") and sizes[0].dim_value
    if fixed and fixed < 0:
        raise ModelError(f"the input's batch must be at least 1, not {fixed}")
    return kind, tuple(shape[1:]), int(fixed) if fixed else None


def _node(index: int, proto: Any) -> Node:
    where = f"{proto.op_type or 'an operator without a type'} (operator {index})"
    if proto.domain not in _DOMAINS:
        raise ModelError(f"{where} is of the domain {proto.domain!r}, which is not supported")
    attributes: dict[str, Any] = {}
    for entry in proto.attribute:
        if entry.ref_attr_name or entry.name in attributes:
            raise ModelError(f"{where}: attribute {entry.name!r} is given twice, or by reference")
        attributes[entry.name] = _attribute(where, entry)
    return Node(where, proto.op_type, proto.name, list(proto.input), list(proto.output), attributes)


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


def _array(what: str, tensor: Any) -> np.ndarray:
    if tensor.data_location == 1 or tensor.external_data:
        raise ModelError(f"{what} is in another file; a model must be one file")
    if tensor.HasField("segment"):
        raise ModelError(f"{what} is stored in segments, which are not supported")
    if tensor.data_type not in _TYPES:
        raise ModelError(
            f"{what} is {type_name(tensor.data_type)}; supported are {', '.join(t[0] for t in _TYPES.values())}"
        )
    _, dtype, field = _TYPES[tensor.data_type]
    shape = tuple(int(n) for n in tensor.dims)
    if len(shape) > _MOST_DIMENSIONS or min(shape, default=1) < 0 or math.prod(shape) > _MOST_CONSTANT_VALUES:
        raise ModelError(
            f"{what} must have at most {_MOST_DIMENSIONS} dimensions and {_MOST_CONSTANT_VALUES} values, "
            f"not shape {shape}"
        )
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
