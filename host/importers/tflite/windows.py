"""Windows of convolutions and pools: stride, dilation and padding from the options of an operator."""

from __future__ import annotations

from typing import Any

from etchnet.host.importers.graph import LARGEST_STEP
from etchnet.host.importers.tflite.context import Context
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.importers.value import Value
from etchnet.host.network.layers import Padding, same_padding
from etchnet.host.network.model import ModelError


def window_settings(
    context: Context,
    operator: Operator,
    source: Value,
    kernel: tuple[int, ...],
    options: Any,
    *,
    dilated: bool,
    block: tuple[int, int] = (1, 1),
) -> dict[str, Any]:
    """Return the stride, dilation (if `dilated`) and padding of a window, as settings of a layer.

    The window slides over `block` (y, x) interleaved images, of which `source` consists; so its settings for the whole
    image are larger.
    """
    if len(source.shape) != 3:
        shape = (context.batch, *source.shape)
        raise ModelError(f"{operator} must have an image of 4 dimensions, batch included, not shape {shape}")
    stride = options.StrideH(), options.StrideW()
    dilation = (options.DilationHFactor(), options.DilationWFactor()) if dilated else (1, 1)
    for what, pair in (("stride", stride), ("dilation", dilation), ("window", kernel)):
        if not all(1 <= n <= LARGEST_STEP for n in pair):
            raise ModelError(f"{operator}: the {what} must be from 1 to {LARGEST_STEP}, not {tuple(pair)}")
    if block != (1, 1) and stride != (1, 1):
        raise ModelError(f"{operator}: the stride must be 1 after SPACE_TO_BATCH_ND, not {stride}")
    mode = options.Padding()
    if mode not in (context.reader.tflite.Padding.SAME, context.reader.tflite.Padding.VALID):
        raise ModelError(f"{operator}: padding must be SAME or VALID, not {mode}")
    padding: Padding = ((0, 0), (0, 0))
    if mode == context.reader.tflite.Padding.SAME:
        ends = []
        for axis, size in enumerate(block):
            before, after = same_padding(source.shape[axis] // size, kernel[axis], stride[axis], dilation[axis])
            ends.append((before * size, after * size))
        padding = ends[0], ends[1]
    window = {"stride": stride, "padding": padding}
    whole = dilation[0] * block[0], dilation[1] * block[1]
    return window | ({"dilation": whole} if dilated else {})
