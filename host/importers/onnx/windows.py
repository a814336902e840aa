"""Windows of convolutions and pools: strides, dilations and padding from the attributes of a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.importers.graph import LARGEST_STEP
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.network.layers import same_padding
from etchnet.host.network.model import ModelError


def window(node: Node, size: Sequence[int], kernel: Sequence[int], *, dilations: bool = False) -> tuple[Any, Any, Any]:
    """Return strides, dilations and padding (before, after), one per axis of an image or line of size `size`."""
    where, rank = node.where, len(size)
    stride, dilation = node.integers("strides", [1] * rank, rank), node.integers("dilations", [1] * rank, rank)
    if any(not 1 <= n <= LARGEST_STEP for n in (*kernel, *stride, *dilation)):
        raise ModelError(
            f"{where}: windows, strides and dilations must be from 1 to {LARGEST_STEP}, not "
            f"{list(kernel)}, {stride} and {dilation}"
        )
    if not dilations and any(n != 1 for n in dilation):
        raise ModelError(f"{where}: dilations must be 1, not {dilation}")
    pads = node.integers("pads", [0] * 2 * rank, 2 * rank)
    auto = node.text("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ModelError(f"{where}: auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, not {auto}")
    if any(not 0 <= n <= LARGEST_STEP for n in pads) or (auto != "NOTSET" and any(pads)):
        raise ModelError(f"{where}: pads must be from 0 to {LARGEST_STEP}, and 0 with auto_pad, not {pads} with {auto}")
    if auto in ("NOTSET", "VALID"):
        return stride, dilation, list(zip(pads[:rank], pads[rank:], strict=True))
    if any(n != 1 for n in dilation):
        raise ModelError(f"{where}: dilations must be 1 with auto_pad {auto}, not {dilation}")
    sides = [same_padding(*axis) for axis in zip(size, kernel, stride, strict=True)]
    return stride, dilation, sides if auto == "SAME_UPPER" else [(after, before) for before, after in sides]


def ceil_mode_padding(size: int, kernel: int, stride: int, padding: tuple[int, int]) -> tuple[int, int]:
    """Return the padding with which all windows of ceil_mode fit; windows that begin after the image do not count."""
    padded = size + sum(padding)
    count = ceil_div(max(padded - kernel, 0), stride) + 1
    if (count - 1) * stride >= size + padding[0]:
        count -= 1
    return padding[0], padding[1] + max(0, (count - 1) * stride + kernel - padded)
