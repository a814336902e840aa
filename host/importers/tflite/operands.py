"""Operands of element-wise operators: results of operators, and constants that broadcast to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from etchnet.host.importers.tflite.context import Context
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.value import Value
from etchnet.host.network.model import ModelError, Quantisation

__all__ = ["Constant", "operands", "per_channel"]


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant int8 operand; `values` are int64 in the shape of the file."""

    values: np.ndarray
    quantisation: Quantisation


def operands(context: Context, operator: Operator) -> list[Value | Constant]:
    """Return the two operands of an operator, of which at most one may be constant."""
    context.expect_inputs(operator, 2)
    found: list[Value | Constant] = []
    for position, index in enumerate(operator.inputs):
        tensor = context.reader.tensor(index)
        if tensor.constant and index not in context.values:
            what = f"{operator}: the constant"
            quantisation = context.reader.activation(what, tensor)
            values = context.reader.constant(what, tensor, "i1", tensor.shape)
            found.append(Constant(values.astype(np.int64), quantisation))
        else:
            found.append(context.value(operator, position))
    if all(isinstance(operand, Constant) for operand in found):
        raise ModelError(f"{operator} must read the result of an operator, not constants alone")
    return found


def per_channel(
    context: Context, operator: Operator, value: Value, values: np.ndarray
) -> tuple[Value, np.ndarray, bool]:
    """Return what a layer is to read, what a constant holds for each of its channels, and whether it is read as stored.

    Raises
    ------
    ModelError
        The constant is neither one number nor one per channel.
    """
    where = str(operator)
    shape = (context.batch, *value.shape)
    padded = (1,) * (len(shape) - values.ndim) + values.shape
    axes = [axis for axis, n in enumerate(padded) if n != 1]
    if not axes:
        context.builder.order_of(where, value)
        channels = context.builder.geometry(value)[2]
        context.builder.check_weights(where, channels)
        return value, np.full(channels, values.reshape(-1)[0]), True
    wanted = f"one number or one per channel, as in shape {(1,) * (len(shape) - 1) + shape[-1:]}"
    if len(axes) != 1 or len(padded) != len(shape) or padded[axes[0]] != shape[axes[0]] or not axes[0]:
        raise ModelError(f"{where}: the constant must be {wanted}, not have shape {values.shape}")
    axis = axes[0] - 1
    view = context.builder.view(where, [value], [axis])
    if view.at[axis] == 2 and context.builder.geometry(view.values[0])[2] == values.size:
        return view.values[0], values.reshape(-1), True
    if axis != len(value.shape) - 1:
        raise ModelError(f"{where}: the constant must be {wanted}, not along axis {axes[0]} of shape {shape}")
    lines = math.prod(value.shape[:-1]), value.shape[-1]
    return context.builder.reshape(where, value, lines), values.reshape(-1), False
