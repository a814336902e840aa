"""Operators that the host computes after the last layer: softmax and arg max."""

from __future__ import annotations

import numpy as np

from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.host.network.steps import ArgMax, Softmax


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
    if after.shape[1:] != value.shape or not value.shape:
        raise ModelError(f"{operator} must keep the shape")
    step = Softmax(scale, beta, channels=value.shape[-1])
    context.set(operator, context.builder.step(str(operator), value, step, out, name=context.label(operator)))


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
    if after.shape[1:] != value.shape[:-1]:
        raise ModelError(f"{operator}: the result must have shape {shape[:-1]}, not {after.shape}")
    step = ArgMax(reader.type_name(after), channels=value.shape[-1])
    context.set(
        operator,
        context.builder.step(
            str(operator), value, step, value.quantisation, name=context.label(operator), shape=after.shape[1:]
        ),
    )
