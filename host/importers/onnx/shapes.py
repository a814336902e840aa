"""Operators that move values: concatenation, padding, and changes of shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from etchnet.host.importers.graph import LARGEST_STEP
from etchnet.host.importers.moves import padded
from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.host import quantised, table
from etchnet.host.importers.onnx.pointwise import line_between, table_layer
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.values import INT8_VALUES, HostValue, Item, Tensor, shape_text
from etchnet.host.importers.value import make_layer
from etchnet.host.network.layers import Concat
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.sim.arithmetic.onnx_ops import dequantise_linear, quantise_linear


@handles("QLinearConcat")
def qlinear_concat(context: Context, node: Node) -> Item:
    """Import a concatenation of int8 tensors, each of which is brought to the scale of the result."""
    out = context.quantisation(node, 0, "the result")
    if len(node.inputs) < 5 or len(node.inputs) % 3 != 2:
        raise ModelError(
            f"{node.where} must have a tensor, a scale and a zero point per part, not {len(node.inputs)} inputs"
        )
    parts = []
    for index in range(2, len(node.inputs), 3):
        into = context.quantisation(node, index + 1, "a part")
        reals = dequantise_linear(INT8_VALUES, into.scale, into.zero_point)
        results = quantise_linear(reals, out.scale, out.zero_point)[None]
        part = context.read(node, index, into)
        parts.append(table_layer(context, node, part, results, (), out, line_between(into, out)))
    return _concatenate(context, node, parts, out)


@handles("Concat")
def concat(context: Context, node: Node) -> Item:
    """Import a concatenation of int8 tensors of one scale."""
    parts = [context.read(node, index) for index in range(len(node.inputs))]
    return _concatenate(context, node, parts, parts[0].value.quantisation)


def _concatenate(context: Context, node: Node, tensors: Sequence[Tensor], out: Quantisation) -> Tensor:
    """Add a concatenation of tensors with equal scales and zero points."""
    where, shape = node.where, list(tensors[0].shape)
    axis = node.integer("axis", 0)
    axis = axis + len(shape) if axis < 0 else axis
    if not 1 <= axis < len(shape) or any(t.folded for t in tensors):
        raise ModelError(f"{where}: axis must be one of the tensor's, and not the batch, not {axis}")
    rests = {(*t.shape[:axis], *t.shape[axis + 1 :]) for t in tensors}
    if len(rests) != 1:
        raise ModelError(
            f"{where}: parts must have equal sizes along all axes except {axis}, not {[t.shape for t in tensors]}"
        )
    shape[axis] = sum(t.shape[axis] for t in tensors)
    view = context.view(where, [t.value for t in tensors], [axis - 1])
    layer = make_layer(where, Concat, view.at[axis - 1])
    return Tensor(context.builder.add_view(where, layer, view, out, shape[1:], name=node.label))


@handles("Pad")
def pad(context: Context, node: Node) -> Item:
    """Import a constant border."""
    item = context.operand(node, 0)
    if node.text("mode", "constant") != "constant" or node[3]:
        raise ModelError(f"{node.where}: mode must be constant, and pads must be given for all axes")
    if context.graph.opset < 11:
        pads = node.integers("pads", None)
        fill = np.asarray(np.float32(node.number("value", 0.0)))
    else:
        pads = [int(n) for n in context.constant(node, 1, "pads").reshape(-1)]
        given = context.optional_constant(node, 2, "the value")
        fill = np.zeros((), np.float32 if isinstance(item, HostValue) else np.int8) if given is None else given
    if fill.size != 1:
        raise ModelError(f"{node.where}: the value must be one constant")

    def border() -> int:
        """Return the int8 value of the border."""
        if isinstance(item, Tensor):
            return int(fill.flat[0])
        if not isinstance(item, HostValue) or item.incoming:
            return quantised(context, node, node.outputs[0], fill.reshape(()))
        codes = np.flatnonzero(table(context, node, item)[0] == fill.reshape(()))
        if not codes.size:
            raise ModelError(f"{node.where}: the value {fill.flat[0]} must be one that int8 represents exactly")
        return int(codes[0]) - 128

    return context.move(node, lambda tensor: _pad(context, node, tensor, pads, border()))


def _pad(context: Context, node: Node, tensor: Tensor, pads: Sequence[int], border: int) -> Tensor:
    rank = len(tensor.shape)
    if len(pads) != 2 * rank or any(not 0 <= n <= LARGEST_STEP for n in pads) or pads[0] or pads[rank]:
        raise ModelError(
            f"{node.where}: pads must be {2 * rank} integers from 0 to {LARGEST_STEP}, and 0 for the batch, not {pads}"
        )
    if tensor.folded:
        raise ModelError(f"{node.where} must not come after a change of the batch")
    pairs = enumerate(zip(pads[1:rank], pads[rank + 1 :], strict=True))
    sides = {axis: pair for axis, pair in pairs if any(pair)}
    view = context.view(node.where, [tensor.value], list(sides))
    quantisation = tensor.value.quantisation
    return Tensor(padded(context.builder, node.where, view, sides, border, quantisation, name=node.label))


@handles("Reshape")
def reshape(context: Context, node: Node) -> Item:
    """Import a change of shape."""
    wanted = context.constant(node, 1, "the shape")
    sizes = [int(n) for n in wanted.reshape(-1)]
    return context.move(node, lambda tensor: _reshape(context, node, tensor, sizes))


def _reshape(context: Context, node: Node, tensor: Tensor, sizes: Sequence[int]) -> Tensor:
    """Give a tensor new sizes, batch included: 0 keeps a size, and -1 stands for the size that the others imply."""
    where, total = node.where, math.prod(tensor.shape)
    if not sizes or any(n < -1 for n in sizes) or list(sizes).count(-1) > 1:
        raise ModelError(f"{where}: the shape must be sizes, one of which may be -1, not {list(sizes)}")
    if 0 in sizes and node.integer("allowzero", 0):
        raise ModelError(f"{where}: tensors without values are not supported")
    if any(size == 0 and axis >= len(tensor.shape) for axis, size in enumerate(sizes)):
        raise ModelError(f"{where}: the shape {list(sizes)} keeps a dimension that ({shape_text(tensor.shape)}) lacks")
    batch = context.graph.batch or 1
    shape = [tensor.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    if sizes[0] > 0:
        # The first dimension has the rows of all images of the batch.
        if sizes[0] % batch:
            raise ModelError(f"{where} must keep the batch, {batch}, in the first dimension, not {sizes[0]}")
        shape[0] = sizes[0] // batch
    known = math.prod(n for n in shape if n != -1)
    if -1 in shape and total % known == 0:
        shape[shape.index(-1)] = total // known
    if math.prod(shape) != total:
        raise ModelError(
            f"{where} must keep the batch and the number of values: ({shape_text(tensor.shape)}) to {list(sizes)}"
        )
    return tensor.reshaped(shape)


@handles("Flatten")
def flatten(context: Context, node: Node) -> Item:
    """Import a change of shape to a matrix."""
    axis = node.integer("axis", 1)

    def change(tensor: Tensor) -> Tensor:
        first = axis + len(tensor.shape) if axis < 0 else axis
        if not 1 <= first <= len(tensor.shape):
            raise ModelError(f"{node.where}: axis must be from 1 to {len(tensor.shape)}, not {axis}")
        return tensor.reshaped((math.prod(tensor.shape[:first]), math.prod(tensor.shape[first:])))

    return context.move(node, change)


@handles("Squeeze", "Unsqueeze")
def squeeze(context: Context, node: Node) -> Item:
    """Import the removal or insertion of dimensions of size 1."""
    if context.graph.opset < 13:
        axes = node.integers("axes", None)
    else:
        axes = [int(n) for n in context.constant(node, 1, "axes").reshape(-1)]

    def change(tensor: Tensor) -> Tensor:
        shape = list(tensor.shape)
        rank = len(shape) + (len(axes) if node.kind == "Unsqueeze" else 0)
        positions = sorted({axis + rank if axis < 0 else axis for axis in axes})
        if len(positions) != len(axes) or not all(1 <= position < rank for position in positions):
            raise ModelError(f"{node.where}: axes must be distinct and not the batch, not {axes}")
        for position in positions if node.kind == "Unsqueeze" else reversed(positions):
            if node.kind == "Unsqueeze":
                shape.insert(position, 1)
            elif shape.pop(position) != 1:
                raise ModelError(
                    f"{node.where} must remove dimensions of size 1, not {axes} of shape ({shape_text(tensor.shape)})"
                )
        return tensor.reshaped(shape)

    return context.move(node, change)


@handles("Transpose")
def transpose(context: Context, node: Node) -> Item:
    """Import another order of axes, which moves no value that the machine stores."""

    def change(tensor: Tensor) -> Tensor:
        rank = len(tensor.shape)
        order = node.integers("perm", list(range(rank))[::-1])
        if sorted(order) != list(range(rank)) or order[0] != 0:
            raise ModelError(f"{node.where}: perm must order {rank} axes with the batch first, not {order}")
        if tensor.folded:
            raise ModelError(f"{node.where} must not come after a change of the batch")
        value = context.builder.transpose(node.where, tensor.value, [axis - 1 for axis in order[1:]])
        return Tensor(value)

    return context.move(node, change)


def reduced_axes(context: Context, node: Node, rank: int) -> list[int]:
    """Return the axes of a reduction in order: an attribute in older versions, an input in newer ones."""
    axes = node.attributes.get("axes")
    if axes is None:
        given = context.optional_constant(node, 1, "axes")
        axes = [] if given is None else [int(n) for n in given.reshape(-1)]
    if not axes and not node.integer("noop_with_empty_axes", 0):
        axes = list(range(rank))
    return sorted(axis + rank if axis < 0 else axis for axis in axes)


@handles("Identity", "Dropout")
def identity(context: Context, node: Node) -> Item:
    """Import an operator that returns its input."""
    item = context.operand(node, 0)
    if item is None:
        raise ModelError(f"{node.where} must have an input")
    return item


@handles("Shape")
def shape(context: Context, node: Node) -> Item:
    """Import the sizes of a tensor, which files compute for a Reshape; the batch is that of the file, or 1."""
    item = context.operand(node, 0)
    tensor = item.source if isinstance(item, HostValue) else item
    if not isinstance(tensor, Tensor) or (isinstance(item, HostValue) and not item.pointwise):
        raise ModelError(f"{node.where} must be of a tensor that a layer gives")
    sizes = [(context.graph.batch or 1) * tensor.shape[0], *tensor.shape[1:]]
    begin, end = node.integer("start", 0), node.integer("end", len(sizes))
    return np.array(sizes[begin:end], np.int64)
