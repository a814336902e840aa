"""Models from ONNX files: the int8 operators that ONNX Runtime runs for them.

ONNX Runtime optimises the graph of a file: it fuses float operators between quantisations to operators on int8, such as
QLinearConv. The importer reads the result. What it leaves in float32, before the first and after the last int8
operator, the host computes by ONNX Runtime itself; between int8 operators it is refused, unless it is a function of
single values that integer arithmetic equals. ONNX stores images as (channel, y, x), the machine as (y, x, channel):
weights are transposed, and the order of values is recorded until an operator reads them.

Files are untrusted input: `reader` checks them before ONNX Runtime reads them, and the handlers check their operators.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from etchnet.host.importers.files import parse_guarded, read_file
from etchnet.host.importers.onnx import additions, pointwise, pools, products, rims, shapes, slices
from etchnet.host.importers.onnx.context import OPERATORS, Context
from etchnet.host.importers.onnx.host import fold, last_step
from etchnet.host.importers.onnx.reader import Graph, check_model, parse_model, read_graph
from etchnet.host.importers.onnx.runtime import check_installed, optimise
from etchnet.host.importers.onnx.values import HostValue, Tensor
from etchnet.host.importers.value import Value
from etchnet.host.network.model import Model, ModelError
from etchnet.host.network.steps import Dequantise

__all__ = ["HANDLER_MODULES", "OPERATORS", "load_onnx", "parse_onnx"]

HANDLER_MODULES = (additions, pointwise, pools, products, rims, shapes, slices)
"""modules that register handlers"""
_FOLDED = ("Constant", "ConstantOfShape", "Equal", "Not", "Range", "Size", "Where")
"""operators on constants, which ONNX Runtime replaces by their results"""


def load_onnx(path: Path) -> Model:
    """Read an .onnx file; raises ModelError as `read_file` does."""
    return read_file(path, parse_onnx)


def parse_onnx(data: bytes, *, name: str = "model") -> Model:
    """Parse the bytes of an .onnx file; raises ModelError as `load_onnx` does."""
    check_installed()
    return parse_guarded(name, lambda: replace(_import(_optimised(data, name)), onnx_file=data))


def _optimised(data: bytes, name: str) -> Graph:
    """Return the graph that ONNX Runtime runs for a file that has passed all checks."""
    model = parse_model(data, name)
    check_model(model, name, _check_operator)
    return read_graph(optimise(model, name), name)


def _check_operator(kind: str, where: str) -> None:
    """Refuse an operator that no handler takes, unless ONNX Runtime computes it once and for all."""
    if kind not in _FOLDED:
        OPERATORS.handler(kind, where)


def _import(graph: Graph) -> Model:
    context = Context(graph)
    for node in graph.nodes:
        operands = [context.operand(node, index) for index in range(len(node.inputs))]
        if all(item is None or isinstance(item, np.ndarray) for item in operands):
            context.items[node.outputs[0]] = fold(context, node, operands)
            continue
        made = OPERATORS.handler(node.kind, node.where)(context, node)
        context.items.update(zip(node.outputs, made if isinstance(made, list) else [made], strict=False))
    model = context.builder.finish([_output(context, name) for name in graph.outputs])
    inputs = [
        replace(port, quantisation=context.scales.get(number, port.quantisation)) if port.dtype == "int8" else port
        for number, port in enumerate(model.inputs)
    ]
    return replace(model, inputs=inputs)


def _output(context: Context, name: str) -> Value:
    """Return the value of an output of the graph, with the host's steps after its layer."""
    item = context.items.get(name)
    if isinstance(item, np.ndarray) or item is None or (isinstance(item, HostValue) and item.incoming):
        raise ModelError(f"the output {name!r} must be computed from an int8 tensor, or there is nothing to run")
    if isinstance(item, Tensor):
        if item.folded:
            raise ModelError(f"the output {name!r} must keep the batch as its first dimension")
        return replace(item.value, name=name)
    value, first = item.source.value, item.nodes[0]
    if value.node < 0:
        value = context.builder.identity(name, value, value.quantisation, scale=None)
    if len(item.nodes) == 1 and first.kind == "DequantizeLinear" and not item.axes and not item.source.folded:
        scale = context.quantisation(first, 1, "the output")
        return replace(value, name=name, quantisation=scale, steps=(Dequantise(scale),), dtype="float32")
    step, result = last_step(context, item)
    return replace(value, name=name, shape=result.shape[1:], steps=(step,), dtype=step.dtype)
