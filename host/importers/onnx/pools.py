"""Pools: the largest or the average value of each window."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.fit import Fit, encode, fit_map
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.shapes import reduced_axes
from etchnet.host.importers.onnx.values import Item, Tensor, nearby_zero_points
from etchnet.host.importers.onnx.windows import ceil_mode_padding, window
from etchnet.host.importers.value import make_layer
from etchnet.host.network.layers import Depthwise, MaxPool
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.sim.arithmetic.onnx_ops import average_bounds, global_average_scale

_MOST_TAPS = 64
_LARGEST_RATIO = 1 << 16


@handles("MaxPool", "NhwcMaxPool")
def max_pool(context: Context, node: Node) -> Item:
    """Import a max pool."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise ModelError(f"{node.where} must have one output, not the indices as well")

    def change(tensor: Tensor) -> Tensor:
        if node.kind == "MaxPool":
            return _max_pool(context, node, tensor)
        # ONNX Runtime has moved a transposition past it: its images are (N, y, x, channel).
        last = len(tensor.value.shape) - 1
        turned = context.builder.transpose(node.where, tensor.value, (last, *range(last)))
        pooled = _max_pool(context, node, Tensor(turned))
        return Tensor(context.builder.transpose(node.where, pooled.value, (*range(1, last + 1), 0)))

    return context.move(node, change, ordered=True)


def _max_pool(context: Context, node: Node, tensor: Tensor) -> Tensor:
    """Add a max pool; scale and zero point do not change."""
    value = context.image(node.where, tensor)
    size = value.shape[1:]
    kernel = node.integers("kernel_shape", None, len(size))
    stride, _, padding = window(node, size, kernel)
    if node.integer("ceil_mode", 0):
        padding = [ceil_mode_padding(*axis) for axis in zip(size, kernel, stride, padding, strict=True)]
    ones = 2 - len(size)
    layer = make_layer(
        node.where, MaxPool, (*(1,) * ones, *kernel), (*(1,) * ones, *stride), (*((0, 0),) * ones, *padding)
    )
    return context.add_image(node, layer, value, value.quantisation)


@handles("ReduceMax")
def reduce_max(context: Context, node: Node) -> Item:
    """Import the largest value of each channel."""
    return context.move(node, lambda tensor: _reduce_max(context, node, tensor), ordered=True)


def _reduce_max(context: Context, node: Node, tensor: Tensor) -> Tensor:
    axes = reduced_axes(context, node, len(tensor.shape))
    if axes != list(range(2, len(tensor.shape))):
        raise ModelError(f"{node.where} must be over all axes but the batch and the channels, not {axes}")
    value = context.image(node.where, tensor)
    window = (1, *value.shape[1:])[-2:]
    reduced = context.add_image(node, make_layer(node.where, MaxPool, window), value, value.quantisation)
    return reduced if node.integer("keepdims", 1) else reduced.reshaped(reduced.shape[:2])


@handles("QLinearAveragePool", "QLinearGlobalAveragePool")
def qlinear_average_pool(context: Context, node: Node) -> Item:
    """Import an average, as a depthwise layer of equal weights."""
    into, out = context.quantisation(node, 1, "the input"), context.quantisation(node, 3, "the result")
    where, tensor = node.where, context.read(node, 0, into)
    if node.integer("channels_last", 0):
        raise ModelError(f"{where}: channels_last must be 0")
    value = context.image(where, tensor)
    channels, *size = value.shape
    if "Global" in node.kind:
        kernel, stride, padding = size, [1] * len(size), [(0, 0)] * len(size)
    else:
        kernel, stride, padding = _average_window(node, size)
    taps = math.prod(kernel)
    if list(kernel) == size and not any(any(sides) for sides in padding):
        factor = global_average_scale(into.scale, out.scale, taps)
        if not 2.0**-32 <= factor < 256:
            raise ModelError(f"{where}: the scale must be in ONNX Runtime's range, from 2**-32 to 256, not {factor}")
        fit: Fit | None = Fit(1, 0, factor, out.zero_point)
    else:
        context.count_search(where)
        fit = _fit_average(where, taps, into, out)
    if fit is None:
        raise ModelError(
            f"{where} from {into} to {out}: ONNX Runtime's float32 sums over "
            f"{taps} values meet rounding ties that depend on their order, which no integer arithmetic reproduces"
        )
    ones = 2 - len(size)
    multiplier, shift = encode(where, fit.factor)
    context.builder.check_size(f"{where}: the window", (*kernel, channels))
    layer = make_layer(
        where,
        Depthwise,
        np.full((*(1,) * ones, *kernel, channels, 1), fit.weight, np.int8),
        fit.bias,
        multiplier[0],
        shift[0],
        into.zero_point,
        fit.zero_point,
        stride=(*(1,) * ones, *stride),
        padding=(*((0, 0),) * ones, *padding),
    )
    return context.add_image(node, layer, value, out)


def _average_window(node: Node, size: Sequence[int]) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Return window, stride and padding of an average; windows that count fewer pixels than others are refused."""
    where, kernel = node.where, node.integers("kernel_shape", None, len(size))
    stride, _, padding = window(node, size, kernel)
    ceiling = [ceil_mode_padding(*axis) for axis in zip(size, kernel, stride, padding, strict=True)]
    if node.integer("ceil_mode", 0) and ceiling != padding:
        raise ModelError(f"{where}: ceil_mode must be 0, because it adds windows that reach outside the image")
    if any(any(sides) for sides in padding) and not node.integer("count_include_pad", 0):
        raise ModelError(f"{where}: count_include_pad = 0 with padding is not supported: it must be 1")
    if any(max(sides) >= n for sides, n in zip(padding, kernel, strict=True)):
        raise ModelError(f"{where}: pads must be smaller than the window {kernel}, not {padding}")
    return kernel, stride, padding


def _fit_average(where: str, taps: int, into: Quantisation, out: Quantisation) -> Fit | None:
    """Return a `Fit` for the sums of windows, or None if a result depends on the order of its sum."""
    if taps > _MOST_TAPS:
        raise ModelError(
            f"{where}: windows must have at most {_MOST_TAPS} pixels, not {taps}, except over the whole image"
        )
    scales, zeros = (into.scale, out.scale), (into.zero_point, out.zero_point)
    if not into.scale / out.scale < _LARGEST_RATIO:
        raise ModelError(
            f"{where} from {into} to {out}: the quotient of scales must be below "
            f"{_LARGEST_RATIO}, or results leave the integers of ONNX Runtime"
        )
    least, most = average_bounds(taps, taps, scales, zeros)
    if not np.array_equal(least, most):
        return None
    sums = np.arange(-128 * taps, 127 * taps + 1) - taps * into.zero_point
    ratio = float(global_average_scale(into.scale, out.scale, taps))
    first = Fit(1, 0, np.float32(ratio), out.zero_point)
    return fit_map(sums, least, [(ratio, out.zero_point)], nearby_zero_points(out.zero_point), first=first)
