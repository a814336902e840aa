"""Sums and differences: of two tensors of one shape, or of a tensor and a constant."""

from __future__ import annotations

import math

import numpy as np

from etchnet.hdl.isa.contracts import TFLITE_DOUBLE
from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.operands import Constant, operands, per_channel
from etchnet.host.importers.tflite.quantise import activation_limits
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.value import make_layer, make_step
from etchnet.host.network.layers import Add, AddConstant, Layer, Scaling
from etchnet.host.network.model import ModelError, Quantisation

_LEFT = 20
"""left shift of operands, in bits"""


@handles("ADD", "SUB")
def add(context: Context, operator: Operator) -> None:
    """Import a sum or a difference."""
    options = context.reader.options(operator, "AddOptions" if operator.kind == "ADD" else "SubOptions")
    first, second = operands(context, operator)
    result, out = context.output(operator)
    low, high = activation_limits(context, operator, options.FusedActivationFunction(), out)
    scalings = _scalings(operator, first.quantisation, second.quantisation, out)
    signs = 1, (1 if operator.kind == "ADD" else -1)
    zeros = first.quantisation.zero_point, second.quantisation.zero_point
    shape, name, where = context.shape(result), context.label(operator), str(operator)
    layer: Layer
    if not isinstance(first, Constant) and not isinstance(second, Constant):
        if first.shape != second.shape:
            shapes = [context.reader.tensor(index).shape for index in operator.inputs]
            verb = "add" if operator.kind == "ADD" else "subtract"
            raise ModelError(f"{operator} must {verb} equal shapes, not {shapes[0]} and {shapes[1]}")
        _check_sign(operator, scalings[1], zeros[1], signs[1])
        layer = make_layer(where, Add, zeros, *scalings, out.zero_point, low, high, signs)
        sources = [first, second]
        whole = first.shape
    else:
        at = int(isinstance(first, Constant))
        value, constant = (first, second) if at == 0 else (second, first)
        assert isinstance(constant, Constant)
        assert not isinstance(value, Constant)
        source, values = per_channel(context, operator, value, constant.values)
        scaled = signs[1 - at] * scalings[1 - at].apply(values - zeros[1 - at], TFLITE_DOUBLE)
        _check_sign(operator, scalings[at], zeros[at], signs[at])
        layer = make_layer(
            where, AddConstant, scaled, zeros[at], scalings[at], scalings[2], out.zero_point, low, high, signs[at]
        )
        sources, whole = [source], value.shape
    if math.prod(shape) != math.prod(whole):
        raise ModelError(f"{operator}: the result must have shape {whole}, not {shape} as in the file")
    value = context.builder.add(where, layer, sources, out, name=name, shape=whole, as_stored=True)
    context.set_reshaped(operator, value)


def _scalings(
    operator: Operator, first: Quantisation, second: Quantisation, out: Quantisation
) -> tuple[Scaling, Scaling, Scaling]:
    """Return the scalings of both operands to the common scale, twice the larger one, and that of the sum.

    For ADD the reference divides in double, for SUB in float32.
    """
    real = float if operator.kind == "ADD" else np.float32
    scales = real(first.scale), real(second.scale)
    twice = 2 * max(scales)
    factor = float(twice / ((1 << _LEFT) * real(out.scale)))
    if factor >= 1:
        raise ModelError(
            f"{operator}: the result's scale must be above 2**-19 of its operands', not {out.scale} for "
            f"{first.scale} and {second.scale}"
        )
    one, two = (make_step(str(operator), Scaling.of, float(scale / twice), left=_LEFT) for scale in scales)
    result = make_step(str(operator), Scaling.of, factor)
    if result.left:
        raise ModelError(
            f"{operator}: the result's scale must be above 2**-19 of its operands', not {out.scale} for "
            f"{first.scale} and {second.scale}"
        )
    return one, two, result


def _check_sign(operator: Operator, scaling: Scaling, zero_point: int, sign: int) -> None:
    """Refuse a subtraction of values for which the scaled negative is not the negative of what is scaled."""
    values = np.arange(-128, 128) - zero_point
    if sign < 0 and not np.array_equal(scaling.apply(-values, TFLITE_DOUBLE), -scaling.apply(values, TFLITE_DOUBLE)):
        raise ModelError(
            f"{operator}: some scaled values of what is subtracted are exactly between two integers, which the machine "
            "rounds in the other direction"
        )
