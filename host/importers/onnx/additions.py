"""Additions of two tensors, or of a tensor and one constant per channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.fit import Fit, fit_add, fit_map, layer_of_fits
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.values import (
    INT8_VALUES,
    Item,
    Pending,
    StoredConstant,
    Tensor,
    nearby_zero_points,
    quantisation_text,
    same_order,
    shape_text,
)
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.sim.arithmetic.onnx_ops import qlinear_add

_Operand = tuple[Tensor | np.ndarray, Quantisation]
"""a tensor or constant, with its scale and zero point"""


@handles("Add")
def add(context: Context, node: Node) -> Item:
    """Import a float addition of dequantised tensors."""
    items = [context.operand(node, 0), context.operand(node, 1)]
    if len(node.inputs) != 2:
        raise ModelError(f"{node.where} must have 2 inputs, not {len(node.inputs)}")
    operands: list[_Operand] = []
    for index, item in enumerate(items):
        if isinstance(item, StoredConstant) and item.values.dtype != np.int32 and item.scales.size == 1:
            operands.append((item.values, Quantisation(float(item.scales[0]), 0, True)))
        else:
            real = context.dequantised(node, index)
            operands.append((real.tensor, real.quantisation))
    return Pending(node.where, lambda out: _add(context, node, operands, out))


@handles("QLinearAdd")
def qlinear_add_node(context: Context, node: Node) -> Item:
    """Import an addition of int8 tensors."""
    out = context.quantisation(node, 6, "the result")
    operands: list[_Operand] = []
    for index in (0, 3):
        quantisation = context.quantisation(node, index + 1, "an operand")
        constant = context.operand(node, index)
        if isinstance(constant, np.ndarray):
            if constant.dtype != np.int8:
                raise ModelError(f"{node.where}: a constant operand must be int8, not {constant.dtype}")
            operands.append((constant, quantisation))
        else:
            operands.append((context.read(node, index, quantisation), quantisation))
    return _add(context, node, operands, out)


def _add(
    context: Context,
    node: Node,
    operands: Sequence[_Operand],
    out: Quantisation,
) -> Tensor:
    """Add the layer for two operands, one of which may be constant."""
    where = node.where
    (a, first), (b, second) = operands
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return _add_constant(context, node, operands, out)
    image = context.image(a)
    same = a.shape == b.shape and image == context.image(b)
    if not same or (a.channels_last != b.channels_last and not same_order(image)):
        raise ModelError(
            f"{where} must add tensors of one shape and order, "
            f"not (N, {shape_text(a.shape)}) and (N, {shape_text(b.shape)})"
        )
    scales, zeros = (first.scale, second.scale, out.scale), (first.zero_point, second.zero_point, out.zero_point)
    context.count_search(where)
    layer = fit_add(scales, zeros, single=math.prod(image) == 1)
    if layer is None:
        raise ModelError(
            f"{where} of {quantisation_text(first)} and {quantisation_text(second)} to {quantisation_text(out)}: "
            "ONNX Runtime's float32 sums meet rounding ties that no integer arithmetic of the machine reproduces. "
            "Calibrating with other data gives other scales"
        )
    return replace(a, value=context.add(where, layer, [a.value, b.value], out, node.label), raw=False)


def _add_constant(
    context: Context,
    node: Node,
    operands: Sequence[_Operand],
    out: Quantisation,
) -> Tensor:
    """Add a depthwise layer whose bias is the constant operand, one value per channel."""
    where = node.where
    tensors = [operand for operand, _ in operands if isinstance(operand, Tensor)]
    if len(tensors) != 1:
        raise ModelError(f"{where} must have an operand that is not constant")
    tensor = tensors[0]
    at = next(index for index, (operand, _) in enumerate(operands) if isinstance(operand, np.ndarray))
    constant = np.asarray(operands[at][0])
    channels = context.image(tensor)[2]
    if len(tensor.shape) == 1 and math.prod(context.image(tensor)[:2]) == 1:
        wanted: tuple[tuple[int, ...], ...] = ((channels,), (1, channels))
    else:
        ones = (1,) * (len(tensor.shape) - 1)
        wanted = ((channels, *ones), (1, channels, *ones)) if not tensor.channels_last else ((channels,),)
    if constant.shape not in wanted or channels == 1:
        raise ModelError(
            f"{where}: a constant operand must have one value per channel, and at least two, in shape {wanted[0]}, "
            f"not {constant.shape}"
        )
    scales = operands[0][1].scale, operands[1][1].scale, out.scale
    zeros = operands[0][1].zero_point, operands[1][1].zero_point, out.zero_point
    ratio, other = (float(np.float32(scales[index]) / np.float32(out.scale)) for index in (1 - at, at))
    context.count_search(where)
    values = constant.reshape(-1)
    for zero_point in nearby_zero_points(out.zero_point):
        fits: dict[int, Fit | None] = {}
        for value in map(int, np.unique(values)):
            pair = (np.full(256, value), INT8_VALUES) if at == 0 else (INT8_VALUES, np.full(256, value))
            target = qlinear_add(pair[0], pair[1], scales, zeros)
            offset = out.zero_point - ratio * zeros[1 - at] + other * (value - zeros[at])
            fits[value] = fit_map(INT8_VALUES, target, ratio, offset, [zero_point])
            if fits[value] is None:
                break
        found = [fits.get(int(value)) for value in values]
        if None not in found:
            layer = layer_of_fits(where, [fit for fit in found if fit], zero_point)
            result = context.add(where, layer, [tensor.value], out, node.label)
            return replace(tensor, value=result, raw=False)
    raise ModelError(
        f"{where}: no integer arithmetic of the machine reproduces ONNX Runtime's sums with this constant operand"
    )
