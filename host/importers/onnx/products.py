"""Operators with weights: convolutions and matrix products."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.values import (
    Dequantised,
    Item,
    Pending,
    StoredConstant,
    Tensor,
    checked_scales,
    describe,
    same_order,
    shape_text,
)
from etchnet.host.importers.onnx.windows import window
from etchnet.host.importers.value import make_layer
from etchnet.host.network.layers import Conv, Dense, Depthwise
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.sim.arithmetic.contracts import float_scale, quantise_float

_MOST_GROUP_WEIGHTS = 1 << 26
_BIAS_TOLERANCE = 2.0**-20


@handles("Conv")
def conv(context: Context, node: Node) -> Item:
    """Import a float convolution of dequantised tensors."""
    source, weights = context.dequantised(node, 0), _weights(context, node, 1)
    _check_axis(node, weights, 0)
    bias = _bias(context, node, 2, source.quantisation, weights)
    return Pending(node.where, lambda out: _convolve(context, node, source, weights, bias, out))


@handles("QLinearConv")
def qlinear_conv(context: Context, node: Node) -> Item:
    """Import a convolution of int8 tensors."""
    into, out = context.quantisation(node, 1, "the input"), context.quantisation(node, 6, "the result")
    weights, bias = _qlinear_weights(context, node, 3), _qlinear_bias(context, node, 8)
    source = Dequantised(context.read(node, 0, into), into)
    return _convolve(context, node, source, weights, bias, out)


def _convolve(
    context: Context,
    node: Node,
    source: Dequantised,
    constant: StoredConstant,
    bias: np.ndarray | None,
    out: Quantisation,
) -> Tensor:
    """Add a convolution whose weights are `constant`, (output channels, channels of a group, [y,] x)."""
    where, into, weights = node.where, source.quantisation, constant.values
    value = context.as_image(where, source.tensor)
    height, width, channels = context.builder.geometry(value)
    rank = len(source.tensor.shape) - 1
    if weights.ndim != rank + 2 or 0 in weights.shape:
        raise ModelError(f"{where}: weights must have {rank + 2} dimensions, not shape {weights.shape}")
    kernel = list(weights.shape[2:])
    if node.integers("kernel_shape", kernel) != kernel:
        raise ModelError(f"{where}: kernel_shape must be that of the weights, {kernel}")
    group = node.integer("group", 1)
    outputs = weights.shape[0]
    if group < 1 or weights.shape[1] * group != channels or outputs % group:
        raise ModelError(f"{where}: weights of shape {weights.shape} in {group} groups do not fit {channels} channels")
    size = (height, width)[2 - rank :]
    stride, dilation, padding = window(node, size, kernel, dilations=True)
    if rank == 1:
        weights, stride, dilation = weights[:, :, None], [1, *stride], [1, *dilation]
        padding = [(0, 0), *padding]
    spread: np.ndarray
    kind: type[Conv] | type[Depthwise] = Conv
    if group == channels and group > 1:
        kind = Depthwise
        spread = weights.reshape(channels, outputs // channels, *weights.shape[2:]).transpose(2, 3, 0, 1)
    else:
        spread = _ungrouped(where, weights, group).transpose(2, 3, 1, 0)
    multiplier, shift = _factors(where, into.scale, constant.scales, out, outputs)
    layer = make_layer(
        where,
        kind,
        spread,
        0 if bias is None else _bias_per_channel(where, bias, outputs),
        multiplier,
        shift,
        into.zero_point,
        out.zero_point,
        stride=tuple(stride),
        dilation=tuple(dilation),
        padding=tuple(padding),
    )
    result = context.add(where, layer, [value], out, node.label)
    image = context.builder.geometry(result)
    return Tensor(result, (image[2], *image[2 - rank : 2]))


def _ungrouped(where: str, weights: np.ndarray, group: int) -> np.ndarray:
    """Return the weights of a grouped convolution as those of a plain convolution, with zeros between the groups."""
    if group == 1:
        return weights
    outputs, inputs = weights.shape[:2]
    if weights.size * group > _MOST_GROUP_WEIGHTS:
        raise ModelError(
            f"{where}: {group} groups need {weights.size * group} weights; at most {_MOST_GROUP_WEIGHTS} are supported"
        )
    spread = np.zeros((outputs, inputs * group, *weights.shape[2:]), np.int8)
    each = outputs // group
    for index in range(group):
        spread[index * each : (index + 1) * each, index * inputs : (index + 1) * inputs] = weights[
            index * each : (index + 1) * each
        ]
    return spread


@handles("Gemm")
def gemm(context: Context, node: Node) -> Item:
    """Import a float matrix product of dequantised tensors, with a bias."""
    if node.number("alpha", 1.0) != 1 or node.number("beta", 1.0) != 1:
        raise ModelError(f"{node.where}: alpha and beta must be 1: with other values, ONNX Runtime computes in float")
    source, weights = context.dequantised(node, 0), _weights(context, node, 1)
    bias = _bias(context, node, 2, source.quantisation, weights)
    matrix = _matrix(node, weights)
    _check_axis(node, weights, 0 if node.integer("transB", 0) else 1)
    return Pending(node.where, lambda out: _multiply(context, node, source, matrix, bias, out))


@handles("MatMul")
def mat_mul(context: Context, node: Node) -> Item:
    """Import a float matrix product of dequantised tensors."""
    source, weights = context.dequantised(node, 0), _weights(context, node, 1)
    _check_axis(node, weights, 1)
    return Pending(node.where, lambda out: _multiply(context, node, source, weights, None, out))


@handles("QGemm")
def qlinear_gemm(context: Context, node: Node) -> Item:
    """Import a matrix product of int8 tensors, with a bias."""
    into = context.quantisation(node, 1, "the input")
    if not node[7] or not node[8]:
        raise ModelError(f"{node.where}: the result must be int8, with a scale and a zero point")
    out = context.quantisation(node, 7, "the result")
    weights = _matrix(node, _qlinear_weights(context, node, 3))
    alpha = np.float32(node.number("alpha", 1.0))
    if not alpha > 0:
        raise ModelError(f"{node.where}: alpha must be positive, not {alpha}")
    bias = _qlinear_bias(context, node, 6)
    source = Dequantised(context.read(node, 0, into), into)
    return _multiply(context, node, source, weights, bias, out, alpha)


@handles("QLinearMatMul")
def qlinear_mat_mul(context: Context, node: Node) -> Item:
    """Import a matrix product of int8 tensors."""
    into, out = context.quantisation(node, 1, "the input"), context.quantisation(node, 6, "the result")
    weights = _qlinear_weights(context, node, 3)
    return _multiply(context, node, Dequantised(context.read(node, 0, into), into), weights, None, out)


def _matrix(node: Node, weights: StoredConstant) -> StoredConstant:
    """Return the weights of a Gemm as (input, output)."""
    if node.integer("transA", 0):
        raise ModelError(f"{node.where}: transA must be 0")
    return replace(weights, values=weights.values.T) if node.integer("transB", 0) else weights


def _multiply(
    context: Context,
    node: Node,
    source: Dequantised,
    constant: StoredConstant,
    bias: np.ndarray | None,
    out: Quantisation,
    alpha: Any = 1,
) -> Tensor:
    """Add a dense layer whose weights are `constant`, (input, output); their rows follow the order of the image."""
    where, tensor, into, weights = node.where, source.tensor, source.quantisation, constant.values
    if weights.ndim != 2 or 0 in weights.shape:
        raise ModelError(f"{where}: weights must be a matrix, not shape {weights.shape}")
    if tensor.shape != (len(weights),):
        raise ModelError(
            f"{where}: weights need an input (N, {len(weights)}), not shape (N, {shape_text(tensor.shape)})"
        )
    image = context.image(tensor)
    if not (tensor.channels_last or same_order(image)):
        height, width, channels = image
        weights = weights.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(weights.shape)
    outputs = weights.shape[1]
    scale = float(np.float32(np.float32(alpha) * np.float32(into.scale)))
    multiplier, shift = _factors(where, scale, constant.scales, out, outputs)
    folded = 0 if bias is None else _bias_per_channel(where, bias, outputs)
    layer = make_layer(where, Dense, weights, folded, multiplier, shift, into.zero_point, out.zero_point)
    return Tensor(context.add(where, layer, [tensor.value], out, node.label), (outputs,))


def _weights(context: Context, node: Node, index: int) -> StoredConstant:
    """Return the weights of a float operator."""
    item = context.operand(node, index)
    if not isinstance(item, StoredConstant) or item.values.dtype != np.int8:
        raise ModelError(
            f"{node.where}: weights must be int8 constants with zero point 0, dequantised, not {describe(item)}"
        )
    return item


def _check_axis(node: Node, weights: StoredConstant, axis: int) -> None:
    if weights.scales.size > 1 and weights.axis != axis:
        raise ModelError(f"{node.where}: scales of weights must be along axis {axis}, not {weights.axis}")


def _qlinear_weights(context: Context, node: Node, index: int) -> StoredConstant:
    """Return the weights of an int8 operator; their scales and zero points are the next two inputs."""
    weights = context.constant(node, index, "weights")
    scales = checked_scales(node.where, context.constant(node, index + 1, "the scale of the weights"))
    zero = context.optional_constant(node, index + 2, "the zero point of the weights")
    if weights.dtype != np.int8:
        raise ModelError(f"{node.where}: weights must be int8, not {weights.dtype}")
    if scales.ndim > 1 or (zero is not None and (zero.dtype != np.int8 or zero.any())):
        raise ModelError(f"{node.where}: weights must have zero point 0, int8, and one scale per output channel")
    return StoredConstant(weights, scales.reshape(-1), -1)


def _bias(context: Context, node: Node, index: int, into: Quantisation, weights: StoredConstant) -> np.ndarray | None:
    """Return the bias of a float operator as int32, or None."""
    item = context.operand(node, index)
    if item is None:
        return None
    if not isinstance(item, StoredConstant) or item.values.dtype != np.int32:
        raise ModelError(f"{node.where}: the bias must be an int32 constant, dequantised, not {describe(item)}")
    wanted = np.float32(into.scale) * weights.scales
    if item.scales.size not in (1, wanted.size) and wanted.size != 1:
        raise ModelError(
            f"{node.where}: the bias must have as many scales as the weights, {wanted.size}, not {item.scales.size}"
        )
    if (np.abs(item.scales / wanted - 1) > _BIAS_TOLERANCE).any():
        raise ModelError(
            f"{node.where}: the scale of the bias must be that of the input times that of the weights, "
            f"{wanted[0]:g}, not {item.scales[0]:g}"
        )
    return item.values


def _qlinear_bias(context: Context, node: Node, index: int) -> np.ndarray | None:
    """Return the bias of an int8 operator, or None."""
    bias = context.optional_constant(node, index, "the bias")
    if bias is not None and bias.dtype != np.int32:
        raise ModelError(f"{node.where}: the bias must be int32, not {bias.dtype}")
    return bias


def _bias_per_channel(where: str, bias: np.ndarray, channels: int) -> np.ndarray:
    if bias.shape == (1, channels):
        bias = bias[0]
    if bias.size == 1:
        bias = np.full(channels, bias.reshape(-1)[0])
    if bias.shape != (channels,):
        raise ModelError(f"{where}: the bias must have {channels} values, not shape {bias.shape}")
    return bias.astype(np.int64)


def _factors(where: str, input_scale: float, scales: np.ndarray, out: Quantisation, channels: int) -> Any:
    """Return (multipliers, shifts) per output channel."""
    if scales.size not in (1, channels):
        raise ModelError(f"{where}: weights must have 1 or {channels} scales, not {scales.size}")
    factors = np.broadcast_to(float_scale(input_scale, scales, out.scale), channels)
    try:
        pairs = [quantise_float(float(factor)) for factor in factors]
    except ValueError as error:
        raise ModelError(f"{where}: {error}") from None
    return np.array(pairs, np.int64).T
