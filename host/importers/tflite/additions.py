"""Sums and differences: of two tensors of one shape, or of a tensor and a constant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from etchnet.hdl.isa.contracts import TFLITE_DOUBLE
from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.operands import Constant, operands, per_channel
from etchnet.host.importers.tflite.quantise import activation_limits
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.value import make_layer, make_step
from etchnet.host.network.layers import Add, AddConstant, Scaling
from etchnet.host.network.model import ModelError, Quantisation

_INT8 = np.arange(-128, 128)
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
    layer: Add | AddConstant
    if not isinstance(first, Constant) and not isinstance(second, Constant):
        if first.shape != second.shape:
            shapes = [context.reader.tensor(index).shape for index in operator.inputs]
            verb = "add" if operator.kind == "ADD" else "subtract"
            raise ModelError(f"{operator} must {verb} equal shapes, not {shapes[0]} and {shapes[1]}")
        layer = make_layer(where, Add, zeros, *scalings, out.zero_point, low, high, signs)
        sources, whole, as_stored = [first, second], first.shape, True
        if signs[1] < 0:
            pairs = list(np.meshgrid(_INT8, _INT8, indexing="ij"))
            _check_difference(operator, layer, [operand.astype(np.int8) for operand in pairs], scalings, zeros, pairs)
    else:
        at = int(isinstance(first, Constant))
        value, constant = (first, second) if at == 0 else (second, first)
        assert isinstance(constant, Constant)
        assert not isinstance(value, Constant)
        source, values, as_stored = per_channel(context, operator, value, constant.values)
        scaled = signs[1 - at] * scalings[1 - at].apply(values - zeros[1 - at], TFLITE_DOUBLE)
        layer = make_layer(
            where, AddConstant, scaled, zeros[at], scalings[at], scalings[2], out.zero_point, low, high, signs[at]
        )
        sources, whole = [source], source.shape
        if signs[at] < 0:
            different = np.unique(values)
            single = replace(layer, constant=scalings[0].apply(different - zeros[0], TFLITE_DOUBLE))
            grid = np.broadcast_to(_INT8[:, None], (256, len(different)))
            pairs = [np.broadcast_to(different, grid.shape), grid]
            _check_difference(operator, single, [grid.astype(np.int8)], scalings, zeros, pairs)
    if math.prod(shape) != math.prod(whole):
        raise ModelError(f"{operator}: the result must have shape {whole}, not {shape} as in the file")
    value = context.builder.add(where, layer, sources, out, name=name, shape=whole, as_stored=as_stored)
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
    one, two = (make_step(str(operator), Scaling.of, float(scale / twice), left=_LEFT) for scale in scales)
    # The reference takes only factors below 1, after rounding too.
    result = make_step(str(operator), Scaling.of, factor) if factor < 1 else None
    if result is None or result.left:
        raise ModelError(
            f"{operator}: the result's scale must be above 2**-19 of its operands', not {out.scale} for "
            f"{first.scale} and {second.scale}"
        )
    return one, two, result


def _check_difference(
    operator: Operator,
    layer: Add | AddConstant,
    tensors: Sequence[np.ndarray],
    scalings: tuple[Scaling, Scaling, Scaling],
    zeros: tuple[int, int],
    pairs: Sequence[np.ndarray],
) -> None:
    """Refuse a subtraction whose results differ from the reference's for some pair of operands.

    The reference scales what it subtracts, and then negates it. The layer scales the negative, and so rounds values
    exactly between two integers in the other direction; that rarely changes a result.
    """
    first, second = (
        scaling.apply(values.astype(np.int64) - zero, TFLITE_DOUBLE)
        for scaling, values, zero in zip(scalings[:2], pairs, zeros, strict=True)
    )
    limits = {"zero_point": layer.zero_point, "low": layer.low, "high": layer.high}
    if not np.array_equal(
        layer.reference(*tensors, contract=TFLITE_DOUBLE), scalings[2].apply(first - second, TFLITE_DOUBLE, **limits)
    ):
        raise ModelError(
            f"{operator}: a difference is exactly between two results, and the machine rounds it in another direction"
        )
