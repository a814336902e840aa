"""Operators that reduce windows or axes: pools, means and maxima."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.quantise import activation_limits, multiplier_of
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.tflite.windows import window_settings
from etchnet.host.importers.value import Value, make_layer
from etchnet.host.network.layers import AveragePool, MaxPool, Scaling
from etchnet.host.network.model import ModelError, Quantisation

_EQUAL_SCALES = 1e-6
"""largest difference of the scales before and after a pool, as in TensorFlow Lite Micro"""
_MOST_PIXELS = 1 << 12
"""most values that a maximum over channels may read: each needs a pass of its own"""


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


@handles("MEAN", "SUM")
def mean(context: Context, operator: Operator) -> None:
    """Import an average or a sum over axes, with a change of scale and zero point."""
    context.expect_inputs(operator, 2)
    source, (_, out) = context.value(operator, 0), context.output(operator)
    whole, axes = _axes(context, operator, source)
    count = math.prod(whole.shape[axis] for axis in axes)
    multiplier, shift = multiplier_of(operator, source.quantisation.scale / out.scale)
    if operator.kind == "MEAN":
        # The reference divides the multiplier by the count, not the sum, after a left shift that keeps its bits.
        extra = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier, shift = (multiplier << extra) // count, shift - extra
    scaling = Scaling(multiplier, max(shift, 0), max(-shift, 0))
    name = context.label(operator)
    context.set_reshaped(operator, context.builder.mean(str(operator), whole, axes, scaling, out, name=name))


@handles("REDUCE_MAX")
def reduce_max(context: Context, operator: Operator) -> None:
    """Import a maximum over axes, as a max pool; scale and zero point do not change."""
    context.expect_inputs(operator, 2)
    where, source, (_, out) = str(operator), context.value(operator, 0), context.output(operator)
    if source.quantisation != out:
        raise ModelError(f"{operator} must keep scale and zero point: {source.quantisation}, not {out}")
    whole, axes = _axes(context, operator, source)
    view = context.builder.view(where, [whole], axes, joined=True)
    image, name = context.builder.geometry(view.values[0]), context.label(operator)
    kept = [1 if axis in axes else size for axis, size in enumerate(whole.shape)]
    reduced = {view.at[axis] for axis in axes}
    if 2 in reduced and image[2] > 1:
        _channel_maximum(context, operator, whole, axes, out)
        return
    layer = make_layer(where, MaxPool, (image[0] if 0 in reduced else 1, image[1] if 1 in reduced else 1))
    context.set_reshaped(operator, context.builder.add_view(where, layer, view, out, kept, name=name))


def _channel_maximum(
    context: Context, operator: Operator, whole: Value, axes: Sequence[int], out: Quantisation
) -> None:
    """Add a maximum over the last axes of the file, each value of which becomes a pixel first."""
    rank = len(whole.shape)
    count = math.prod(whole.shape[axis] for axis in axes)
    pixels = math.prod(whole.shape)
    long = [axis for axis in range(rank) if whole.shape[axis] > 1]
    if any(axis not in axes for axis in long if axis > min(axes)) or pixels > _MOST_PIXELS:
        raise ModelError(
            f"{operator} must be over height and width, or over the last axes of at most {_MOST_PIXELS} values, not "
            f"over axes {list(axes)} of shape {whole.shape}"
        )
    where, lines = str(operator), (pixels // count, count, 1)
    image = context.builder.reshape(where, whole, lines)
    layer, name = make_layer(where, MaxPool, (1, count)), context.label(operator)
    value = context.builder.add(where, layer, [image], out, name=name, shape=(pixels // count, 1, 1))
    context.set_reshaped(operator, value)


def _axes(context: Context, operator: Operator, source: Value) -> tuple[Value, list[int]]:
    """Return what an operator reduces, and over which of its axes, from its second input."""
    tensor = context.reader.tensor(operator.inputs[1])
    (whole,), missing = context.by_file_axes(operator, [source])
    rank = len(whole.shape) + missing
    context.reader.check_type(f"{operator}: the axes", tensor, "int32")
    if len(tensor.shape) > 1 or not 1 <= math.prod(tensor.shape) <= rank:
        raise ModelError(f"{operator}: the axes must be a list of 1 to {rank}, not shape {tensor.shape}")
    given = context.reader.constant(f"{operator}: the axes", tensor, "<i4", tensor.shape).ravel()
    axes = {axis + rank * (axis < 0) for axis in given.tolist()}
    if not axes <= set(range(missing, rank)):
        raise ModelError(f"{operator} must be over axes of an image, {missing} to {rank - 1}, not {given.tolist()}")
    return whole, sorted(axis - missing for axis in axes)
