"""Operators that the host computes after the last layer: softmax, curves and arg max."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.reader import Operator, Tensor
from etchnet.host.importers.value import Value
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.host.network.steps import ArgMax, FloatLogSoftmax, Logistic, LogSoftmax, Softmax, Tanh
from etchnet.sim.arithmetic.curves import CURVE_SCALES, LARGEST_ROW, LOG_SOFTMAX_SCALES


@handles("SOFTMAX")
def softmax(context: Context, operator: Operator) -> None:
    """Import a softmax along the last axis."""
    context.expect_inputs(operator, 1)
    value, (after, out) = context.value(operator, 0, host=True), context.output(operator)
    if out != Quantisation(1 / 256, -128):
        raise ModelError(f"{operator}: the result must have scale 1/256 and zero point -128, not {out}")
    beta = float(context.reader.options(operator, "SoftmaxOptions").Beta())
    if not (np.isfinite(beta) and beta > 0):
        raise ModelError(f"{operator}: beta must be positive, not {beta}")
    scale = value.quantisation.scale
    if scale * beta * (1 << 26) <= 1:
        raise ModelError(f"{operator}: scale x beta must be above 2**-26, not {scale * beta}")
    if context.shape(after) != value.shape or not value.shape:
        raise ModelError(f"{operator} must keep the shape")
    step = Softmax(scale, beta, channels=value.shape[-1])
    context.set(operator, context.builder.step(str(operator), value, step, out, name=context.label(operator)))


@handles("LOGISTIC", "TANH")
def curve(context: Context, operator: Operator) -> None:
    """Import a curve of single values."""
    context.expect_inputs(operator, 1)
    value, (after, out) = context.value(operator, 0, host=True), context.output(operator)
    _check_curve(context, operator, value, after, CURVE_SCALES)
    # The runtime gives bytes of scale 1/256, or 1/128 for tanh, and does not look at the scale of the result.
    if operator.kind == "LOGISTIC" and out.zero_point != -128:
        raise ModelError(f"{operator}: the result must have zero point -128, not {out.zero_point}")
    step = (Logistic if operator.kind == "LOGISTIC" else Tanh)(value.quantisation)
    context.set(operator, context.builder.step(str(operator), value, step, out, name=context.label(operator)))


@handles("LOG_SOFTMAX")
def log_softmax(context: Context, operator: Operator) -> None:
    """Import the logarithm of a softmax along the last axis, of int8 or of float32 results."""
    context.expect_inputs(operator, 1)
    value, after = context.value(operator, 0, host=True), context.result(operator)
    if not value.shape or value.shape[-1] > LARGEST_ROW:
        raise ModelError(f"{operator} must be over 1 to {LARGEST_ROW} values, not shape {value.shape}")
    if value.dtype == "float32" and value.steps:
        context.reader.check_type(f"{operator}: the result", after, "float32")
        if context.shape(after) != value.shape:
            raise ModelError(f"{operator} must keep the shape")
        step = FloatLogSoftmax(value.shape[-1])
        context.set(operator, replace(value, steps=(*value.steps, step), name=context.label(operator)))
        return
    _check_curve(context, operator, value, after, LOG_SOFTMAX_SCALES)
    _, out = context.output(operator)
    if (out.scale, out.zero_point) != (1 / 16, 127):
        raise ModelError(f"{operator}: the result must have scale 1/16 and zero point 127, not {out}")
    quantised = LogSoftmax(value.quantisation.scale, value.shape[-1])
    context.set(operator, context.builder.step(str(operator), value, quantised, out, name=context.label(operator)))


def _check_curve(
    context: Context, operator: Operator, value: Value, after: Tensor, scales: tuple[float, float]
) -> None:
    """Check the operand of a curve, and that the result has its shape."""
    if value.dtype != "int8":
        raise ModelError(f"{operator} must read int8, not {value.dtype}")
    if not scales[0] < value.quantisation.scale < scales[1]:
        raise ModelError(
            f"{operator}: the scale must be above {scales[0]:g} and below {scales[1]:g}, not {value.quantisation.scale}"
        )
    if context.shape(after) != value.shape:
        raise ModelError(f"{operator} must keep the shape")


@handles("ARG_MAX")
def arg_max(context: Context, operator: Operator) -> None:
    """Import the index of the largest value along the last axis."""
    context.expect_inputs(operator, 2)
    reader = context.reader
    value, after = context.value(operator, 0, host=True), context.result(operator)
    axis = reader.tensor(operator.inputs[1])
    reader.check_type(f"{operator}: the axis", axis, "int32", "int64")
    reader.check_type(f"{operator}: the result", after, "int32", "int64")
    wide = axis.type == reader.tflite.TensorType.INT64
    along = int(reader.constant(f"{operator}: the axis", axis, "<i8" if wide else "<i4", (1,))[0])
    shape = (context.batch, *value.shape)
    if along not in (-1, len(shape) - 1) or not value.shape:
        raise ModelError(f"{operator} must be along the last axis, not axis {along} of shape {shape}")
    if context.shape(after) != value.shape[:-1]:
        raise ModelError(f"{operator}: the result must have shape {shape[:-1]}, not {after.shape}")
    step = ArgMax(reader.type_name(after), channels=value.shape[-1])
    context.set(
        operator,
        context.builder.step(
            str(operator), value, step, value.quantisation, name=context.label(operator), shape=context.shape(after)
        ),
    )
