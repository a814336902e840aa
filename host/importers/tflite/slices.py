"""Operators that take parts of tensors, or put tensors side by side along a new axis."""

from __future__ import annotations

from collections.abc import Sequence

from etchnet.host.importers import moves
from etchnet.host.importers.tflite.context import Context, handles
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.tflite.shapes import concatenated, size
from etchnet.host.importers.value import Value
from etchnet.host.network.model import ModelError, Quantisation

_MOST_PARTS = 1 << 12


@handles("STRIDED_SLICE")
def strided_slice(context: Context, operator: Operator) -> None:
    """Import every n-th value between two indices along each axis; or a computation of sizes, if it is of int32."""
    if context.reader.type_name(context.reader.tensor(operator.outputs[0])) == "int32":
        size(context, operator)
        return
    context.expect_inputs(operator, 4)
    options = context.reader.options(operator, "StridedSliceOptions")
    if options.EllipsisMask() or options.NewAxisMask() or options.Offset():
        raise ModelError(
            f"{operator} must have no ellipsis mask, new axis mask or offset, which the runtime ignores, not "
            f"{options.EllipsisMask()}, {options.NewAxisMask()} and {options.Offset()}"
        )
    (whole,), missing = context.by_file_axes(operator, [context.value(operator, 0)])
    sizes = (context.batch,) * missing + whole.shape
    begins, ends, strides = (_integers(context, operator, position, len(sizes)) for position in (1, 2, 3))
    ranges = []
    for axis, (n, begin, end, stride) in enumerate(zip(sizes, begins, ends, strides, strict=True)):
        if stride < 1:
            raise ModelError(f"{operator} must have strides of at least 1, not {strides}: no layer turns an axis round")
        first = 0 if options.BeginMask() >> axis & 1 else min(max(begin + n * (begin < 0), 0), n)
        last = n if options.EndMask() >> axis & 1 else min(max(end + n * (end < 0), 0), n)
        ranges.append(range(first, first + 1 if options.ShrinkAxisMask() >> axis & 1 else last, stride))
    _set_slice(context, operator, whole, missing, ranges, 0)


@handles("SLICE")
def slice_(context: Context, operator: Operator) -> None:
    """Import a number of values from an index on, along each axis."""
    context.expect_inputs(operator, 3)
    (whole,), missing = context.by_file_axes(operator, [context.value(operator, 0)])
    sizes = (context.batch,) * missing + whole.shape
    begins, counts = (_integers(context, operator, position, len(sizes)) for position in (1, 2))
    # A count of -1 stands for all that are left.
    ends = [n if count == -1 else begin + count for n, begin, count in zip(sizes, begins, counts, strict=True)]
    _set_slice(context, operator, whole, missing, list(map(range, begins, ends)), 0)


