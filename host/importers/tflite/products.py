"""Operators with weights: fully connected layers and convolutions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from etchnet.host.importers.groups import ungrouped
from etchnet.host.importers.tflite.context import Blocks, Context, handles
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
    if values % terms:
        shape = (context.batch, *source.shape)
        raise ModelError(f"{operator}: weights have {terms} values per output channel, but the input has shape {shape}")
    rows = values // terms
    if result.shape[-1] != channels or math.prod(result.shape) != context.batch * rows * channels:
        raise ModelError(
            f"{operator}: the result must have {rows * channels} values per image, {channels} along the last axis, "
            f"not shape {result.shape}"
        )
    if rows == 1:
        context.append(
            operator, make_layer(str(operator), Dense, np.ascontiguousarray(weights.T), **settings), [source]
        )
        return
    # A convolution of one pixel for each row.
    where, name = str(operator), context.label(operator)
    layer = make_layer(where, Conv, np.ascontiguousarray(weights.T)[None, None], **settings)
    lines = context.builder.reshape(where, source, (rows, terms))
    context.set_reshaped(operator, context.builder.add(where, layer, [lines], out, name=name, shape=(rows, channels)))


@handles("CONV_2D")
def conv_2d(context: Context, operator: Operator) -> None:
    """Import a convolution: weights (output channels, y, x, input channels of a group)."""
    options = context.reader.options(operator, "Conv2DOptions")
    source, block, out = _image_operand(context, operator)
    weights, settings = _weights(context, operator, source, out, 4, 0, options)
    window = window_settings(context, operator, source, weights.shape[1:3], options, dilated=True, block=block)
    channels, inputs = weights.shape[0], source.shape[2]
    groups = inputs // weights.shape[3]
    if inputs % weights.shape[3] or channels % groups:
        raise ModelError(
            f"{operator}: weights must have as many channels as the input, {inputs}, or those of one of several equal "
            f"groups, not {weights.shape[3]} for {channels} output channels"
        )
    by_tap = weights.transpose(1, 2, 3, 0)
    if groups > 1 and weights.shape[3] == 1:
        shaped = by_tap.reshape(*by_tap.shape[:2], inputs, channels // groups)
        _append(context, operator, make_layer(str(operator), Depthwise, shaped, **settings, **window), source, out)
        return
    whole = np.ascontiguousarray(ungrouped(str(operator), by_tap, groups))
    layer = make_layer(str(operator), Conv, whole, **settings, **window)
    _append(context, operator, layer, source, out)


@handles("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(context: Context, operator: Operator) -> None:
    """Import a depthwise convolution: weights (1, y, x, input channels x multiplier)."""
    options = context.reader.options(operator, "DepthwiseConv2DOptions")
    source, block, out = _image_operand(context, operator)
    weights, settings = _weights(context, operator, source, out, 4, 3, options)
    window = window_settings(context, operator, source, weights.shape[1:3], options, dilated=True, block=block)
    channels, multiplier = source.shape[2], options.DepthMultiplier()
    if weights.shape[0] != 1 or channels * multiplier != weights.shape[3]:
        raise ModelError(
            f"{operator}: weights must have shape (1, y, x, {channels} channels x multiplier {multiplier}), "
            f"not {weights.shape}"
        )
    shaped = weights.reshape(*weights.shape[1:3], channels, multiplier)
    _append(context, operator, make_layer(str(operator), Depthwise, shaped, **settings, **window), source, out)


def _image_operand(context: Context, operator: Operator) -> tuple[Value, tuple[int, int], Quantisation]:
    """Return the image that a convolution reads, the interleaved images in it, and the scale of the result."""
    index = operator.inputs[0]
    if index in context.blocks:
        found, result = context.blocks[index], context.reader.tensor(operator.outputs[0])
        return found.value, found.block, context.reader.activation(f"{operator}: the result", result)
    source, (_, out) = context.value(operator, 0), context.output(operator)
    if len(source.shape) != 3:
        shape = (context.batch, *source.shape)
        raise ModelError(f"{operator} must have an image of 4 dimensions, batch included, not shape {shape}")
    return source, (1, 1), out


def _append(context: Context, operator: Operator, layer: Conv | Depthwise, source: Value, out: Quantisation) -> None:
    """Add the layer of a convolution, whose result may be interleaved images."""
    if operator.inputs[0] not in context.blocks:
        layer, source = _with_border(context, operator, layer, source)
        context.append(operator, layer, [source])
        return
    block, result = context.blocks[operator.inputs[0]].block, context.reader.tensor(operator.outputs[0])
    value = context.builder.add(str(operator), layer, [source], out, name=context.label(operator))
    height, width, channels = value.shape
    sizes = context.batch * math.prod(block), height // block[0], width // block[1], channels
    if result.shape != sizes:
        raise ModelError(f"{operator}: the result must have shape {sizes}, not {result.shape} as in the file")
    context.blocks[result.index] = Blocks(value, block)


def _with_border(
    context: Context, operator: Operator, layer: Conv | Depthwise, source: Value
) -> tuple[Conv | Depthwise, Value]:
    """Return a layer that reads an image before a PAD of it, and that image; a border wider than the kernel stays."""
    if operator.inputs[0] not in context.borders:
        return layer, source
    image, border = context.borders[operator.inputs[0]]
    spans = [(taps - 1) * step for taps, step in zip(layer.kernel, layer.dilation, strict=True)]
    if any(max(side) > span for side, span in zip(border, spans, strict=True)):
        return layer, source
    (top, bottom), (left, right) = ((a + c, b + d) for (a, b), (c, d) in zip(layer.padding, border, strict=True))
    return replace(layer, padding=((top, bottom), (left, right))), image


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
