"""Operators with weights: convolutions and matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from etchnet.host.importers.groups import ungrouped
from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.fit import encode
from etchnet.host.importers.onnx.reader import Node, make_node
from etchnet.host.importers.onnx.runtime import SOURCE
from etchnet.host.importers.onnx.values import HostValue, Item, Tensor, checked_scales, shape_text
from etchnet.host.importers.onnx.windows import window
from etchnet.host.importers.value import Value, make_layer
from etchnet.host.network.layers import Concat, Conv, Dense, Depthwise
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.host.network.order import UNCHANGED, AxisOrder
from etchnet.sim.arithmetic.contracts import float_scale


@handles("QLinearConv")
def qlinear_conv(context: Context, node: Node) -> Item:
    """Import a convolution of int8 tensors."""
    into, out = context.quantisation(node, 1, "the input"), context.quantisation(node, 6, "the result")
    (weights, scales), bias = _weights(context, node, 3), _bias(context, node, 8)
    where, tensor = node.where, context.read(node, 0, into)
    value = context.image(where, tensor)
    height, width, channels = context.builder.image(where, value)
    rank = len(value.shape) - 1
    if weights.ndim != rank + 2 or 0 in weights.shape:
        raise ModelError(f"{where}: weights must have {rank + 2} dimensions, not shape {weights.shape}")
    kernel = list(weights.shape[2:])
    if node.integer("channels_last", 0):
        raise ModelError(f"{where}: channels_last must be 0")
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
    by_tap = weights.transpose(2, 3, 1, 0)
    kind: type[Conv] | type[Depthwise] = Conv
    if weights.dtype != np.int8:
        parts = _int8_parts(ungrouped(where, by_tap, group))
        value = context.repeated(where, value, 0, len(parts))
        spread = np.concatenate(parts, axis=2)
    elif group == channels and group > 1:
        kind = Depthwise
        spread = weights.reshape(channels, outputs // channels, *weights.shape[2:]).transpose(2, 3, 0, 1)
    else:
        spread = ungrouped(where, by_tap, group)
    folded = _bias_per_channel(where, bias, outputs)
    multiplier, shift = _factors(where, into.scale, scales, out, outputs)
    layer = make_layer(
        where,
        kind,
        spread,
        folded,
        multiplier,
        shift,
        into.zero_point,
        out.zero_point,
        stride=tuple(stride),
        dilation=tuple(dilation),
        padding=tuple(padding),
    )
    return context.add_image(node, layer, value, out)


@handles("QGemm")
def qlinear_gemm(context: Context, node: Node) -> Item:
    """Import a matrix product of int8 tensors, with a bias; its result is int8, or float32 without a scale."""
    into = context.quantisation(node, 1, "the input")
    out = context.quantisation(node, 7, "the result") if node[7] else None
    weights, scales = _weights(context, node, 3)
    if node.integer("transA", 0):
        raise ModelError(f"{node.where}: transA must be 0")
    weights = weights.T if node.integer("transB", 0) else weights
    alpha = np.float32(node.number("alpha", 1.0))
    if not alpha > 0:
        raise ModelError(f"{node.where}: alpha must be positive, not {alpha}")
    scale = np.float32(alpha * np.float32(into.scale))
    return _multiply(context, node, into, weights, _bias(context, node, 6), scale, scales, out)


@handles("QLinearMatMul")
def qlinear_mat_mul(context: Context, node: Node) -> Item:
    """Import a matrix product of int8 tensors."""
    into, out = context.quantisation(node, 1, "the input"), context.quantisation(node, 6, "the result")
    weights, scales = _weights(context, node, 3)
    return _multiply(context, node, into, weights, None, np.float32(into.scale), scales, out)


@handles("MatMulIntegerToFloat")
def mat_mul_integer_to_float(context: Context, node: Node) -> Item:
    """Import a matrix product of int8 tensors whose result is float32."""
    # Its inputs are a, b, the scale of a, the scale of b, the zero point of a, the zero point of b, and a bias.
    order = [0, 2, 4, 1, 3, 5]
    if node[6]:
        raise ModelError(f"{node.where} must have no bias")
    sorted_node = replace(node, inputs=[node[index] for index in order])
    into = context.quantisation(sorted_node, 1, "the input")
    weights, scales = _weights(context, sorted_node, 3)
    return _multiply(context, node, into, weights, None, np.float32(into.scale), scales, None)


def _multiply(
    context: Context,
    node: Node,
    into: Quantisation,
    weights: np.ndarray,
    bias: np.ndarray | None,
    scale: np.float32,
    scales: np.ndarray,
    out: Quantisation | None,
) -> Item:
    """Add the product of a tensor (..., K) and weights (K, results)."""
    where, tensor = node.where, context.read(node, 0, into)
    if weights.ndim != 2 or 0 in weights.shape:
        raise ModelError(f"{where}: weights must be a matrix, not shape {weights.shape}")
    terms, outputs = weights.shape
    if len(tensor.shape) < 2 or tensor.shape[-1] != terms:
        raise ModelError(f"{where}: weights need an input (..., {terms}), not shape ({shape_text(tensor.shape)})")
    multiplier, shift = (None, 0) if out is None else _factors(where, scale, scales, out, outputs)
    folded = _bias_per_channel(where, bias, outputs)
    settings = folded, multiplier, shift, into.zero_point, 0 if out is None else out.zero_point
    value, given = tensor.value, out or Quantisation(1.0, 0, True)
    shape = (*value.shape[:-1], outputs)
    if math.prod(value.shape) == terms:
        if weights.dtype != np.int8:
            value, weights = _repeated_rows(context, where, value, _int8_parts(weights))
        dense = make_layer(where, Dense, weights, *settings)
        result = context.builder.add(where, dense, [value], given, name=node.label, shape=shape)
    else:
        # Every row is a pixel.
        if weights.dtype != np.int8:
            parts = _int8_parts(weights)
            value, weights = context.repeated(where, value, -1, len(parts)), np.concatenate(parts)
        layer = make_layer(where, Conv, weights[None, None], *settings)
        value, axes = context.rows(where, value)
        order = AxisOrder.of(shape, axes)
        result = context.builder.add(
            where, layer, [value], given, name=node.label, shape=shape, as_stored=True, order=order
        )
    made = replace(tensor, value=result)
    return made if out is not None else _scaled(context, node, made, scale, scales)


def _repeated_rows(context: Context, where: str, value: Value, parts: Sequence[np.ndarray]) -> tuple[Value, np.ndarray]:
    """Return a value with every pixel as many times as there are parts of a matrix, and the matrix of all parts."""
    order, image = context.builder.order_of(where, value), context.builder.geometry(value)
    rows = [part[order.indices(len(part))].reshape(*image, -1) for part in parts]
    matrix = np.concatenate(rows, axis=2)
    matrix = matrix.reshape(-1, matrix.shape[-1])
    repeated = context.builder.add(
        where,
        Concat(2),
        [value] * len(parts),
        value.quantisation,
        shape=(len(matrix),),
        as_stored=True,
        order=UNCHANGED,
    )
    return repeated, matrix


def _scaled(context: Context, node: Node, sums: Tensor, scale: np.float32, scales: np.ndarray) -> HostValue:
    """Return ``fl32(fl32(sum) * fl32(scale * scales))``, as ONNX Runtime computes float32 results of int8 products."""
    from onnx import TensorProto, helper

    real, factor = (f"{node.outputs[0]}_etchnet_{part}" for part in ("sums", "factor"))
    context.constants[factor] = np.asarray(scale * scales, np.float32)
    protos = [
        helper.make_node("Cast", [SOURCE], [real], to=TensorProto.FLOAT),
        helper.make_node("Mul", [real, factor], [node.outputs[0]]),
    ]
    # Messages name the product for both.
    nodes = tuple(replace(make_node(index, proto), where=node.where) for index, proto in enumerate(protos))
    sums = replace(sums, value=replace(sums.value, dtype="int32"))
    return HostValue(sums, "int32", nodes, node.outputs[0], "float32", pointwise=False)


def _weights(context: Context, node: Node, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights less their zero point, and their scales; these are the inputs after the weights.

    The weights are int8 if all of them fit, otherwise int16.
    """
    where = node.where
    weights = context.constant(node, index, "weights")
    scales = checked_scales(where, context.constant(node, index + 1, "the scale of the weights"), dead=True)
    zero = context.optional_constant(node, index + 2, "the zero point of the weights")
    if weights.dtype != np.int8 or (zero is not None and zero.dtype != np.int8):
        raise ModelError(f"{where}: weights must be int8, not {weights.dtype}")
    if scales.ndim > 1:
        raise ModelError(f"{where}: weights must have one scale, or one per output channel, not shape {scales.shape}")
    if zero is not None and zero.any():
        # The first axis of convolutions is that of the output channels, and the last of matrices.
        axis = 0 if weights.ndim > 2 or node.integer("transB", 0) else -1
        shape = [1] * weights.ndim
        shape[axis] = zero.size
        if zero.size not in (1, weights.shape[axis]):
            raise ModelError(f"{where}: weights must have one zero point, or one per output channel, not {zero.size}")
        weights = weights.astype(np.int16) - zero.reshape(shape)
        if weights.min() >= -128 and weights.max() <= 127:
            weights = weights.astype(np.int8)
    return weights, scales.reshape(-1)


