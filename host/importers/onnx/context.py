"""The state of an import, through which handlers read the inputs of their nodes and add layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from etchnet.host.importers.builder import GraphBuilder
from etchnet.host.importers.onnx.fit import CONTRACT
from etchnet.host.importers.onnx.reader import Graph, Node
from etchnet.host.importers.onnx.values import (
    UINT8_REASON,
    Dequantised,
    Item,
    Pending,
    Tensor,
    checked_scales,
    describe,
    same_order,
    shape_text,
)
from etchnet.host.importers.registry import OperatorRegistry
from etchnet.host.importers.value import Value
from etchnet.host.network.layers import Layer, Reshape
from etchnet.host.network.model import ModelError, Quantisation

__all__ = ["OPERATORS", "Context", "handles"]

_MOST_SEARCHES = 1024


class Context:
    """The state of the import of one ONNX graph.

    Parameters
    ----------
    graph
        The graph.

    Attributes
    ----------
    items
        The values computed so far, by their names in the graph.
    builder
        The model so far.
    input
        The graph's input as an int8 tensor.
    input_quantisation
        Scale and zero point of the input, once an operator has given them.
    channels_last
        Whether the model's input is (y, x, channel), that is, all its readers transpose it to (channel, y, x).

    Raises
    ------
    ModelError
        The operator of a node does not support one of its inputs. All methods may raise it.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.items: dict[str, Item] = {}
        self.input_quantisation: Quantisation | None = None
        self._searches = 0
        shape = graph.input_shape
        self.channels_last = len(shape) == 3 and self._begins_with_transpose()
        if len(shape) == 3 and not self.channels_last:
            image = (shape[1], shape[2], shape[0])
        elif len(shape) == 3:
            image = (shape[0], shape[1], shape[2])
        elif len(shape) == 2:
            image = (1, shape[1], shape[0])
        else:
            image = (1, 1, math.prod(shape))
        # The scale is not known until the first operator reads the input; the importer sets it at the end.
        self.builder = GraphBuilder(graph.name, contract=CONTRACT)
        value = self.builder.input(graph.input, image, Quantisation(1.0, 0, True))
        self.input = Tensor(value, shape, self.channels_last, raw=True)

    def _begins_with_transpose(self) -> bool:
        """Return whether all readers of the input transpose it from (y, x, channel) to (channel, y, x)."""
        names = {self.graph.input}
        readers = []
        for node in self.graph.nodes:
            if node[0] in names:
                if node.kind in ("QuantizeLinear", "DequantizeLinear", "Identity"):
                    names.update(node.outputs)
                else:
                    readers.append(node)
        return bool(readers) and all(
            n.kind == "Transpose" and n.attributes.get("perm") == [0, 3, 1, 2] for n in readers
        )

    def operand(self, node: Node, index: int) -> Item | None:
        """Return the value of a node's input, or None if it is absent."""
        name = node[index]
        if not name:
            return None
        return self.items[name] if name in self.items else self.graph.constant(node.where, name)

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
            raise ModelError(f"{node.where}: {what} must be constant, not {describe(item)}")
        return item

    def quantisation(self, node: Node, scale: int, what: str, *, unsigned_default: bool = False) -> Quantisation:
        """Return the scale and zero point of a whole tensor, from inputs `scale` and `scale + 1`."""
        scales = checked_scales(node.where, self.constant(node, scale, f"the scale of {what}"))
        zero = self.optional_constant(node, scale + 1, f"the zero point of {what}")
        if zero is None and unsigned_default:
            raise ModelError(f"{node.where}: {what} has no zero point, and is uint8 by default. {UINT8_REASON}")
        if zero is None:
            zero = np.zeros((), np.int8)
        if zero.dtype == np.uint8:
            raise ModelError(f"{node.where}: {what} is uint8. {UINT8_REASON}")
        if zero.dtype != np.int8:
            raise ModelError(f"{node.where}: the zero point of {what} must be int8, not {zero.dtype}")
        if scales.size != 1 or zero.size != 1:
            raise ModelError(f"{node.where}: {what} must have one scale and one zero point, not {scales.size}")
        return Quantisation(float(scales.flat[0]), int(zero.flat[0]), True)

    def read(self, node: Node, index: int, quantisation: Quantisation) -> Tensor:
        """Return an input that must be an int8 tensor; the node reads it with the scale and zero point given."""
        item = self.operand(node, index)
        if not isinstance(item, Tensor):
            raise ModelError(f"{node.where} must have an int8 tensor as input {index}, not {describe(item)}")
        self.check_on_machine(node.where, item)
        if item.raw:
            self.set_input_quantisation(node.where, quantisation)
        return item

    def set_input_quantisation(self, where: str, quantisation: Quantisation) -> None:
        """Record the scale and zero point of the model's input; all its readers must agree."""
        if self.input_quantisation not in (None, quantisation):
            raise ModelError(
                f"{where} reads the input as {quantisation}, an operator before it as {self.input_quantisation}"
            )
        self.input_quantisation = quantisation

    @staticmethod
    def check_on_machine(where: str, tensor: Tensor) -> None:
        """Refuse a tensor that the host computes, because no layer can read it."""
        if tensor.value.steps:
            raise ModelError(f"{where} comes after an operator that runs on the host, which must be among the last")

    def dequantised(self, node: Node, index: int) -> Dequantised:
        """Return an input that must be the result of a DequantizeLinear."""
        item = self.operand(node, index)
        if isinstance(item, Dequantised) and not item.clamped:
            self.check_on_machine(node.where, item.tensor)
            return item
        if isinstance(item, Pending | Dequantised):
            before = item.where if isinstance(item, Pending) else "a clamp"
            raise ModelError(
                f"{node.where} reads the float result of {before}: a QuantizeLinear and a DequantizeLinear must "
                "be between them, or ONNX Runtime computes both in float"
            )
        raise ModelError(
            f"{node.where} must have the result of a DequantizeLinear as input {index}, not {describe(item)}"
        )

    def image(self, tensor: Tensor) -> tuple[int, int, int]:
        """Return (height, width, channels) of the layer that holds a tensor."""
        return self.builder.geometry(tensor.value)

    def as_image(self, where: str, tensor: Tensor) -> Value:
        """Return a tensor (channel, y, x) or (channel, x) as a value stored as an image; adds a `Reshape` if needed."""
        if len(tensor.shape) not in (2, 3):
            raise ModelError(
                f"{where} must have tensors (N, C, H, W) or (N, C, L), not shape (N, {shape_text(tensor.shape)})"
            )
        channels, height, width = (*tensor.shape[:1], 1, *tensor.shape[1:]) if len(tensor.shape) == 2 else tensor.shape
        image, wanted = self.image(tensor), (height, width, channels)
        flat = tensor.channels_last or same_order(image)
        if image == wanted and (not tensor.channels_last or same_order(image)):
            return tensor.value
        if flat and same_order(wanted):
            return self.builder.add(where, Reshape(wanted), [tensor.value], tensor.value.quantisation, as_stored=True)
        raise ModelError(
            f"{where} reads shape (N, {shape_text(tensor.shape)}) of values stored as (y, x, channel) = {image}: "
            "changing their order is not supported"
        )

    def as_vector(self, where: str, tensor: Tensor) -> Value:
        """Return a tensor (K,) as a value stored as one pixel; adds a `Reshape` if needed."""
        image = self.image(tensor)
        if not (tensor.channels_last or same_order(image)):
            raise ModelError(
                f"{where} reads a flattened image {image}, (y, x, channel): changing its order is not supported"
            )
        wanted = 1, 1, math.prod(image)
        if image == wanted:
            return tensor.value
        return self.builder.add(where, Reshape(wanted), [tensor.value], tensor.value.quantisation, as_stored=True)

    def add(self, where: str, layer: Layer, sources: Sequence[Value], out: Quantisation, name: str) -> Value:
        """Add a layer that reads its sources as they are stored."""
        return self.builder.add(where, layer, sources, out, name=name, as_stored=True)

    def count_search(self, where: str) -> None:
        """Count an operator that needs a search for its settings, of up to a second; refuse more than the limit."""
        self._searches += 1
        if self._searches > _MOST_SEARCHES:
            raise ModelError(
                f"{where}: at most {_MOST_SEARCHES} additions, averages and changes of scale are supported"
            )

    def change_shape(self, node: Node, change: Callable[[Tensor], Tensor]) -> Item:
        """Apply `change` to a node's first input, which may be int8 or dequantised."""
        item = self.operand(node, 0)
        if isinstance(item, Tensor):
            return change(item)
        if isinstance(item, Dequantised):
            return replace(item, tensor=change(item.tensor))
        if isinstance(item, Pending):
            self.dequantised(node, 0)
        raise ModelError(f"{node.where} must have a tensor as input 0, not {describe(item)}")


Handler = Callable[[Context, Node], Item]

OPERATORS: OperatorRegistry[Handler] = OperatorRegistry()
"""handlers of ONNX operators; each returns the value of the node's output"""
handles = OPERATORS.handles
