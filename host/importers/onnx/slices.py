"""Operators that take a part of a tensor."""

from __future__ import annotations

import numpy as np

from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.importers.moves import sliced
from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.values import Item, Tensor, shape_text
from etchnet.host.network.model import ModelError


@handles("Slice")
def slice_node(context: Context, node: Node) -> Item:
    """Import a slice along some axes."""
    if context.graph.opset < 10:
        starts, ends = node.integers("starts", None), node.integers("ends", None)
        axes, steps = node.integers("axes", list(range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = (_integers(context.constant(node, n, "a bound")) for n in (1, 2))
        given = [context.optional_constant(node, n, "the axes or steps") for n in (3, 4)]
        axes = list(range(len(starts))) if given[0] is None else _integers(given[0])
        steps = [1] * len(starts) if given[1] is None else _integers(given[1])

    def change(tensor: Tensor) -> Tensor:
        rank = len(tensor.shape)
        parts = {
            axis % rank: slice(begin, end, step)
            for axis, begin, end, step in zip(axes, starts, ends, steps, strict=True)
        }
        if any(not -rank <= axis < rank for axis in axes):
            raise ModelError(f"{node.where}: axes must be those of ({shape_text(tensor.shape)}), not {axes}")
        return _taken(context, node, tensor, parts)

    return context.move(node, change)


@handles("Gather")
def gather(context: Context, node: Node) -> Item:
    """Import a choice of indices along an axis, which must have equal distances."""
    indices = context.constant(node, 1, "indices")
    axis = node.integer("axis", 0)

    def change(tensor: Tensor) -> Tensor:
        rank = len(tensor.shape)
        along = axis % rank
        size = tensor.shape[along]
        if not indices.size or indices.min() < -size or indices.max() >= size:
            raise ModelError(f"{node.where}: indices must be some from {-size} to {size - 1}, not {indices.tolist()}")
        chosen = [int(n) % size for n in indices.reshape(-1)]
        step = chosen[1] - chosen[0] if len(chosen) > 1 else 1
        if indices.ndim > 1 or step < 1 or chosen != list(range(chosen[0], chosen[-1] + 1, step)):
            raise ModelError(f"{node.where}: indices must rise by equal steps, not be {indices.tolist()}")
        taken = _taken(context, node, tensor, {along: slice(chosen[0], chosen[-1] + 1, step)})
        if indices.ndim:
            return taken
        return taken.reshaped([size for a, size in enumerate(taken.shape) if a != along])

    return context.move(node, change)


@handles("Split")
def split(context: Context, node: Node) -> list[Item]:
    """Import a division along an axis."""
    sizes = node.attributes.get("split")
    if sizes is None:
        given = context.optional_constant(node, 1, "the sizes")
        sizes = None if given is None else _integers(given)
    parts = len(node.outputs)

    def change(tensor: Tensor, number: int) -> Tensor:
        axis = node.integer("axis", 0) % len(tensor.shape)
        size = tensor.shape[axis]
        each = sizes or [ceil_div(size, parts)] * parts
        begin = sum(each[:number])
        return _taken(context, node, tensor, {axis: slice(begin, min(begin + each[number], size), 1)})

    return [
        context.move(node, lambda tensor, number=number: change(tensor, number), output=number)  # type: ignore[misc]
        for number in range(parts)
    ]


def _integers(array: np.ndarray) -> list[int]:
    return [int(n) for n in array.reshape(-1)]


def _taken(context: Context, node: Node, tensor: Tensor, parts: dict[int, slice]) -> Tensor:
    """Return a part of a tensor; `parts` has a slice for each axis along which it is smaller."""
    ranges = {axis: range(*part.indices(tensor.shape[axis])) for axis, part in parts.items()}
    ranges = {axis: r for axis, r in ranges.items() if r != range(tensor.shape[axis])}
    if not ranges:
        return tensor
    if 0 in ranges or tensor.folded:
        raise ModelError(f"{node.where} must not take a part of the batch")
    if any(r.step < 1 or not r for r in ranges.values()):
        raise ModelError(f"{node.where} must take some values, and in rising order")
    cut = {axis - 1: r for axis, r in sorted(ranges.items())}
    view, quantisation = context.view(node.where, [tensor.value], list(cut)), tensor.value.quantisation
    return Tensor(sliced(context.builder, node.where, view, cut, quantisation, name=node.label))
