"""Sums of two tensors."""

from __future__ import annotations

from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.quantise import activation_limits
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.value import make_layer
from etchnet.host.network.layers import Add
from etchnet.host.network.model import ModelError


@handles("ADD")
def add(context: Context, operator: Operator) -> None:
    """Import a sum of two tensors of one shape."""
    context.expect_inputs(operator, 2)
    options = context.reader.options(operator, "AddOptions")
    tensors = [context.reader.tensor(index) for index in operator.inputs]
    if any(t.constant and t.index not in context.values for t in tensors):
        raise ModelError(f"{operator} must add results of operators, not a constant")
    sources = [context.value(operator, position) for position in range(2)]
    if sources[0].shape != sources[1].shape:
        raise ModelError(f"{operator} must add equal shapes, not {tensors[0].shape} and {tensors[1].shape}")
    _, out = context.output(operator)
    low, high = activation_limits(context, operator, options.FusedActivationFunction(), out)
    first, second = (value.quantisation for value in sources)
    layer = make_layer(
        str(operator),
        Add.from_scales,
        (first.scale, second.scale),
        out.scale,
        zero_points=(first.zero_point, second.zero_point),
        zero_point=out.zero_point,
        low=low,
        high=high,
    )
    if layer.result.left or 2 * max(first.scale, second.scale) >= (1 << 20) * out.scale:
        raise ModelError(
            f"{operator}: the result's scale must be above 2**-19 of its operands', not {out.scale} for "
            f"{first.scale} and {second.scale}"
        )
    context.append(operator, layer, sources)
