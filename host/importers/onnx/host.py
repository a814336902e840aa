"""Computations on the host: steps before the first and after the last layer, tables, and constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.importers.onnx.context import ORDERED, Context
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.runtime import SOURCE, OnnxStep, run, submodel
from etchnet.host.importers.onnx.values import HostValue, Item, Tensor
from etchnet.host.network.model import InputStep, ModelError, Quantisation
from etchnet.host.network.steps import Quantise

__all__ = ["enter", "fold", "last_step", "quantised", "table"]

_MOST_FOLDED = 1 << 27
_MOST_PROBES = 1 << 24
_MOVES = {"MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Slice", "Split", "Pad"}
"""operators that move values"""


def enter(context: Context, node: Node, host: HostValue, out: Quantisation | None) -> Tensor:
    """Return the int8 tensor that the host makes of an input of the model before the first layer."""
    if host.ordered and not {n.kind for n in host.nodes} <= {*ORDERED, "QuantizeLinear"}:
        raise ModelError(f"{node.where}: before it are a pool and operators that may change the order of values")
    assert host.entrance is not None
    port, first = context.graph.inputs[host.entrance], host.nodes[0]
    kinds = tuple(n.kind for n in host.nodes)
    step: InputStep
    given = Quantisation(1.0, 0, True, "int8" if port.dtype == "float32" else port.dtype)
    if port.dtype == "float32":
        given = out or given
    elif first.kind == "DequantizeLinear" and not host.axes:
        scale, *zero = (context.constants[name] for name in first.inputs[1:])
        given = replace(given, scale=float(scale.flat[0]), zero_point=int(zero[0].flat[0]) if zero else 0)
    if kinds == ("QuantizeLinear",) and out is not None and not host.axes and port.dtype == "float32":
        step = Quantise(out)
    else:
        step = OnnxStep(_submodel(context, host), (1, *port.shape), kinds, "int8")
        if port.dtype == "float32":
            given = _quantisation_of(step, math.prod(port.shape)) or given
    context.builder.prepare_input(node.where, context.entrances[host.entrance], given, step)
    return host.source


def _quantisation_of(step: OnnxStep, count: int) -> Quantisation | None:
    """Return the scale and zero point that a step amounts to, for most of its `count` values; None if it falls."""
    low, high = (float(np.median(step.inverse(np.full((1, count), code)))) for code in (-127, 127))
    scale = (high - low) / 254
    return Quantisation(scale, round(-127 - low / scale), True) if scale > 0 else None


def quantised(context: Context, node: Node, output: str, number: np.ndarray) -> int:
    """Return the int8 value that operators before the first layer make of a number, from the result of a node on.

    All of them must be functions of single values, of which one is a quantisation, or move values.
    """
    readers = [reader for reader in context.graph.nodes if output in reader.inputs]
    for reader in readers:
        if reader.kind in _MOVES:
            return quantised(context, node, reader.outputs[0], number)
        others = [name for name in reader.inputs if name and name != output]
        if not all(name in context.items or name in context.graph.constants for name in others):
            break
        operands = [number if name == output else context.operand(reader, n) for n, name in enumerate(reader.inputs)]
        if not all(operand is None or isinstance(operand, np.ndarray) for operand in operands):
            break
        names = [f"input_{n}" if name else "" for n, name in enumerate(reader.inputs)]
        made = fold(context, replace(reader, inputs=names), operands)
        if made.size != 1:
            break
        return int(made.flat[0]) if made.dtype == np.int8 else quantised(context, node, reader.outputs[0], made)
    raise ModelError(f"{node.where} must come after the first quantisation, or right before it")


def last_step(context: Context, host: HostValue) -> tuple[OnnxStep, np.ndarray]:
    """Return the step that computes a value after the last layer, and a result of it."""
    kinds = tuple(node.kind for node in host.nodes)
    # Only a Reshape can name the batch of the file.
    batch = context.graph.batch if "Reshape" in kinds else None
    step = OnnxStep(_submodel(context, host), host.source.shape, kinds, host.dtype, batch)
    count = math.prod(host.source.shape)
    values = np.random.default_rng(0).integers(-128, 128, (2 * (batch or 1), count)).astype(host.source_type)
    both, (first, second) = step.shaped(values), np.split(values, 2)
    if not np.array_equal(both, np.concatenate([step.shaped(first), step.shaped(second)]), equal_nan=True):
        raise ModelError(f"{host.nodes[-1].where} must keep images apart: its result for one depends on others")
    return replace(step, dtype=str(both.dtype)), both


def table(context: Context, node: Node, host: HostValue) -> np.ndarray:
    """Return the result of every int8 value, (groups, 256); groups are the indices along the axes of a value."""
    shape = host.source.shape
    groups = math.prod(shape[axis] for axis in host.axes)
    images = ceil_div(256 * groups, math.prod(shape))
    if images * math.prod(shape) > _MOST_PROBES:
        raise ModelError(f"{node.where}: a function of single values must be of at most {_MOST_PROBES // 256} of them")
    # The axes along which the function differs come first; along the others, all values follow one another.
    whole = (images, *shape)
    first = sorted(axis + 1 for axis in host.axes)
    order = [*first, *(axis for axis in range(len(whole)) if axis not in first)]
    values = np.arange(images * math.prod(shape) // groups) % 256
    probe = np.broadcast_to(values - 128, (groups, len(values))).astype(np.int8)
    probe = probe.reshape([whole[axis] for axis in order]).transpose(np.argsort(order))
    rows = np.ascontiguousarray(probe).reshape(-1, *shape[1:])
    result = run(node.where, _submodel(context, host), {SOURCE: rows})
    if result.shape != rows.shape:
        raise ModelError(f"{node.where} must keep the shape ({', '.join(map(str, rows.shape))}), not {result.shape}")
    results = result.reshape(whole).transpose(order).reshape(groups, -1)
    alone = results
    if math.prod(shape) == 1:
        # ONNX Runtime may compute a tensor of one value by another formula.
        parts = [run(node.where, _submodel(context, host), {SOURCE: row[None]}) for row in rows]
        alone = np.concatenate(parts).reshape(results.shape)
    if (results != results[:, values]).any() or (results != alone).any():
        raise ModelError(f"{node.where}: results of ONNX Runtime depend on the places of values, not on values alone")
    return results[:, :256]


def fold(context: Context, node: Node, operands: Sequence[Item | None]) -> np.ndarray:
    """Compute a node all of whose inputs are constant."""
    used = {name: item for name, item in zip(node.inputs, operands, strict=True) if isinstance(item, np.ndarray)}
    result = run(node.where, submodel(context.graph, [node], node.outputs[0], used, "int8", 1), {})
    if result.size > _MOST_FOLDED:
        raise ModelError(f"{node.where} must have at most {_MOST_FOLDED} values, not shape {result.shape}")
    return result


def _submodel(context: Context, host: HostValue) -> bytes:
    """Return the model of the operators of a value, which ONNX Runtime can run."""
    names = {name for node in host.nodes for name in node.inputs}
    used = {name: value for name, value in context.constants.items() if name in names}
    shape = host.source.value.shape if host.entrance is None else context.graph.inputs[host.entrance].shape
    rank = len(shape) + (not host.source.folded)
    return submodel(context.graph, host.nodes, host.name, used, host.source_type, rank)
