"""Operators that move values: concatenation, padding, and changes of shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from etchnet.host.importers import moves
from etchnet.host.importers.graph import LARGEST_STEP
from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.quantise import activation_limits
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.value import Value, make_layer
from etchnet.host.network.layers import Concat
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
    whole, missing = context.by_file_axes(operator, sources)
    axis = options.Axis() + len(result.shape) * (options.Axis() < 0) - missing
    if not 0 <= axis < len(whole[0].shape) or any(len(value.shape) != len(whole[0].shape) for value in whole):
        raise ModelError(
            f"{operator} must be along an axis of all its inputs, {missing} to {len(whole[0].shape) + missing - 1}, "
            f"not {options.Axis()}"
        )
    context.set_reshaped(operator, concatenated(context, operator, whole, axis))


def concatenated(context: Context, operator: Operator, values: Sequence[Value], axis: int) -> Value:
    """Return values one after the other along an axis, with the scale and zero point of the operator's result."""
    sizes = {(*value.shape[:axis], *value.shape[axis + 1 :]) for value in values}
    if len(sizes) != 1:
        shapes = ", ".join(str(value.shape) for value in values)
        raise ModelError(f"{operator} must have inputs of equal sizes along all other axes, not {shapes}")
    _, out = context.output(operator)
    total = sum(value.shape[axis] for value in values)
    shape = (*values[0].shape[:axis], total, *values[0].shape[axis + 1 :])
    where, name = str(operator), context.label(operator)
    view = context.builder.view(where, values, [axis])
    layer = make_layer(where, Concat, view.at[axis])
    return context.builder.add_view(where, layer, view, out, shape, name=name)


@handles("PAD", "PADV2")
def pad(context: Context, operator: Operator) -> None:
    """Import a border of one value."""
    reader = context.reader
    context.expect_inputs(operator, 2 if operator.kind == "PAD" else 3)
    source, (_, out) = context.value(operator, 0), context.output(operator)
    if source.quantisation != out:
        raise ModelError(f"{operator} must keep scale and zero point")
    (whole,), missing = context.by_file_axes(operator, [source])
    rank, tensor = len(whole.shape) + missing, reader.tensor(operator.inputs[1])
    reader.check_type(f"{operator}: paddings", tensor, "int32")
    paddings = [
        (int(before), int(after))
        for before, after in reader.constant(f"{operator}: paddings", tensor, "<i4", (rank, 2))
    ]
    if any(paddings[0] * missing) or not all(0 <= n <= LARGEST_STEP for pair in paddings for n in pair):
        raise ModelError(f"{operator}: paddings must be from 0 to {LARGEST_STEP}, 0 for the batch, not {paddings}")
    value = out.zero_point
    if operator.kind == "PADV2":
        constant = reader.tensor(operator.inputs[2])
        if reader.activation(f"{operator}: the value", constant) != out:
            raise ModelError(f"{operator}: the value must have the result's scale and zero point")
        value = int(reader.constant(f"{operator}: the value", constant, "i1", (1,))[0])
    context.set_reshaped(operator, padded(context, operator, whole, paddings[missing:], value, out))
    *first, channels = paddings[1:] if len(source.shape) == rank - 1 else paddings
    if len(source.shape) == 3 and not any(channels) and not any(paddings[0] * (rank == 4)) and value == out.zero_point:
        context.borders[operator.outputs[0]] = source, (first[0], first[1])


def padded(
    context: Context,
    operator: Operator,
    whole: Value,
    paddings: Sequence[tuple[int, int]],
    value: int,
    out: Quantisation,
) -> Value:
    """Return a value with a border along each axis, which holds `value`; the other stored values do not change."""
    where, sides = str(operator), {axis: pair for axis, pair in enumerate(paddings) if any(pair)}
    if not sides:
        return replace(whole, quantisation=out)
    view = context.builder.view(where, [whole], list(sides))
    return moves.padded(context.builder, where, view, sides, value, out, name=context.label(operator))


@handles("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(context: Context, operator: Operator) -> None:
    """Import a change of shape, of int8, of float32 or of indices."""
    if operator.inputs[0] in context.blocks:
        _reshape_blocks(context, operator)
        return
    value, after = context.value(operator, 0, host=True), context.reader.tensor(operator.outputs[0])
    before = value.shape
    kept = context.batch == 1 or after.shape[:1] == (context.batch,)
    if math.prod(before) != math.prod(context.shape(after)) or not kept:
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
    context.set(operator, context.builder.reshape(str(operator), value, context.shape(after), name=after.name))


def _reshape_blocks(context: Context, operator: Operator) -> None:
    """Import an axis of size 1 that appears or goes in interleaved images, as for convolutions of lines."""
    before, after = (context.reader.tensor(index) for index in (operator.inputs[0], operator.outputs[0]))
    found = context.blocks[before.index]
    same = [n for n in before.shape if n != 1] == [n for n in after.shape if n != 1]
    if not same or context.reader.activation(str(operator), after) != found.value.quantisation:
        raise ModelError(f"{operator} must keep interleaved images: {before.shape} to {after.shape}")
    context.blocks[after.index] = found


@handles("TRANSPOSE")
def transpose(context: Context, operator: Operator) -> None:
    """Import another order of axes, which is a change of layout."""
    context.expect_inputs(operator, 2)
    reader, value, after = context.reader, context.value(operator, 0, host=True), context.result(operator)
    if value.dtype != reader.type_name(after):
        raise ModelError(f"{operator} must keep the type")
    out = value.quantisation
    if value.dtype in ("int8", "uint8", "int16"):
        out = reader.activation(f"{operator}: the result", after, value.dtype)
    (whole,), missing = context.by_file_axes(operator, [value])
    tensor, rank = reader.tensor(operator.inputs[1]), len(whole.shape) + missing
    reader.check_type(f"{operator}: the order", tensor, "int32")
    axes = [int(axis) for axis in reader.constant(f"{operator}: the order", tensor, "<i4", (rank,))]
    if sorted(axes) != list(range(rank)) or (missing and axes[0]):
        raise ModelError(f"{operator} must order axes 0 to {rank - 1}, the batch first, not {axes}")
    kept = [axis - missing for axis in axes[missing:]]
    moved = context.builder.transpose(str(operator), whole, kept, name=after.name)
    context.set_reshaped(operator, replace(moved, quantisation=out))


@handles("SHAPE")
def size(context: Context, operator: Operator) -> None:
    """Import a computation of int32 sizes: converters write them for the shape of a RESHAPE if the batch is not fixed.

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
