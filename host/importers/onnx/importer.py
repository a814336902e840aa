"""Models from ONNX files: int8, in both formats that ONNX Runtime's quantiser writes.

The QOperator format has operators on int8, such as QLinearConv. The equivalent QDQ format has float operators between
DequantizeLinear and QuantizeLinear: the result of a float operator is pending until a QuantizeLinear gives its scale
and zero point. ONNX stores images as (channel, y, x), the machine as (y, x, channel): weights are transposed, and the
order of a flattened image is recorded until a matrix product reads it.

Files are untrusted input: `reader` checks their structure, and the handlers check their operators.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from etchnet.host.importers.files import parse_guarded, read_file
from etchnet.host.importers.onnx import additions, host, pools, products, quantise, shapes
from etchnet.host.importers.onnx.context import OPERATORS, Context
from etchnet.host.importers.onnx.reader import Graph, read_graph
from etchnet.host.importers.onnx.values import Dequantised, FloatInput, Pending, Tensor, same_order
from etchnet.host.network.layers import Shape
from etchnet.host.network.model import Model, ModelError, Quantisation
from etchnet.host.network.order import UNCHANGED, AxisOrder
from etchnet.host.network.steps import Dequantise, Quantise

__all__ = ["HANDLER_MODULES", "OPERATORS", "load_onnx", "parse_onnx"]

HANDLER_MODULES = (additions, host, pools, products, quantise, shapes)
"""modules that register handlers"""


def load_onnx(path: Path) -> Model:
    """Read an .onnx file; raises ModelError as `read_file` does."""
    return read_file(path, parse_onnx)


def parse_onnx(data: bytes, *, name: str = "model") -> Model:
    """Parse the bytes of an .onnx file; raises ModelError as `load_onnx` does."""
    return parse_guarded(name, lambda: replace(_import(read_graph(data, name)), onnx_file=data))


def _import(graph: Graph) -> Model:
    context = Context(graph)
    context.items[graph.input] = context.input if graph.input_type == "int8" else FloatInput()
    for node in graph.nodes:
        handler = OPERATORS.handler(node.kind, node.where)
        if not node.outputs or any(node.outputs[1:]):
            raise ModelError(f"{node.where} must have one output, not {list(node.outputs)}")
        context.items[node.outputs[0]] = handler(context, node)
    result = context.items.get(graph.output)
    tensor = _output(context)
    model = context.builder.finish([tensor.value])
    # A model that has only pools and pads on int8 has no scales: use scale 1 and zero point 0.
    into = context.input_quantisation or Quantisation(1.0, 0, True)
    ordered = tensor.channels_last or same_order(context.image(tensor)) or bool(tensor.value.steps)
    first = not context.channels_last and not same_order(context.image(context.input))
    before = replace(
        model.inputs[0],
        shape=graph.input_shape,
        quantisation=into,
        dtype=graph.input_type,
        order=_channels_first(context.image(context.input)) if first else UNCHANGED,
        steps=(Quantise(into),) if graph.input_type == "float32" else (),
    )
    after = replace(
        model.outputs[0],
        name=graph.output,
        shape=tensor.shape,
        order=UNCHANGED if ordered else _channels_first(context.image(tensor)),
    )
    out = into if tensor.raw else after.quantisation
    after = replace(after, quantisation=out)
    if isinstance(result, Dequantised):
        after = replace(after, dtype="float32", steps=(*after.steps, Dequantise(out)))
    return replace(model, inputs=[before], outputs=[after])


def _channels_first(image: Shape) -> AxisOrder:
    """Return the order of an image (height, width, channels) whose file has (channel, y, x)."""
    return AxisOrder.of((image[2], *image[:2]), (1, 2, 0))


def _output(context: Context) -> Tensor:
    """Return the int8 tensor that is the graph's output, or from which the output is dequantised."""
    name = context.graph.output
    result = context.items.get(name)
    if isinstance(result, Dequantised) and not result.clamped:
        value = replace(result.tensor.value, quantisation=result.quantisation)
        return replace(result.tensor, value=value)
    if isinstance(result, Tensor):
        return result
    if isinstance(result, Pending):
        raise ModelError(f"{result.where} computes the output {name!r}, which must come from a QuantizeLinear")
    raise ModelError(f"the output {name!r} must be the int8 or dequantised result of an operator")