@handles("SPLIT", "SPLIT_V")
def split(context: Context, operator: Operator) -> None:
    """Import a tensor in several parts along an axis, equal ones or (SPLIT_V) of given sizes."""
    context.expect_inputs(operator, 2 if operator.kind == "SPLIT" else 3)
    position, count = (1 if operator.kind == "SPLIT" else 0), len(operator.outputs)
    at = 0 if operator.kind == "SPLIT" else 2
    operand = operator if position == 0 else _reading(operator, position)
    source = context.value(operator, position)
    (whole,), missing = context.by_file_axes(operand, [source])
    (axis,) = _integers(context, operator, at, 1)
    axis += (len(whole.shape) + missing) * (axis < 0) - missing
    if not 0 <= axis < len(whole.shape):
        raise ModelError(f"{operator} must be along an axis of {whole.shape}, batch excluded, not axis {axis}")
    n = whole.shape[axis]
    if operator.kind == "SPLIT":
        if n % count:
            raise ModelError(f"{operator} must have parts of equal size, not {count} parts of {n}")
        parts = [n // count] * count
    else:
        parts = _integers(context, operator, 1, count)
        rest = n - sum(part for part in parts if part >= 0)
        parts = [rest if part == -1 else part for part in parts]
    if min(parts) < 1 or sum(parts) != n:
        raise ModelError(f"{operator} must have parts of {n} values along axis {axis + missing}, not {parts}")
    _set_parts(context, operator, whole, missing, axis, parts)


@handles("UNPACK")
def unpack(context: Context, operator: Operator) -> None:
    """Import a tensor as one tensor for each index along an axis."""
    context.expect_inputs(operator, 1)
    options = context.reader.options(operator, "UnpackOptions")
    (whole,), missing = context.by_file_axes(operator, [context.value(operator, 0)])
    axis = options.Axis() + (len(whole.shape) + missing) * (options.Axis() < 0) - missing
    count = len(operator.outputs)
    if not 0 <= axis < len(whole.shape) or whole.shape[axis] != count or options.Num() != count:
        raise ModelError(
            f"{operator} must have one output for each index along axis {options.Axis()} of {whole.shape}, not {count}"
        )
    _set_parts(context, operator, whole, missing, axis, [1] * count)


@handles("PACK")
def pack(context: Context, operator: Operator) -> None:
    """Import tensors side by side along a new axis; or a computation of sizes, if it is of int32."""
    if context.reader.type_name(context.reader.tensor(operator.outputs[0])) == "int32":
        size(context, operator)
        return
    options = context.reader.options(operator, "PackOptions")
    sources = [context.value(operator, position) for position in range(len(operator.inputs))]
    whole, missing = context.by_file_axes(operator, sources)
    axis = options.Axis() + (len(whole[0].shape) + missing + 1) * (options.Axis() < 0) - missing
    if not 0 <= axis <= len(whole[0].shape) or len({value.shape for value in whole}) != 1:
        raise ModelError(f"{operator} must be of equal shapes, along an axis from {missing} on, not {options.Axis()}")
    shape = (*whole[0].shape[:axis], 1, *whole[0].shape[axis:])
    wider = [context.builder.reshape(str(operator), value, shape) for value in whole]
    context.set_reshaped(operator, concatenated(context, operator, wider, axis))


def _reading(operator: Operator, position: int) -> Operator:
    """Return an operator whose first input is the one at a position."""
    return Operator(operator.kind, operator.index, operator.inputs[position:], operator.outputs, operator.table)


def _integers(context: Context, operator: Operator, position: int, count: int) -> list[int]:
    """Return the values of a constant int32 or int64 operand."""
    tensor, what = context.reader.tensor(operator.inputs[position]), f"{operator}: input {position}"
    context.reader.check_type(what, tensor, "int32", "int64")
    dtype = "<i8" if context.reader.type_name(tensor) == "int64" else "<i4"
    return [int(n) for n in context.reader.constant(what, tensor, dtype, (count,))]


def _set_parts(
    context: Context, operator: Operator, whole: Value, missing: int, axis: int, parts: Sequence[int]
) -> None:
    """Record the outputs of an operator, which follow each other along an axis."""
    if len(parts) > _MOST_PARTS:
        raise ModelError(f"{operator} must have at most {_MOST_PARTS} outputs, not {len(parts)}")
    first = 0
    for position, part in enumerate(parts):
        ranges = [range(n) for n in (context.batch,) * missing + whole.shape]
        ranges[axis + missing] = range(first, first + part)
        first += part
        _set_slice(context, operator, whole, missing, ranges, position)


def _set_slice(
    context: Context, operator: Operator, whole: Value, missing: int, ranges: Sequence[range], position: int
) -> None:
    """Record an output of an operator: the values in `ranges`, one for each axis, of a value."""
    sizes = (context.batch,) * missing + whole.shape
    if any(r.start < 0 or r.stop > n or not r for r, n in zip(ranges, sizes, strict=True)):
        spans = ", ".join(f"{r.start} to {r.stop - 1}" for r in ranges)
        raise ModelError(f"{operator} must take values inside shape {sizes}, not {spans}")
    if missing and ranges[0] != range(context.batch):
        raise ModelError(f"{operator} must keep the batch of {context.batch}, not take {len(ranges[0])} of it")
    _, out = context.output(operator, position)
    kept = ranges[missing:]
    context.set_reshaped(operator, sliced(context, operator, whole, kept, out, position), position)


def sliced(
    context: Context, operator: Operator, whole: Value, ranges: Sequence[range], out: Quantisation, position: int
) -> Value:
    """Return the values in `ranges` along each axis; the stored values do not change."""
    cut = [axis for axis, n in enumerate(whole.shape) if len(ranges[axis]) != n]
    if not cut:
        return Value(whole.name, whole.node, whole.shape, out, whole.order)
    where, parts = str(operator), {axis: ranges[axis] for axis in cut}
    view = context.builder.view(where, [whole], cut)
    return moves.sliced(context.builder, where, view, parts, out, name=context.label(operator, position))
