"""Products of a tensor and a constant, and clamps by a constant."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.operands import Constant, operands, per_channel
from etchnet.host.importers.tflite.quantise import activation_limits, multiplier_of
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.value import Value, make_layer
from etchnet.host.network.layers import Depthwise
from etchnet.host.network.model import ModelError
from etchnet.sim.arithmetic.reference import requantise

_INT8 = np.arange(-128, 128)
_MOVES = np.array([0, 1, -1])
"""what is added to a multiplier and to a sum, in the order in which it is tried: rounding may need it"""


def _with_constant(context: Context, operator: Operator, verb: str) -> tuple[Value, Constant]:
    """Return the tensor and the constant that an operator reads, in either order."""
    first, second = operands(context, operator)
    if isinstance(first, Constant) and not isinstance(second, Constant):
        return second, first
    if isinstance(second, Constant) and not isinstance(first, Constant):
        return first, second
    raise ModelError(f"{operator} must {verb} a constant: no layer of the machine takes two results there")


@handles("MUL")
def multiply(context: Context, operator: Operator) -> None:
    """Import a product of a tensor and a constant, as a depthwise layer of one pixel."""
    options = context.reader.options(operator, "MulOptions")
    value, constant = _with_constant(context, operator, "multiply by")
    result, out = context.output(operator)
    low, high = activation_limits(context, operator, options.FusedActivationFunction(), out)
    source, values, as_stored = per_channel(context, operator, value, constant.values)
    before = value.quantisation
    real = before.scale * constant.quantisation.scale / out.scale
    factors = values - constant.quantisation.zero_point
    settings: dict[int, tuple[int, int, int, int]] = {}
    for factor in np.unique(factors):
        found = _depthwise_settings(operator, int(factor), real, before.zero_point, (out.zero_point, low, high))
        if found is None:
            raise ModelError(
                f"{operator}: the constant {int(factor)}, zero point subtracted, must be from -128 to 127, or have "
                "the results of such a factor; none was found"
            )
        settings[int(factor)] = found
    weights, biases, multipliers, shifts = np.array([settings[int(factor)] for factor in factors], np.int64).T
    shaped = weights.astype(np.int8).reshape(1, 1, -1, 1)
    points = before.zero_point, out.zero_point, low, high
    layer = make_layer(str(operator), Depthwise, shaped, biases, multipliers, shifts, *points)
    name, shape = context.label(operator), context.shape(result)
    if math.prod(shape) != math.prod(value.shape):
        raise ModelError(f"{operator}: the result must have shape {value.shape}, not {shape} as in the file")
    made = context.builder.add(str(operator), layer, [source], out, name=name, shape=source.shape, as_stored=as_stored)
    context.set_reshaped(operator, made)


def _depthwise_settings(
    operator: Operator, factor: int, real: float, zero_in: int, ends: tuple[int, int, int]
) -> tuple[int, int, int, int] | None:
    """Return the weight, bias, multiplier and shift of a channel that multiplies by `factor`; None if none are found.

    A factor that is no int8 is replaced by a smaller weight and a larger multiplier whose results, proved on all 256
    values, are equal.
    """
    multiplier, shift = multiplier_of(operator, real)
    if -128 <= factor <= 127:
        return factor, 0, multiplier, shift
    zero_point, low, high = ends
    limits: dict[str, Any] = {"zero_point": zero_point, "low": low, "high": high}
    values = _INT8 - zero_in
    if (int(np.abs(values).max()) * abs(factor)) << max(shift, 0) >= 1 << 31:
        return None
    wanted = requantise(values * factor, multiplier, max(shift, 0), max(-shift, 0), **limits)
    for weight in range(127, 63, -1):
        near, step = multiplier_of(operator, real * abs(factor) / weight)
        signed = weight if factor > 0 else -weight
        tried = np.clip(near + _MOVES, 0, (1 << 31) - 1)[:, None, None]
        sums = values * signed + _MOVES[:, None]
        if int(np.abs(sums).max()) << max(step, 0) >= 1 << 31:
            continue
        good = (requantise(sums, tried, max(step, 0), max(-step, 0), **limits) == wanted).all(axis=-1)
        if good.any():
            nudge, bias = np.argwhere(good)[0]
            return signed, int(_MOVES[bias]), int(tried[nudge, 0, 0]), step
    return None


@handles("MAXIMUM", "MINIMUM")
def clamp(context: Context, operator: Operator) -> None:
    """Import a comparison with one number, which is a clamp: the runtime compares stored values."""
    value, constant = _with_constant(context, operator, "compare with")
    result, out = context.output(operator)
    if constant.values.size != 1:
        raise ModelError(f"{operator}: the constant must be one number, not have shape {constant.values.shape}")
    if math.prod(context.shape(result)) != math.prod(value.shape):
        raise ModelError(f"{operator} must keep the shape: {value.shape} to {context.shape(result)}")
    bound = int(constant.values.reshape(-1)[0])
    low, high = (bound, 127) if operator.kind == "MAXIMUM" else (-128, bound)
    made = context.builder.identity(
        str(operator), value, out, scale=None, name=context.label(operator), low=low, high=high
    )
    context.set_reshaped(operator, made)
