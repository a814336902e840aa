"""Operators that only the host computes, after the last layer."""

from __future__ import annotations

from dataclasses import replace

from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.values import HostValue, Item, Tensor
from etchnet.host.network.model import ModelError


@handles("ArgMax", "ArgMin", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LogSoftmax", "LpNormalization")
@handles("QLinearSoftmax", "ReduceL2", "ReduceMean", "ReduceMin", "ReduceSum", "Resize", "Softmax", "TopK")
@handles("DepthToSpace", "SpaceToDepth")
def on_host(context: Context, node: Node) -> list[Item]:
    """Import an operator that ONNX Runtime computes on the host, as one of the last."""
    operands = [context.operand(node, index) for index in range(len(node.inputs))]
    first = next(item for item in operands if isinstance(item, Tensor | HostValue))
    dtype = first.dtype if isinstance(first, HostValue) else "int8"
    if "Arg" in node.kind:
        dtype = "int64"
    where = node.where
    if "QLinear" not in node.kind and dtype == "float32":
        reason = f"{where} is computed by ONNX Runtime in float32, and only the first and the last operators may be"
    else:
        reason = f"{where} is supported only as one of the last operators: the machine has no layer for it"
    made = context.apply(node, operands, pointwise=False, dtype=dtype, reason=reason)
    return [replace(made, name=name) for name in node.outputs]


@handles("Conv", "Gemm", "MatMul", "ConvTranspose", "FusedConv", "FusedGemm", "FusedMatMul")
def product(context: Context, node: Node) -> Item:
    """Refuse a product that ONNX Runtime computes in float32."""
    raise ModelError(
        f"{node.where}: ONNX Runtime computes it in float32, not on int8. For int8, each of its operands must come "
        "from a DequantizeLinear, of int8 for input and weights, its result must go to a QuantizeLinear, and a bias "
        "must have the scale of the input times that of the weights"
    )
