"""Operators that move values: concatenation, padding, and changes of shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.quantise import requantise
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.values import (
    Dequantised,
    Item,
    Pending,
    Tensor,
    shape_text,
)
from etchnet.host.importers.value import make_layer
from etchnet.host.network.layers import Concat, Pad
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.sim.arithmetic.onnx_ops import dequantise_linear, quantise_linear


@handles("Concat")
def concat(context: Context, node: Node) -> Item:
    """Import a float concatenation of dequantised tensors."""
    parts = [context.dequantised(node, index) for index in range(len(node.inputs))]
    if not parts:
        raise ModelError(f"{node.where} must have at least one input")
    quantisations = {part.quantisation for part in parts}
    if len(quantisations) == 1:
        tensor = _concatenate(context, node, [part.tensor for part in parts], parts[0].quantisation)
        return Dequantised(tensor, parts[0].quantisation)
    return Pending(node.where, lambda out: _requantise_and_join(context, node, parts, out))


@handles("QLinearConcat")
def qlinear_concat(context: Context, node: Node) -> Item:
    """Import a concatenation of int8 tensors."""
    out = context.quantisation(node, 0, "the result")
    if len(node.inputs) < 5 or len(node.inputs) % 3 != 2:
        raise ModelError(
            f"{node.where} must have a tensor, a scale and a zero point per part, not {len(node.inputs)} inputs"
        )
    parts = []
    for index in range(2, len(node.inputs), 3):
        quantisation = context.quantisation(node, index + 1, "a part")
        parts.append(Dequantised(context.read(node, index, quantisation), quantisation))
    return _requantise_and_join(context, node, parts, out)


def _requantise_and_join(context: Context, node: Node, parts: Sequence[Dequantised], out: Quantisation) -> Tensor:
    return _concatenate(context, node, [requantise(context, node, part, out) for part in parts], out)


def _concatenate(context: Context, node: Node, tensors: Sequence[Tensor], out: Quantisation) -> Tensor:
    """Add a concatenation of tensors with equal scales and zero points."""
    where, shape = node.where, list(tensors[0].shape)
    if "axis" not in node.attributes:
        raise ModelError(f"{where} must have an axis")
    axis = node.integer("axis", 1)
    axis = (axis + len(shape) + 1 if axis < 0 else axis) - 1
    if not 0 <= axis < len(shape) or len(shape) > 3:
        raise ModelError(
            f"{where}: axis must be one of an image or vector, and not the batch, not {node.integer('axis', 1)}"
        )
    rests = {(*t.shape[:axis], *t.shape[axis + 1 :]) for t in tensors}
    if len(rests) != 1 or {len(t.shape) for t in tensors} != {len(shape)}:
        raise ModelError(
            f"{where}: parts must have equal sizes along all axes except {axis + 1}, not {[t.shape for t in tensors]}"
        )
    if len(shape) == 1:
        values = [context.as_vector(where, tensor) for tensor in tensors]
        along = 2
    else:
        values = [context.as_image(where, tensor) for tensor in tensors]
        along = (2, 0, 1)[axis] if len(shape) == 3 else (2, 1)[axis]
    shape[axis] = sum(t.shape[axis] for t in tensors)
    return Tensor(context.add(where, Concat(along), values, out, node.label), tuple(shape))


@handles("Pad")
def pad(context: Context, node: Node) -> Item:
    """Import a constant border, of an int8 or a dequantised tensor."""
    item = context.operand(node, 0)
    real = None if isinstance(item, Tensor) else context.dequantised(node, 0)
    tensor = item if isinstance(item, Tensor) else context.dequantised(node, 0).tensor
    context.check_on_machine(node.where, tensor)
    if node.text("mode", "constant") != "constant" or node[3]:
        raise ModelError(f"{node.where}: mode must be constant, and pads must be given for all axes")
    if context.graph.opset < 11:
        pads = node.integers("pads", None)
        fill: Any = np.float32(node.number("value", 0.0))
    else:
        pads = [int(n) for n in context.constant(node, 1, "pads").reshape(-1)]
        given = context.optional_constant(node, 2, "the value")
        fill = np.zeros((), np.float32 if real else np.int8) if given is None else given
    fill = np.asarray(fill)
    rank = len(tensor.shape) + 1
    if len(pads) != 2 * rank or any(not 0 <= n <= 1 << 15 for n in pads) or pads[0] or pads[rank]:
        raise ModelError(
            f"{node.where}: pads must be {2 * rank} integers of at least 0, and 0 for the batch, not {pads}"
        )
    if fill.size != 1 or fill.dtype != (np.float32 if real else np.int8):
        raise ModelError(f"{node.where}: the value must be one constant of the tensor's type")
    if real is None:
        number = int(fill.flat[0])
    else:
        scale, zero = real.quantisation.scale, real.quantisation.zero_point
        number = int(quantise_linear(fill, scale, zero).flat[0])
        if dequantise_linear(number, scale, zero) != fill.flat[0]:
            raise ModelError(f"{node.where}: the value {fill.flat[0]} must be one that int8 represents exactly")
    value = context.as_image(node.where, tensor)
    sides = list(zip(pads[1:rank], pads[rank + 1 :], strict=True))
    space = [(0, 0)] * (3 - len(sides)) + sides[1:]
    layer = make_layer(node.where, Pad, tuple(space), number, sides[0])
    result = context.add(node.where, layer, [value], tensor.value.quantisation, node.label)
    image = context.builder.geometry(result)
    padded = Tensor(result, (image[2], *image[3 - len(tensor.shape) : 2]), raw=tensor.raw)
    return padded if real is None else Dequantised(padded, real.quantisation)


@handles("Reshape")
def reshape(context: Context, node: Node) -> Item:
    """Import a change of shape."""
    wanted = context.constant(node, 1, "the shape")
    if wanted.dtype != np.int64 or wanted.ndim != 1:
        raise ModelError(f"{node.where}: the shape must be a list of int64")
    sizes = [int(n) for n in wanted]
    return context.change_shape(node, lambda tensor: _reshape(context, node, tensor, sizes))


def _reshape(context: Context, node: Node, tensor: Tensor, sizes: Sequence[int]) -> Tensor:
    """Give a tensor new sizes, batch included: 0 keeps a size, and -1 stands for the size that the others imply."""
    where, total = node.where, math.prod(tensor.shape)
    if not sizes or len(sizes) > 5 or any(n < -1 for n in sizes) or list(sizes).count(-1) > 1:
        raise ModelError(f"{where}: the shape must be 1 to 5 sizes, one of which may be -1, not {list(sizes)}")
    if 0 in sizes and node.integer("allowzero", 0):
        raise ModelError(f"{where}: tensors without values are not supported")
    if sizes[0] not in (-1, 0, 1, context.graph.batch):
        raise ModelError(f"{where} must keep the batch as the first dimension, not change it to {sizes[0]}")
    shape = []
    for axis, size in enumerate(sizes[1:]):
        if size == 0 and axis >= len(tensor.shape):
            raise ModelError(
                f"{where}: the shape keeps dimension {axis + 1}, but the input has only {len(tensor.shape) + 1}"
            )
        shape.append(tensor.shape[axis] if size == 0 else size)
    known = math.prod(n for n in shape if n != -1)
    if -1 in shape and total % known == 0:
        shape[shape.index(-1)] = total // known
    if math.prod(shape) != total:
        raise ModelError(f"{where} must keep the batch and the number of values: {tensor.shape} to {list(sizes)}")
    return replace(tensor, shape=tuple(shape) or (1,))


@handles("Flatten")
def flatten(context: Context, node: Node) -> Item:
    """Import a change of shape to (N, K)."""
    axis = node.integer("axis", 1)

    def change(tensor: Tensor) -> Tensor:
        if axis not in (1, -len(tensor.shape)):
            raise ModelError(f"{node.where}: axis must be 1, not {axis}")
        return replace(tensor, shape=(math.prod(tensor.shape),))

    return context.change_shape(node, change)


@handles("Squeeze", "Unsqueeze")
def squeeze(context: Context, node: Node) -> Item:
    """Import the removal or insertion of dimensions of size 1."""
    if context.graph.opset < 13:
        axes = node.integers("axes", None)
    else:
        axes = [int(n) for n in context.constant(node, 1, "axes").reshape(-1)]

    def change(tensor: Tensor) -> Tensor:
        shape = list(tensor.shape)
        rank = len(shape) + 1 + (len(axes) if node.kind == "Unsqueeze" else 0)
        positions = sorted({axis + rank if axis < 0 else axis for axis in axes})
        if len(positions) != len(axes) or not all(1 <= position < rank for position in positions) or rank > 5:
            raise ModelError(f"{node.where}: axes must be distinct and not the batch, not {axes}")
        for position in positions if node.kind == "Unsqueeze" else reversed(positions):
            if node.kind == "Unsqueeze":
                shape.insert(position - 1, 1)
            elif shape.pop(position - 1) != 1:
                raise ModelError(
                    f"{node.where} must remove dimensions of size 1, "
                    f"not axes {axes} of shape (N, {shape_text(tensor.shape)})"
                )
        return replace(tensor, shape=tuple(shape) or (1,))

    return context.change_shape(node, change)


@handles("Transpose")
def transpose(context: Context, node: Node) -> Item:
    """Import a transposition between (channel, y, x) and (y, x, channel), or one that moves no value."""
    order = node.integers("perm", None)

    def change(tensor: Tensor) -> Tensor:
        rank = len(tensor.shape) + 1
        if sorted(order) != list(range(rank)) or order[0] != 0:
            raise ModelError(f"{node.where}: perm must order {rank} axes with the batch first, not {order}")
        axes = [axis - 1 for axis in order[1:]]
        shape = tuple(tensor.shape[axis] for axis in axes)
        if [axis for axis in axes if tensor.shape[axis] > 1] == [a for a in range(rank - 1) if tensor.shape[a] > 1]:
            return replace(tensor, shape=shape)
        height, width, channels = context.image(tensor)
        if axes == [1, 2, 0] and not tensor.channels_last and tensor.shape == (channels, height, width):
            return replace(tensor, shape=shape, channels_last=True)
        if axes == [2, 0, 1] and tensor.channels_last and tensor.shape == (height, width, channels):
            return replace(tensor, shape=shape, channels_last=False)
        raise ModelError(
            f"{node.where}: perm {order} of shape (N, {shape_text(tensor.shape)}) is not supported: "
            "it changes the order of values"
        )

    return context.change_shape(node, change)


@handles("Identity", "Dropout")
def identity(context: Context, node: Node) -> Item:
    """Import an operator that returns its input."""
    item = context.operand(node, 0)
    if item is None:
        raise ModelError(f"{node.where} must have an input")
    return item


@handles("Constant")
def constant(context: Context, node: Node) -> Item:
    """Import a constant."""
    value = node.attributes.get("value")
    if "value_float" in node.attributes:
        value = np.float32(node.number("value_float", 0))
    elif "value_int" in node.attributes:
        value = np.int64(node.integer("value_int", 0))
    elif "value_ints" in node.attributes:
        value = np.array(node.integers("value_ints", None), np.int64)
    if not isinstance(value, np.ndarray | np.generic):
        raise ModelError(f"{node.where} must have a tensor, a number or a list of integers as its value")
    return np.asarray(value)