def _int8_parts(weights: np.ndarray) -> list[np.ndarray]:
    """Return int8 arrays whose sum is an array of larger integers."""
    parts = []
    while weights.any():
        part = np.clip(weights, -128, 127)
        parts.append(part.astype(np.int8))
        weights = weights - part
    return parts


def _bias(context: Context, node: Node, index: int) -> np.ndarray | None:
    """Return the bias of an int8 operator, or None."""
    bias = context.optional_constant(node, index, "the bias")
    if bias is not None and bias.dtype != np.int32:
        raise ModelError(f"{node.where}: the bias must be int32, not {bias.dtype}")
    return bias


def _bias_per_channel(where: str, bias: np.ndarray | None, channels: int) -> np.ndarray:
    if bias is None:
        return np.zeros(channels, np.int64)
    if bias.shape == (1, channels):
        bias = bias[0]
    if bias.size == 1:
        bias = np.full(channels, bias.reshape(-1)[0])
    if bias.shape != (channels,):
        raise ModelError(f"{where}: the bias must have {channels} values, not shape {bias.shape}")
    return bias.astype(np.int64)


def _factors(
    where: str, input_scale: Any, scales: np.ndarray, out: Quantisation, channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return multipliers and shifts per output channel."""
    if scales.size not in (1, channels):
        raise ModelError(f"{where}: weights must have 1 or {channels} scales, not {scales.size}")
    return encode(where, np.broadcast_to(float_scale(input_scale, scales, out.scale), channels))
