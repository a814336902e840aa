"""Operators between float and int8: QuantizeLinear, DequantizeLinear, and clamps of floats."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.fit import Fit, fit_map, layer_of_fits
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.values import (
    INT8_VALUES,
    Dequantised,
    FloatInput,
    Item,
    Pending,
    StoredConstant,
    Tensor,
    broadcast_scales,
    checked_scales,
    describe,
    nearby_zero_points,
    quantisation_text,
)
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.sim.arithmetic.onnx_ops import dequantise_linear, quantise_linear


@handles("QuantizeLinear")
def quantise_linear_node(context: Context, node: Node) -> Item:
    """Import a quantisation: of the model's input, of a pending or dequantised tensor, or of a constant."""
    item = context.operand(node, 0)
    if isinstance(item, np.ndarray):
        return _quantise_constant(context, node, item)
    unsigned = not (context.graph.opset >= 21 and node.integer("output_dtype", 0) == 3)
    out = context.quantisation(node, 1, "the result", unsigned_default=unsigned)
    if isinstance(item, FloatInput):
        context.set_input_quantisation(node.where, out)
        return context.input
    if isinstance(item, Dequantised):
        if item.tensor.value.steps and item.quantisation != out:
            context.check_on_machine(node.where, item.tensor)
        same = (item.quantisation.scale, item.quantisation.zero_point) == (out.scale, out.zero_point)
        if same and not item.clamped:
            return item.tensor
        return requantise(context, node, item, out)
    if isinstance(item, Pending):
        bounds = quantise_linear([item.low, item.high], out.scale, out.zero_point)
        if bounds.tolist() != [-128, 127]:
            raise ModelError(
                f"{item.where}: its result is clamped to [{item.low:g}, {item.high:g}] and quantised to a wider range, "
                "so that ONNX Runtime computes it in float. Put a QuantizeLinear and a DequantizeLinear before the "
                "clamp, or quantise to the range of the clamp"
            )
        return item.emit(out)
    raise ModelError(f"{node.where} must have floats as input 0, not {describe(item)}")


def _quantise_constant(context: Context, node: Node, values: np.ndarray) -> np.ndarray:
    scales = checked_scales(node.where, context.constant(node, 1, "the scale"))
    zero = context.optional_constant(node, 2, "the zero point")
    if zero is None or zero.dtype != np.int8 or zero.any() or values.dtype != np.float32:
        raise ModelError(f"{node.where}: constants must be float32, and be quantised to int8 with zero point 0")
    return np.asarray(quantise_linear(values, broadcast_scales(node, scales, values.shape), 0))


@handles("DequantizeLinear")
def dequantise_linear_node(context: Context, node: Node) -> Item:
    """Import a dequantisation, of a tensor or of a constant."""
    item = context.operand(node, 0)
    if isinstance(item, np.ndarray):
        scales = checked_scales(node.where, context.constant(node, 1, "the scale"))
        zero = context.optional_constant(node, 2, "the zero point")
        if item.dtype not in (np.int8, np.int32):
            raise ModelError(f"{node.where}: constants must be int8 or int32, not {item.dtype}")
        if zero is not None and (zero.any() or zero.dtype != item.dtype):
            if scales.size == 1 and zero.size == 1 and zero.dtype == item.dtype:
                # Constant operands of additions may have a zero point. Weights may not, and are refused as int64.
                return StoredConstant(item.astype(np.int64) - int(zero.flat[0]), scales.reshape(1), -1)
            raise ModelError(f"{node.where}: constants must have zero point 0, of the type of their values")
        broadcast_scales(node, scales, item.shape)
        axis = node.integer("axis", 1)
        return StoredConstant(item, scales.reshape(-1), axis + item.ndim if axis < 0 else axis)
    quantisation = context.quantisation(node, 1, "the input")
    if isinstance(item, Tensor) and item.value.steps:
        return Dequantised(item, quantisation)
    return Dequantised(context.read(node, 0, quantisation), quantisation)


def requantise(context: Context, node: Node, item: Dequantised, out: Quantisation) -> Tensor:
    """Add a layer that clamps a tensor and changes its scale and zero point, as the float operators do."""
    where, before = node.where, item.quantisation
    reals = np.clip(
        dequantise_linear(INT8_VALUES, before.scale, before.zero_point), np.float32(item.low), np.float32(item.high)
    )
    target = quantise_linear(reals, out.scale, out.zero_point)
    if np.array_equal(target, INT8_VALUES):
        return item.tensor
    context.count_search(where)
    clamp = int(target.min()), int(target.max())
    ratio = float(np.float32(before.scale) / np.float32(out.scale))
    first = Fit(1, -before.zero_point, np.float32(ratio), out.zero_point)
    fit = fit_map(
        INT8_VALUES,
        target,
        ratio,
        out.zero_point - ratio * before.zero_point,
        nearby_zero_points(out.zero_point),
        *clamp,
        first=first,
    )
    if fit is None:
        raise ModelError(
            f"{where}: no integer arithmetic of the machine reproduces the change from {quantisation_text(before)} "
            f"to {quantisation_text(out)}"
        )
    channels = context.image(item.tensor)[2]
    layer = layer_of_fits(where, [fit] * channels, fit.zero_point, *clamp)
    value = context.add(where, layer, [item.tensor.value], out, node.label)
    return replace(item.tensor, value=value, raw=False)


@handles("Relu", "Clip")
def clamp(context: Context, node: Node) -> Item:
    """Import a clamp of a pending or dequantised tensor."""
    low, high = 0.0, math.inf
    if node.kind == "Clip":
        low, high = (_bound(context, node, index, default) for index, default in ((1, -math.inf), (2, math.inf)))
    if not low <= high:
        raise ModelError(f"{node.where}: the lower bound must not be above the upper bound {high}, not {low}")
    item = context.operand(node, 0)
    if isinstance(item, Pending | Dequantised):
        # For a clamp after a clamp, the second clamps the bounds of the first.
        least, most = (min(max(bound, low), high) for bound in (item.low, item.high))
        return replace(item, low=least, high=most)
    raise ModelError(f"{node.where} must have floats as input 0, not {describe(item)}")


def _bound(context: Context, node: Node, index: int, default: float) -> float:
    """Return a bound of a Clip: an attribute before opset 11, an input from then on."""
    if context.graph.opset < 11:
        return node.number("min" if index == 1 else "max", default)
    bound = context.operand(node, index)
    if isinstance(bound, StoredConstant):
        bound = bound.values.astype(np.float32) * bound.scales if bound.scales.size == 1 else None
        if bound is None:
            raise ModelError(f"{node.where}: bounds must have one scale")
    if bound is None:
        return default
    if not isinstance(bound, np.ndarray) or bound.dtype != np.float32 or bound.size != 1 or np.isnan(bound).any():
        raise ModelError(f"{node.where}: bounds must be constant float32 scalars, and not NaN")
    return float(bound.flat[0])
