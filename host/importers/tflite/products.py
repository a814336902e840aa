"""Operators with weights: fully connected layers and convolutions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.quantise import activation_limits, multiplier_of
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.tflite.windows import window_settings
from etchnet.host.importers.value import Value, make_layer
from etchnet.host.network.layers import Conv, Dense, Depthwise
from etchnet.host.network.model import ModelError, Quantisation


@handles("FULLY_CONNECTED")
def fully_connected(context: Context, operator: Operator) -> None:
    """Import a fully connected layer: weights (output channels, values)."""
    options = context.reader.options(operator, "FullyConnectedOptions")
    if options.WeightsFormat() != 0:
        raise ModelError(
            f"{operator} must have weights in the default format, 0, not {options.WeightsFormat()} (shuffled)"
        )
    source, (result, out) = context.value(operator, 0), context.output(operator)
    weights, settings = _weights(context, operator, source, out, 2, 0, options)
    channels, terms = weights.shape
    values = math.prod(source.shape)
    if values != terms:
        rows = f"{values // terms} rows of {terms} per image; one row is supported" if values % terms == 0 else ""
        shape = (context.batch, *source.shape)
        raise ModelError(
            f"{operator}: weights have {terms} values per output channel, but the input has {rows or f'shape {shape}'}"
        )
    if result.shape[-1] != channels:
        raise ModelError(f"{operator}: the result must have {channels} values per image, not shape {result.shape}")
    layer = make_layer(str(operator), Dense, np.ascontiguousarray(weights.T), **settings)
    context.append(operator, layer, [source])


@handles("CONV_2D")
def conv_2d(context: Context, operator: Operator) -> None:
    """Import a convolution: weights (output channels, y, x, input channels)."""
    options = context.reader.options(operator, "Conv2DOptions")
    source, (_, out) = context.value(operator, 0), context.output(operator)
    weights, settings = _weights(context, operator, source, out, 4, 0, options)
    if len(source.shape) == 3 and weights.shape[3] != source.shape[2]:
        raise ModelError(
            f"{operator}: weights must have as many channels as the input, {source.shape[2]}, not {weights.shape[3]} "
            "(groups are not supported)"
        )
    window = window_settings(context, operator, source, weights.shape[1:3], options, dilated=True)
    context.append(
        operator,
        make_layer(str(operator), Conv, np.ascontiguousarray(weights.transpose(1, 2, 3, 0)), **settings, **window),
        [source],
    )


@handles("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(context: Context, operator: Operator) -> None:
    """Import a depthwise convolution: weights (1, y, x, input channels x multiplier)."""
    options = context.reader.options(operator, "DepthwiseConv2DOptions")
    source, (_, out) = context.value(operator, 0), context.output(operator)
    weights, settings = _weights(context, operator, source, out, 4, 3, options)
    window = window_settings(context, operator, source, weights.shape[1:3], options, dilated=True)
    channels, multiplier = source.shape[2], options.DepthMultiplier()
    if weights.shape[0] != 1 or channels * multiplier != weights.shape[3]:
        raise ModelError(
            f"{operator}: weights must have shape (1, y, x, {channels} channels x multiplier {multiplier}), "
            f"not {weights.shape}"
        )
    shaped = weights.reshape(*weights.shape[1:3], channels, multiplier)
    context.append(operator, make_layer(str(operator), Depthwise, shaped, **settings, **window), [source])


def _weights(
    context: Context, operator: Operator, source: Value, out: Quantisation, ndim: int, axis: int, options: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return an operator's int8 weights in the shape of the file, and the other settings of its layer.

    Scales may differ along `axis`, the axis of the output channels.
    """
    reader = context.reader
    if len(operator.inputs) not in (2, 3):
        raise ModelError(f"{operator} must have 2 or 3 inputs, not {len(operator.inputs)}")
    tensor = reader.tensor(operator.inputs[1])
    reader.check_type(f"{operator}: weights", tensor, "int8")
    if len(tensor.shape) != ndim or 0 in tensor.shape:
        raise ModelError(f"{operator}: weights must have {ndim} dimensions, not shape {tensor.shape}")
    weights = reader.constant(f"{operator}: weights", tensor, "i1", tensor.shape)
    channels = tensor.shape[axis]
    if tensor.zero_points.any():
        raise ModelError(f"{operator}: weights must have zero point 0, not {tensor.zero_points.max()}")
    if len(tensor.scales) not in (1, channels) or (len(tensor.scales) > 1 and tensor.axis != axis):
        raise ModelError(
            f"{operator}: weights must have 1 or {channels} scales, along axis {axis}, "
            f"not {len(tensor.scales)} along axis {tensor.axis}"
        )
    bias: Any = 0
    if len(operator.inputs) == 3 and operator.inputs[2] != -1:
        tensor_bias = reader.tensor(operator.inputs[2])
        reader.check_type(f"{operator}: the bias", tensor_bias, "int32")
        bias = reader.constant(f"{operator}: the bias", tensor_bias, "<i4", (channels,)).astype(np.int64)
    # As in the reference, the factor of a channel is one product and one quotient in double.
    pairs = [multiplier_of(operator, source.quantisation.scale * float(scale) / out.scale) for scale in tensor.scales]
    multipliers, shifts = np.array(pairs, np.int64).T
    low, high = activation_limits(context, operator, options.FusedActivationFunction(), out)
    return weights, {
        "bias": bias,
        "multiplier": multipliers if len(pairs) == channels else multipliers[0],
        "shift": shifts if len(pairs) == channels else shifts[0],
        "input_zero_point": source.quantisation.zero_point,
        "zero_point": out.zero_point,
        "low": low,
        "high": high,
    }
