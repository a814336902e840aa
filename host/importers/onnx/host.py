"""Operators that the host computes after the last layer: softmax and arg max."""

from __future__ import annotations

import numpy as np

from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.values import (
    Dequantised,
    Item,
    Pending,
    Tensor,
    describe,
    shape_text,
)
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.host.network.network import INPUT
from etchnet.host.network.steps import ArgMax, FloatSoftmax
from etchnet.sim.arithmetic.onnx_ops import qlinear_softmax


@handles("Softmax")
def softmax(context: Context, node: Node) -> Item:
    """Import a float softmax of a dequantised tensor."""
    source = context.dequantised(node, 0)
    axis = node.integer("axis", -1 if context.graph.opset >= 13 else 1)
    return Pending(node.where, lambda out: _softmax(context, node, source, out, axis))


@handles("QLinearSoftmax")
def qlinear_softmax_node(context: Context, node: Node) -> Item:
    """Import a softmax of an int8 tensor."""
    into, out = context.quantisation(node, 1, "the input"), context.quantisation(node, 3, "the result")
    axis = node.integer("axis", -1 if node.integer("opset", 13) >= 13 else 1)
    return _softmax(context, node, Dequantised(context.read(node, 0, into), into), out, axis)


def _softmax(context: Context, node: Node, source: Dequantised, out: Quantisation, axis: int) -> Tensor:
    """Add a softmax on the host."""
    where, tensor, into = node.where, source.tensor, source.quantisation
    if len(tensor.shape) != 1 or axis not in (1, -1):
        raise ModelError(
            f"{where} must be over the last axis of (N, K), not axis {axis} of shape (N, {shape_text(tensor.shape)})"
        )
    value = context.as_vector(where, tensor)
    if value.node == INPUT:
        raise ModelError(f"{where} must come after a layer")
    try:
        qlinear_softmax(
            np.zeros((1, *tensor.shape), np.int8),
            input_scale=into.scale,
            output_scale=out.scale,
            zero_point=out.zero_point,
        )
    except ValueError as error:
        raise ModelError(f"{where}: {error}") from None
    made = context.builder.step(where, value, FloatSoftmax(into.scale, out), out, name=node.label)
    return Tensor(made, tensor.shape)


@handles("ArgMax")
def arg_max(context: Context, node: Node) -> Item:
    """Import the index of the largest value, of an int8 or a dequantised tensor."""
    item = context.operand(node, 0)
    tensor = item.tensor if isinstance(item, Dequantised) else item
    if not isinstance(tensor, Tensor):
        raise ModelError(f"{node.where} must have a tensor as input 0, not {describe(item)}")
    if len(tensor.shape) != 1 or node.integer("axis", 0) not in (1, -1) or node.integer("select_last_index", 0):
        raise ModelError(f"{node.where} must be over the last axis of (N, K), with select_last_index = 0")
    if node.outputs[0] != context.graph.output:
        raise ModelError(f"{node.where} must be the last operator")
    value = context.as_vector(node.where, tensor)
    shape = (1,) if node.integer("keepdims", 1) else ()
    return Tensor(context.builder.step(node.where, value, ArgMax(), value.quantisation), shape)
