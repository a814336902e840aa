"""Operators that reduce windows or axes: pools, means and maxima."""

from __future__ import annotations

import math

import numpy as np

from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.quantise import activation_limits, multiplier_of
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.tflite.windows import window_settings
from etchnet.host.importers.value import Value, make_layer
from etchnet.host.network.layers import AveragePool, MaxPool, Scaling
from etchnet.host.network.model import ModelError

_EQUAL_SCALES = 1e-6
"""largest difference of the scales before and after a pool, as in TensorFlow Lite Micro"""


@handles("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool_2d(context: Context, operator: Operator) -> None:
    """Import an average or max pool; scale and zero point do not change."""
    context.expect_inputs(operator, 1)
    options = context.reader.options(operator, "Pool2DOptions")
    source, (_, out) = context.value(operator, 0), context.output(operator)
    before = source.quantisation
    # The reference copies stored values, and accepts scales that are nearly equal.
    if before.zero_point != out.zero_point or abs(np.float32(before.scale) - np.float32(out.scale)) > _EQUAL_SCALES:
        raise ModelError(f"{operator} must keep scale and zero point: {before}, not {out}")
    size = options.FilterHeight(), options.FilterWidth()
    window = window_settings(context, operator, source, size, options, dilated=False)
    low, high = activation_limits(context, operator, options.FusedActivationFunction(), out)
    kind = AveragePool if operator.kind == "AVERAGE_POOL_2D" else MaxPool
    layer = make_layer(str(operator), kind, size, low=low, high=high, **window)
    context.append(operator, layer, [source])


@handles("MEAN")
def mean(context: Context, operator: Operator) -> None:
    """Import an average over axes, with a change of scale and zero point."""
    context.expect_inputs(operator, 2)
    source, (result, out) = context.value(operator, 0), context.output(operator)
    axes = _axes(context, operator, source)
    image = context.builder.image(str(operator), source)
    count = math.prod(image[axis] for axis in axes)
    multiplier, shift = multiplier_of(operator, source.quantisation.scale / out.scale)
    # The reference divides the multiplier by the count, rather than the sum, after a left shift that keeps its bits.
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    shift -= extra
    scaling = Scaling((multiplier << extra) // count, max(shift, 0), max(-shift, 0))
    value = context.builder.mean(
        str(operator),
        source,
        sorted(axis - 3 + len(source.shape) for axis in axes),
        scaling,
        out,
        name=context.label(operator),
        shape=result.shape[1:],
    )
    context.set(operator, value)


@handles("REDUCE_MAX")
def reduce_max(context: Context, operator: Operator) -> None:
    """Import a maximum over height, width or both, as a max pool; scale and zero point do not change."""
    context.expect_inputs(operator, 2)
    source, (result, out) = context.value(operator, 0), context.output(operator)
    if source.quantisation != out:
        raise ModelError(f"{operator} must keep scale and zero point: {source.quantisation}, not {out}")
    axes = _axes(context, operator, source)
    if 2 in axes:
        raise ModelError(f"{operator} must be over height and width, not over channels, the last axis")
    height, width, _ = context.builder.image(str(operator), source)
    window = height if 0 in axes else 1, width if 1 in axes else 1
    layer = make_layer(str(operator), MaxPool, window)
    value = context.builder.add(str(operator), layer, [source], out, name=context.label(operator))
    context.set(operator, context.builder.reshape(str(operator), value, result.shape[1:]))


def _axes(context: Context, operator: Operator, source: Value) -> set[int]:
    """Return the axes of the image that an operator reduces, from its second input: 0 height, 1 width, 2 channels."""
    context.builder.image(str(operator), source)
    tensor, rank = context.reader.tensor(operator.inputs[1]), len(source.shape) + 1
    context.reader.check_type(f"{operator}: the axes", tensor, "int32")
    if len(tensor.shape) > 1 or not 1 <= math.prod(tensor.shape) <= rank:
        raise ModelError(f"{operator}: the axes must be a list of 1 to {rank}, not shape {tensor.shape}")
    given = context.reader.constant(f"{operator}: the axes", tensor, "<i4", tensor.shape).ravel()
    axes = {int(axis) + rank * (axis < 0) for axis in given}
    if not axes <= set(range(1, rank)):
        raise ModelError(f"{operator} must be over axes of an image, 1 to {rank - 1}, not {given.tolist()}")
    return {axis - rank + 3 for axis in axes}
