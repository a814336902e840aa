"""Functions of single values: chains of operators that map each int8 value of one tensor to an int8 value.

Quantisations, clamps, activations and operators with constants map each value without regard to the others. Whatever
ONNX Runtime computes in between, from one int8 tensor to the next such a chain is a table of 256 entries, or one table
per channel. ONNX Runtime itself fills the table, and `fit` looks for integer arithmetic that equals it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.fit import Fit, fit_map, layer_of_fits, line_of
from etchnet.host.importers.onnx.host import enter, table
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.values import (
    INT8_VALUES,
    HostValue,
    Item,
    Tensor,
    nearby_zero_points,
)
from etchnet.host.network.layers import Layer, Reshape
from etchnet.host.network.model import ModelError, Quantisation

__all__ = ["elementwise", "line_between", "table_layer"]

_MOST_CHANNELS = 1 << 12
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16"}
# Numbers of the scale of the result among the inputs of int8 operators; the zero point follows.
_RESULT_SCALES = {"QuantizeLinear": 1, "QLinearSigmoid": 3, "QLinearLeakyRelu": 3, "QLinearAdd": 6, "QLinearMul": 6}


@handles("Abs", "Add", "BatchNormalization", "Ceil", "Celu", "Clip", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu")
@handles(
    "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "QuickGelu"
)
@handles("Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Swish")
@handles("Tanh", "ThresholdedRelu", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid")
def elementwise(context: Context, node: Node) -> Item:
    """Import a function of single values of one tensor, which keeps their type."""
    return _function(context, node, None)


@handles("QuantizeLinear")
def quantise_linear_node(context: Context, node: Node) -> Item:
    """Import a quantisation."""
    zero = context.optional_constant(node, 2, "the zero point")
    dtype = _TYPES.get(node.integer("output_dtype", 0) or 2, "another type") if zero is None else str(zero.dtype)
    return _function(context, node, dtype)


@handles("DequantizeLinear")
def dequantise_linear_node(context: Context, node: Node) -> Item:
    """Import a dequantisation."""
    return _function(context, node, "float32")


@handles("Cast")
def cast(context: Context, node: Node) -> Item:
    """Import a change of type."""
    return _function(context, node, _TYPES.get(node.integer("to", 0), "another type"))


def _function(context: Context, node: Node, dtype: str | None) -> Item:
    """Return the result of a node, of a given type or that of its operands; by a layer if there is one for it."""
    operands = [context.operand(node, index) for index in range(len(node.inputs))]
    first = next(item for item in operands if isinstance(item, Tensor | HostValue))
    if dtype is None:
        dtype = first.dtype if isinstance(first, HostValue) else "int8"
    host = context.apply(node, operands, pointwise=not any(node.outputs[1:]), dtype=dtype)
    if not host.pointwise or host.dtype != "int8":
        return host
    out = _result(context, node)
    if host.incoming:
        return enter(context, node, host, out)
    try:
        tables = table(context, node, host)
        if tables.dtype != np.int8:
            raise ModelError(f"{node.where} must have an int8 result, not {tables.dtype}")
        return table_layer(context, node, host.source, tables, host.axes, out, _line(context, host))
    except ModelError as error:
        return replace(host, reason=host.reason or str(error))


def _result(context: Context, node: Node) -> Quantisation | None:
    """Return scale and zero point of a result, as far as it has one of each; the table does not need them."""
    try:
        return context.quantisation(node, _RESULT_SCALES[node.kind], "the result")
    except (KeyError, ModelError):
        return None


def table_layer(
    context: Context,
    node: Node,
    source: Tensor,
    tables: np.ndarray,
    axes: Collection[int],
    out: Quantisation | None,
    line: tuple[float, float] | None = None,
) -> Tensor:
    """Add a layer that maps every value of a tensor by a table; raises ModelError if no arithmetic equals it.

    Parameters
    ----------
    tables
        Results of -128 to 127, int8 (groups, 256); groups are the indices along `axes` of the tensor.
    out
        Scale and zero point of the result; None if they are those of the tensor.
    line
        Slope and offset of the results before rounding, if they are known.
    """
    if (tables == INT8_VALUES).all():
        return source
    value, builder = source.value, context.builder
    clamp = int(tables.min()), int(tables.max())
    if (tables == np.clip(INT8_VALUES, *clamp)).all() and context.has_one_reader(value):
        clamped = builder.clamped(value, *clamp)
        if clamped is not None:
            return replace(source, value=clamped)
    order = builder.order_of(node.where, value)
    image = builder.geometry(value)
    channels = np.zeros(image[2], np.int64)
    if len(tables) > 1:
        whole = np.arange(len(tables)).reshape([n if axis in axes else 1 for axis, n in enumerate(source.shape)])
        groups = np.broadcast_to(whole, source.shape).reshape(-1)[order.indices(math.prod(source.shape))]
        channels = groups[: image[2]]
        if (groups.reshape(-1, image[2]) != channels).any():
            channels = groups
            if groups.size > _MOST_CHANNELS:
                raise ModelError(f"{node.where}: constants that differ from pixel to pixel are not supported")
            layer: Layer = Reshape((1, 1, groups.size))
            value = builder.add(node.where, layer, [value], value.quantisation, shape=value.shape, as_stored=True)
    distinct, which = np.unique(tables, axis=0, return_inverse=True)
    fits = _fits(context, node, distinct, line, 0 if out is None else out.zero_point, clamp)
    if fits is None:
        raise ModelError(
            f"{node.where}: no integer arithmetic of the machine reproduces what ONNX Runtime makes of each int8 value"
            + (f", to {out}" if out is not None else "")
        )
    layer = layer_of_fits(node.where, [fits[n] for n in which.reshape(-1)[channels]], fits[0].zero_point, *clamp)
    given = value.quantisation if out is None else out
    result = builder.add(node.where, layer, [value], given, name=node.label, shape=value.shape, as_stored=True)
    return replace(source, value=result)


def _fits(
    context: Context,
    node: Node,
    tables: np.ndarray,
    line: tuple[float, float] | None,
    zero_point: int,
    clamp: tuple[int, int],
) -> list[Fit] | None:
    """Return a `Fit` of each table, all with the same zero point, or None."""
    guesses = [[guess for guess in (line, line_of(table, *clamp)) if guess is not None] for table in tables]
    context.count_search(node.where)
    for common in nearby_zero_points(zero_point):
        fits = []
        for target, lines in zip(tables, guesses, strict=True):
            fit = fit_map(INT8_VALUES, target, lines, [common], *clamp)
            if fit is None:
                break
            fits.append(fit)
        else:
            return fits
    return None


def _line(context: Context, host: HostValue) -> tuple[float, float] | None:
    """Return slope and offset of a dequantisation and a quantisation, with or without clamps in between."""
    kinds = [node.kind for node in host.nodes]
    if kinds[0] != "DequantizeLinear" or kinds[-1] != "QuantizeLinear" or not {*kinds[1:-1]} <= {"Relu", "Clip"}:
        return None
    try:
        first, last = (context.quantisation(node, 1, "a tensor") for node in (host.nodes[0], host.nodes[-1]))
    except ModelError:
        return None
    return line_between(first, last)


def line_between(first: Quantisation, last: Quantisation) -> tuple[float, float]:
    """Return slope and offset of a change of scale and zero point, before rounding."""
    slope = float(np.float32(first.scale) / np.float32(last.scale))
    return slope, last.zero_point - slope * first.zero_point
