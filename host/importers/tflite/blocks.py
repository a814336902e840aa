"""SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND, which converters write around a convolution to dilate it."""

from __future__ import annotations

import math

from etchnet.host.importers.graph import LARGEST_STEP
from etchnet.host.importers.tflite.context import Blocks, Context, handles
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.tflite.shapes import padded
from etchnet.host.importers.tflite.slices import sliced
from etchnet.host.network.model import ModelError

_PAD = 0
"""stored value of the border, whatever the zero point: the runtime's border is memory of a new process"""


def _settings(context: Context, operator: Operator, count: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Return the block (y, x) and the (before, after) pixels along both axes; one of `count` = 1 is the width."""
    context.expect_inputs(operator, 3)
    reader, what = context.reader, (f"{operator}: the block", f"{operator}: the border")
    block, border = (reader.tensor(index) for index in operator.inputs[1:])
    for name, tensor in zip(what, (block, border), strict=True):
        reader.check_type(name, tensor, "int32")
    sizes = [int(n) for n in reader.constant(what[0], block, "<i4", (count,))]
    sides = [(int(a), int(b)) for a, b in reader.constant(what[1], border, "<i4", (count, 2))]
    if not all(1 <= n <= LARGEST_STEP for n in sizes) or not all(0 <= n <= LARGEST_STEP for s in sides for n in s):
        raise ModelError(
            f"{operator} must have a block of 1 to {LARGEST_STEP} and a border of 0 to {LARGEST_STEP}, "
            f"not {sizes} and {sides}"
        )
    height, width = (1, *sizes)[-2:]
    return (height, width), [(0, 0), *sides][-2:]


@handles("SPACE_TO_BATCH_ND")
def space_to_batch(context: Context, operator: Operator) -> None:
    """Import a cut into interleaved images: the image stays whole, and the convolution after it is dilated."""
    reader, source = context.reader, context.value(operator, 0)
    result = reader.tensor(operator.outputs[0])
    out = reader.activation(f"{operator}: the result", result)
    image = context.builder.image(str(operator), source)
    if len(source.shape) not in (2, 3):
        raise ModelError(f"{operator} must read an image or lines, batch included of 3 or 4 axes, not {source.shape}")
    block, border = _settings(context, operator, len(source.shape) - 1)
    whole = context.builder.reshape(str(operator), source, image)
    whole = padded(context, operator, whole, [*border, (0, 0)], _PAD, out)
    if any(n % b for n, b in zip(whole.shape, block, strict=False)):
        raise ModelError(
            f"{operator} must have blocks {block} that divide the image, {whole.shape[:2]} with its border"
        )
    sizes = context.batch * math.prod(block), whole.shape[0] // block[0], whole.shape[1] // block[1], whole.shape[2]
    if result.shape != sizes and (len(source.shape) == 3 or result.shape != (sizes[0], *sizes[2:])):
        raise ModelError(f"{operator}: the result must have shape {sizes}, not {result.shape} as in the file")
    context.blocks[result.index] = Blocks(whole, block)


@handles("BATCH_TO_SPACE_ND")
def batch_to_space(context: Context, operator: Operator) -> None:
    """Import the inverse of SPACE_TO_BATCH_ND: the result of the dilated convolution, without a border."""
    tensor = context.reader.tensor(operator.inputs[0])
    if tensor.index not in context.blocks:
        raise ModelError(f"{operator} must read what a convolution makes of the result of SPACE_TO_BATCH_ND")
    found, (_, out) = context.blocks[tensor.index], context.output(operator)
    block, border = _settings(context, operator, len(tensor.shape) - 2)
    if block != found.block:
        raise ModelError(f"{operator} must have the block of its SPACE_TO_BATCH_ND, {found.block}, not {block}")
    height, width, channels = found.value.shape
    (top, bottom), (left, right) = border
    if top + bottom >= height or left + right >= width:
        raise ModelError(f"{operator} must leave pixels of {height} x {width}, not cut {border}")
    ranges = [range(top, height - bottom), range(left, width - right), range(channels)]
    context.set_reshaped(operator, sliced(context, operator, found.value, ranges, out, 0))
