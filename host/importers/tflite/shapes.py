"""Operators that move values: concatenation, padding, and changes of shape."""

from __future__ import annotations

import math

from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.quantise import activation_limits
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.tflite.windows import LARGEST_STEP
from etchnet.host.network.layers import Concat, Pad
from etchnet.host.network.model import ModelError, Quantisation


@handles("CONCATENATION")
def concatenation(context: Context, operator: Operator) -> None:
    """Import a concatenation of tensors with equal scales and zero points."""
    options = context.reader.options(operator, "ConcatenationOptions")
    if activation_limits(context, operator, options.FusedActivationFunction(), Quantisation(1.0, 0)) != (-128, 127):
        raise ModelError(f"{operator} must have no activation")
    sources = [context.value(operator, position) for position in range(len(operator.inputs))]
    result, out = context.output(operator)
    for value in sources:
        if value.quantisation != out:
            raise ModelError(
                f"{operator} must keep scale and zero point: {value.name} has {value.quantisation}, the result {out}"
            )
    rank = len(result.shape)
    axis = options.Axis() + rank * (options.Axis() < 0)
    if not 1 <= axis < rank or any(len(value.shape) != rank - 1 for value in sources):
        raise ModelError(f"{operator} must be along an axis of an image, 1 to {rank - 1}, not {options.Axis()}")
    context.builder.image(str(operator), sources[0])
    context.append(operator, Concat(axis - rank + 3), sources)


@handles("PAD", "PADV2")
def pad(context: Context, operator: Operator) -> None:
    """Import a border of one value."""
    reader = context.reader
    context.expect_inputs(operator, 2 if operator.kind == "PAD" else 3)
    source, (_, out) = context.value(operator, 0), context.output(operator)
    if source.quantisation != out:
        raise ModelError(f"{operator} must keep scale and zero point")
    rank, tensor = len(source.shape) + 1, reader.tensor(operator.inputs[1])
    reader.check_type(f"{operator}: paddings", tensor, "int32")
    paddings = [
        (int(before), int(after))
        for before, after in reader.constant(f"{operator}: paddings", tensor, "<i4", (rank, 2))
    ]
    context.builder.image(str(operator), source)
    if any(paddings[0]) or not all(0 <= n <= LARGEST_STEP for pair in paddings for n in pair):
        raise ModelError(f"{operator}: paddings must be from 0 to {LARGEST_STEP}, 0 for the batch, not {paddings}")
    value = out.zero_point
    if operator.kind == "PADV2":
        constant = reader.tensor(operator.inputs[2])
        if reader.activation(f"{operator}: the value", constant) != out:
            raise ModelError(f"{operator}: the value must have the result's scale and zero point")
        value = int(reader.constant(f"{operator}: the value", constant, "i1", (1,))[0])
    height, width, channels = ((0, 0), (0, 0), *paddings[1:])[-3:]
    context.append(operator, Pad((height, width), value, channels), [source])


@handles("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(context: Context, operator: Operator) -> None:
    """Import a change of shape, of int8, of float32 or of indices."""
    value, after = context.value(operator, 0, host=True), context.reader.tensor(operator.outputs[0])
    before = value.shape
    if math.prod(before) != math.prod(after.shape[1:]) or after.shape[:1] != (context.batch,):
        raise ModelError(
            f"{operator} must keep the batch and the number of values: {(context.batch, *before)} to {after.shape}"
        )
    if value.dtype != context.reader.type_name(after):
        raise ModelError(f"{operator} must keep the type")
    if value.dtype in ("int8", "uint8", "int16"):
        if context.reader.activation(str(operator), after, value.dtype) != value.quantisation:
            raise ModelError(f"{operator} must keep scale and zero point")
    elif value.dtype != "float32":
        raise ModelError(f"{operator} comes after ARG_MAX, which must be the last operator")
    context.set(operator, context.builder.reshape(str(operator), value, after.shape[1:], name=after.name))


@handles("SHAPE", "STRIDED_SLICE", "PACK")
def size(context: Context, operator: Operator) -> None:
    """Import a computation of sizes: converters write them for the shape of a RESHAPE if the batch is not fixed.

    It becomes no layer, because the file also has the resulting shape of each RESHAPE.
    """
    reader, tensors = context.reader, [context.reader.tensor(index) for index in operator.inputs]
    reader.check_type(f"{operator}: the result", reader.tensor(operator.outputs[0]), "int32")
    for position, tensor in enumerate(tensors):
        if operator.kind == "SHAPE":
            context.value(operator, position, host=True)
        elif tensor.index not in context.sizes and not tensor.constant:
            raise ModelError(f"{operator} must compute sizes for a RESHAPE, not read {tensor}")
    context.sizes.add(operator.outputs[0])
