"""The state of an import, through which handlers read the inputs of their nodes and add layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from etchnet.host.importers.builder import GraphBuilder
from etchnet.host.importers.onnx.fit import CONTRACT
from etchnet.host.importers.onnx.reader import Graph, Node
from etchnet.host.importers.onnx.runtime import SOURCE
from etchnet.host.importers.onnx.values import (
    UINT8_REASON,
    HostValue,
    Item,
    Tensor,
    checked_scales,
    shape_text,
)
from etchnet.host.importers.registry import OperatorRegistry
from etchnet.host.importers.reorder import reorder
from etchnet.host.importers.value import Value, View, make_layer
from etchnet.host.network.layers import Concat, Layer, Reshape
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.host.network.order import UNCHANGED, AxisOrder

__all__ = ["OPERATORS", "ORDERED", "Context", "handles"]

_MOST_SEARCHES = 1024
ORDERED = {"DequantizeLinear", "Relu", "Clip"}
"""operators that map larger values to larger or equal ones"""


class Context:
    """The state of the import of one ONNX graph.

    Parameters
    ----------
    graph
        The graph, as ONNX Runtime has optimised it.

    Attributes
    ----------
    items
        The values computed so far, by their names in the graph.
    constants
        The constants that operators on the host read.
    builder
        The model so far.
    entrances
        The inputs of the model, as layers read them.
    scales
        Scale and zero point of each input that is int8 in the file, as the first operator reads it.

    Raises
    ------
    ModelError
        The operator of a node does not support one of its inputs. All methods may raise it.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.items: dict[str, Item] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.scales: dict[int, Quantisation] = {}
        self.entrances: list[Value] = []
        self._readers = Counter([*graph.outputs, *(name for node in graph.nodes for name in node.inputs)])
        self._searches = 0
        self.builder = GraphBuilder(graph.name, contract=CONTRACT, channels_first=True)
        for number, port in enumerate(graph.inputs):
            value = self.builder.input(port.name, port.shape, Quantisation(1.0, 0, True), port.dtype)
            tensor = Tensor(replace(value, dtype="int8"))
            self.entrances.append(tensor.value)
            host = HostValue(tensor, port.dtype, (), SOURCE, port.dtype, entrance=number)
            self.items[port.name] = tensor if port.dtype == "int8" else host

    def operand(self, node: Node, index: int) -> Item | None:
        """Return the value of a node's input, or None if it is absent."""
        name = node[index]
        if not name:
            return None
        if name not in self.items:
            array = self.graph.constant(node.where, name)
            if array is None:
                raise ModelError(f"{node.where} reads {name!r}, which nothing gives")
            self.items[name] = array
        return self.items[name]

    def constant(self, node: Node, index: int, what: str) -> np.ndarray:
        """Return an input that must be constant; error messages call it `what`."""
        array = self.optional_constant(node, index, what)
        if array is None:
            raise ModelError(f"{node.where}: {what} must be constant, but is absent")
        return array

    def optional_constant(self, node: Node, index: int, what: str) -> np.ndarray | None:
        """Return an input that must be constant if it is present."""
        item = self.operand(node, index)
        if item is not None and not isinstance(item, np.ndarray):
            raise ModelError(f"{node.where}: {what} must be constant")
        return item

    def quantisation(self, node: Node, scale: int, what: str) -> Quantisation:
        """Return the scale and zero point of a whole tensor, from inputs `scale` and `scale + 1`."""
        scales = checked_scales(node.where, self.constant(node, scale, f"the scale of {what}"))
        zero = self.optional_constant(node, scale + 1, f"the zero point of {what}")
        if zero is None:
            # A dequantisation reads the type that its input has; for the others, uint8 is the default.
            zero = np.zeros((), np.int8 if node.kind == "DequantizeLinear" else np.uint8)
        if zero.dtype == np.uint8:
            raise ModelError(f"{node.where}: {what} is uint8. {UINT8_REASON}")
        if zero.dtype != np.int8:
            raise ModelError(f"{node.where}: the zero point of {what} must be int8, not {zero.dtype}")
        if scales.size != 1 or zero.size != 1:
            raise ModelError(f"{node.where}: {what} must have one scale and one zero point, not {scales.size}")
        return Quantisation(float(scales.flat[0]), int(zero.flat[0]), True)

    def read(self, node: Node, index: int, quantisation: Quantisation | None = None) -> Tensor:
        """Return an input that must be an int8 tensor; the node reads it with the scale and zero point given."""
        item = self.operand(node, index)
        if isinstance(item, HostValue):
            raise ModelError(self.why_not(node, item))
        if not isinstance(item, Tensor):
            kind = "nothing" if item is None else f"a constant of {item.dtype}"
            raise ModelError(f"{node.where} must have an int8 tensor as input {index}, not {kind}")
        if item.value.node < 0 and quantisation is not None:
            self.scales.setdefault(-1 - item.value.node, quantisation)
        return item

    @staticmethod
    def why_not(node: Node, item: HostValue) -> str:
        """Say why a layer cannot read a value that the host computes."""
        if item.reason:
            return item.reason
        if item.dtype == "uint8":
            return f"{node.where} reads uint8. {UINT8_REASON}"
        if not item.nodes:
            return f"{node.where} reads the input as {item.dtype}: a QuantizeLinear to int8 must come before it"
        kinds = ", ".join(
            dict.fromkeys(n.where for n in item.nodes if n.kind not in ("QuantizeLinear", "DequantizeLinear"))
        )
        return (
            f"{node.where} reads what ONNX Runtime computes in float32, not on int8"
            + (f", by {kinds}" if kinds else "")
            + ": only the first and the last operators may be in float32"
        )

    def apply(
        self, node: Node, operands: Sequence[Item | None], *, pointwise: bool, dtype: str, reason: str = ""
    ) -> HostValue:
        """Return the value that a node computes on the host from one tensor, and constants.

        Parameters
        ----------
        operands
            The values of the node's inputs.
        pointwise
            Whether each result follows from the values of the operands at the same place.
        dtype
            Type of the result.
        reason
            Why no layer computes it.
        """
        hosts = [self._as_host(item) for item in operands if isinstance(item, Tensor | HostValue)]
        first, known = hosts[0], next((host.reason for host in hosts if host.reason), "")
        if any(host.source != first.source or host.entrance != first.entrance for host in hosts):
            raise ModelError(
                known
                or f"{node.where} has several operands that are not constant: of such operators, the machine has only "
                "QLinearAdd and concatenations, and the host none"
            )
        inputs = []
        axes = frozenset(axis for host in hosts for axis in host.axes)
        pointwise = pointwise and all(host.pointwise for host in hosts)
        for name, item in zip(node.inputs, operands, strict=True):
            if isinstance(item, np.ndarray):
                self.constants[name] = item
                inputs.append(name)
                varying = _varying(node, item, first.source.shape)
                pointwise, axes = pointwise and varying is not None, axes | (varying or frozenset())
            else:
                inputs.append("" if item is None else self._as_host(item).name)
        nodes = tuple(dict.fromkeys(n for host in hosts for n in host.nodes))
        if first.entrance is not None and axes and first.source.value != self.entrances[first.entrance]:
            raise ModelError(
                f"{node.where} has constants that differ by place, after a change of shape and before the first layer"
            )
        return HostValue(
            first.source,
            first.source_type,
            (*nodes, replace(node, inputs=inputs)),
            node.outputs[0],
            dtype,
            entrance=first.entrance,
            pointwise=pointwise,
            axes=axes,
            ordered=any(host.ordered for host in hosts),
            reason=known or reason,
        )

    @staticmethod
    def _as_host(item: Tensor | HostValue) -> HostValue:
        return HostValue(item, "int8", (), SOURCE, "int8") if isinstance(item, Tensor) else item

    def image(self, where: str, tensor: Tensor) -> Value:
        """Return a tensor that must be an image (N, channel, y, x) or a line (N, channel, x)."""
        if len(tensor.shape) not in (3, 4) or tensor.folded:
            raise ModelError(
                f"{where} must have tensors (N, C, H, W) or (N, C, L), not shape ({shape_text(tensor.shape)})"
            )
        channels, *rest = range(len(tensor.value.shape))
        return self._ordered(where, tensor.value, AxisOrder.of(tensor.value.shape, (*rest, channels)))

    def view(self, where: str, values: Sequence[Value], axes: Sequence[int]) -> View:
        """Return values as images in which each of the axes is one of the image; see `GraphBuilder.view`."""
        try:
            return self.builder.view(where, values, axes)
        except ModelError:
            # They are stored in different orders, or one that cuts the axes.
            return self.builder.view(where, [self._ordered(where, v, UNCHANGED) for v in values], axes)

    def alike(self, where: str, first: Value, second: Value) -> Value:
        """Return the second value, stored in the order of the first."""
        return self._ordered(where, second, self.builder.order_of(where, first))

    def repeated(self, where: str, value: Value, axis: int, times: int) -> Value:
        """Return a value that has the same values several times along an axis."""
        axis %= len(value.shape)
        view = self.view(where, [value], [axis])
        shape = [size * times if a == axis else size for a, size in enumerate(value.shape)]
        return self.builder.add(
            where,
            Concat(view.at[axis]),
            [*view.values] * times,
            value.quantisation,
            shape=shape,
            as_stored=True,
            order=view.order(shape),
        )

    def _ordered(self, where: str, value: Value, wanted: AxisOrder) -> Value:
        return reorder(self.builder, where, value, wanted)

    def add_image(self, node: Node, layer: Layer, source: Value, out: Quantisation) -> Tensor:
        """Add a layer that makes an image of an image, or a line of a line."""
        height, width, channels = make_layer(node.where, layer.shape, self.builder.image(node.where, source))
        shape = (channels, height, width) if len(source.shape) == 3 else (channels, width)
        return Tensor(self.builder.add(node.where, layer, [source], out, name=node.label, shape=shape))

    def rows(self, where: str, value: Value) -> tuple[Value, tuple[int, ...]]:
        """Return a value stored as an image whose channels are the value's last axis; adds a `Reshape` if needed.

        Returns its axes in the order in which they are stored, too.
        """
        last = len(value.shape) - 1
        axes = self.builder.order_of(where, value, UNCHANGED).of_axes(value.shape)
        if axes is None or (value.shape[-1] > 1 and axes[-1] != last):
            value, axes = self._ordered(where, value, UNCHANGED), tuple(range(last + 1))
        size, axes = value.shape[-1], (*(axis for axis in axes if axis != last), last)
        if self.builder.geometry(value)[2] == size:
            return value, axes
        layer = Reshape((1, math.prod(value.shape) // size, size))
        return self.builder.add(where, layer, [value], value.quantisation, shape=value.shape, as_stored=True), axes

    def has_one_reader(self, value: Value) -> bool:
        """Return whether at most one operator reads a layer's result, under any name and through the host."""
        names = []
        for name, item in self.items.items():
            source = item.source if isinstance(item, HostValue) else item
            if isinstance(source, Tensor) and source.value.node == value.node:
                names.append(name)
        return all(self._readers[name] <= 1 and name not in self.graph.outputs for name in names)

    def count_search(self, where: str) -> None:
        """Count an operator that needs a search for its settings, of up to a second; refuse more than the limit."""
        self._searches += 1
        if self._searches > _MOST_SEARCHES:
            raise ModelError(
                f"{where}: at most {_MOST_SEARCHES} additions, averages and changes of scale are supported"
            )

    def move(self, node: Node, change: Callable[[Tensor], Tensor], *, ordered: bool = False, output: int = 0) -> Item:
        """Apply `change`, which moves values but computes none, to a node's first input.

        What no layer can move is moved on the host, if no layer reads it.

        Parameters
        ----------
        ordered
            Whether the change chooses values by their order, which operators in between must keep.
        output
            Number of the node's output that the result is.
        """
        item = self.operand(node, 0)
        reason = ""
        try:
            if isinstance(item, Tensor):
                return change(item)
            if isinstance(item, HostValue) and item.pointwise and (item.incoming or not item.axes):
                keeps = item.incoming or {n.kind for n in item.nodes} <= ORDERED
                if keeps or not ordered:
                    return replace(item, source=change(item.source), ordered=item.ordered or ordered)
        except ModelError as error:
            reason = str(error)
        operands = [self.operand(node, index) for index in range(len(node.inputs))]
        dtype = item.dtype if isinstance(item, HostValue) else "int8"
        made = self.apply(node, operands, pointwise=False, dtype=dtype, reason=reason)
        return replace(made, name=node.outputs[output])


def _varying(node: Node, constant: np.ndarray, shape: Sequence[int]) -> frozenset[int] | None:
    """Return the axes of a tensor along which a constant operand differs; None if it is not as large as the tensor."""
    if constant.size == 1:
        return frozenset()
    if node.kind in ("QuantizeLinear", "DequantizeLinear", "BatchNormalization"):
        axis = node.integer("axis", 1) % len(shape)
        return frozenset([axis]) if constant.shape == (shape[axis],) else None
    sizes = (1,) * (len(shape) - constant.ndim) + constant.shape
    if (
        len(sizes) != len(shape)
        or any(n not in (1, size) for n, size in zip(sizes, shape, strict=True))
        or sizes[0] > 1
    ):
        return None
    return frozenset(axis for axis, size in enumerate(sizes) if size > 1)


Handler = Callable[[Context, Node], Item | list[Item]]

OPERATORS: OperatorRegistry[Handler] = OperatorRegistry()
"""handlers of ONNX operators; each returns the value of the node's first output, or a list of those of its outputs"""
handles = OPERATORS.handles
