"""Additions of two tensors."""

from __future__ import annotations

import math
from dataclasses import replace

from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.fit import fit_add
from etchnet.host.importers.onnx.pointwise import elementwise
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.values import Item, Tensor, shape_text
from etchnet.host.network.model import ModelError


@handles("QLinearAdd")
def qlinear_add_node(context: Context, node: Node) -> Item | list[Item]:
    """Import an addition of int8 tensors; one of a tensor and a constant, or itself, is a function of single values."""
    operands = [context.operand(node, index) for index in (0, 3)]
    if not all(isinstance(operand, Tensor) for operand in operands) or operands[0] == operands[1]:
        return elementwise(context, node)
    where = node.where
    first, second = (context.quantisation(node, index, "an operand") for index in (1, 4))
    out = context.quantisation(node, 6, "the result")
    a, b = context.read(node, 0, first), context.read(node, 3, second)
    if a.shape != b.shape:
        raise ModelError(
            f"{where} must add tensors of one shape, not ({shape_text(a.shape)}) and ({shape_text(b.shape)})"
        )
    scales, zeros = (first.scale, second.scale, out.scale), (first.zero_point, second.zero_point, out.zero_point)
    context.count_search(where)
    layer = fit_add(scales, zeros, single=math.prod(a.shape) == 1)
    if layer is None:
        raise ModelError(
            f"{where} of {first} and {second} to {out}: "
            "ONNX Runtime's float32 sums meet rounding ties that no integer arithmetic of the machine reproduces. "
            "Calibrating with other data gives other scales"
        )
    result = context.builder.add(
        where,
        layer,
        [a.value, context.alike(where, a.value, b.value)],
        out,
        name=node.label,
        shape=a.value.shape,
        as_stored=True,
    )
    return replace(a, value=result)
