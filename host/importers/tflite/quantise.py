"""Operators that change values one by one: quantisations, activations, and the clamps of other operators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.reader import Operator, Tensor
from etchnet.host.importers.value import Value, make_step
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.host.network.steps import Dequantise, Requantise
from etchnet.sim.arithmetic.reference import quantise_multiplier

_LARGEST_BOUND = (1 << 31) - 128


@handles("QUANTIZE")
def quantise(context: Context, operator: Operator) -> None:
    """Import a quantisation of float32, or a change of type, scale and zero point."""
    context.expect_inputs(operator, 1)
    builder, where = context.builder, str(operator)
    source, result = context.value(operator, 0, host=True), context.result(operator)
    if source.node < 0 and not source.steps and source.dtype != "int8":
        out = context.reader.activation(f"{where}: the result", result)
        value = builder.convert_input(where, source, out)
    elif source.steps or context.reader.type_name(result) != "int8":
        out = context.reader.activation(f"{where}: the result", result, "int8", "uint8", "int16")
        step = make_step(where, Requantise, source.quantisation, out)
        value = builder.step(where, source, step, out, name=context.label(operator))
    else:
        out = context.reader.activation(f"{where}: the result", result)
        _requantise(context, operator, source, result, out, source.quantisation.scale / out.scale)
        return
    if context.shape(result) != source.shape:
        raise ModelError(f"{where} must keep the shape")
    context.set(operator, replace(value, name=result.name or value.name))


@handles("DEQUANTIZE")
def dequantise(context: Context, operator: Operator) -> None:
    """Import the dequantisation of an output."""
    context.expect_inputs(operator, 1)
    value, after = context.value(operator, 0, host=True), context.result(operator)
    context.reader.check_type(f"{operator}: the result", after, "float32")
    if value.dtype not in ("int8", "uint8", "int16") or context.shape(after) != value.shape:
        raise ModelError(f"{operator} must be the last operator, read int8, and keep the shape")
    step = Dequantise(value.quantisation)
    context.set(operator, context.builder.step(str(operator), value, step, value.quantisation, name=after.name))


@handles("RELU", "RELU_N1_TO_1")
def relu(context: Context, operator: Operator) -> None:
    """Import an activation that clamps, and changes scale and zero point."""
    context.expect_inputs(operator, 1)
    source, (result, out) = context.value(operator, 0), context.output(operator)
    factor = source.quantisation.scale / out.scale
    if operator.kind == "RELU_N1_TO_1":
        # LiteRT, the only runtime with this operator, divides in float32.
        with np.errstate(over="ignore", under="ignore"):
            factor = float(np.float32(source.quantisation.scale) / np.float32(out.scale))
    low, high = activation_limits(
        context, operator, getattr(context.reader.tflite.ActivationFunctionType, operator.kind), out
    )
    _requantise(context, operator, source, result, out, factor, low=low, high=high)


@handles("RELU6")
def relu6(context: Context, operator: Operator) -> None:
    """Import a clamp to [0, 6]."""
    context.expect_inputs(operator, 1)
    source, (result, out) = context.value(operator, 0), context.output(operator)
    if source.quantisation != out:
        raise ModelError(f"{operator} must keep scale and zero point: the reference clamps and does not rescale")
    _requantise(
        context, operator, source, result, out, 1.0, low=out.zero_point, high=quantised_bound(operator, 6.0, out)
    )


def _requantise(
    context: Context,
    operator: Operator,
    source: Value,
    result: Tensor,
    out: Quantisation,
    factor: float,
    *,
    low: int = -128,
    high: int = 127,
) -> None:
    """Add a layer that scales and clamps every value, or none if no value changes."""
    where, name, shape = str(operator), context.label(operator), context.shape(result)
    if source.shape != shape:
        raise ModelError(f"{operator} must keep the shape: {(context.batch, *source.shape)} to {result.shape}")
    same = source.quantisation == out
    if same and (low, high) == (-128, 127):
        context.set(operator, replace(source, name=name))
        return
    value = context.builder.identity(where, source, out, scale=None if same else factor, name=name, low=low, high=high)
    context.set(operator, value)


def activation_limits(context: Context, operator: Operator, activation: int, out: Quantisation) -> tuple[int, int]:
    """Return the int8 range to which an activation function clamps; `activation` is its number in the schema."""
    kinds = context.reader.tflite.ActivationFunctionType
    names = {v: k for k, v in vars(kinds).items() if not k.startswith("_")}
    ranges = {"NONE": (None, None), "RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
    name = names.get(activation, str(activation))
    if name not in ranges:
        raise ModelError(f"{operator}: activation {name} is not supported; supported are {', '.join(ranges)}")
    low, high = ranges[name]
    return (-128 if low is None else quantised_bound(operator, low, out)), (
        127 if high is None else quantised_bound(operator, high, out)
    )


def quantised_bound(operator: Operator, value: float, quantisation: Quantisation) -> int:
    """Return a bound of an activation as int8."""
    if abs(value) / quantisation.scale > _LARGEST_BOUND:
        raise ModelError(
            f"{operator}: the activation's bound {value} must be at most 2**31 times the result's scale, "
            f"not {abs(value) / quantisation.scale:g} times"
        )
    return int(quantisation.quantise(np.float32(value)))


def multiplier_of(operator: Operator, real: float) -> tuple[int, int]:
    """Return a real factor as (multiplier, shift)."""
    try:
        return quantise_multiplier(real)
    except ValueError as error:
        raise ModelError(f"{operator}: {error}") from None
