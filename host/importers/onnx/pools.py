"""Pools: the largest or the average value of each window."""

from __future__ import annotations

import math

import numpy as np

from etchnet.host.importers.onnx.context import Context, handles
from etchnet.host.importers.onnx.fit import Fit, fit_map
from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.onnx.values import (
    Dequantised,
    Item,
    Pending,
    Tensor,
    nearby_zero_points,
    quantisation_text,
)
from etchnet.host.importers.onnx.windows import ceil_mode_padding, window
from etchnet.host.importers.value import make_layer
from etchnet.host.network.layers import Depthwise, MaxPool
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.sim.arithmetic.contracts import quantise_float
from etchnet.sim.arithmetic.onnx_ops import average_bounds, global_average_scale

_MOST_TAPS = 64


@handles("MaxPool")
def max_pool(context: Context, node: Node) -> Item:
    """Import a max pool, of an int8 or a dequantised tensor."""
    return context.change_shape(node, lambda tensor: _max_pool(context, node, tensor))


def _max_pool(context: Context, node: Node, tensor: Tensor) -> Tensor:
    """Add a max pool; scale and zero point do not change."""
    context.check_on_machine(node.where, tensor)
    if node.integer("storage_order", 0) not in (0, 1):
        raise ModelError(f"{node.where}: storage_order must be 0 or 1")
    value = context.as_image(node.where, tensor)
    size = context.builder.geometry(value)[3 - len(tensor.shape) : 2]
    kernel = node.integers("kernel_shape", None, len(size))
    stride, _, padding = window(node, size, kernel)
    if node.integer("ceil_mode", 0):
        padding = [ceil_mode_padding(*axis) for axis in zip(size, kernel, stride, padding, strict=True)]
    ones = 2 - len(size)
    layer = make_layer(
        node.where, MaxPool, (*(1,) * ones, *kernel), (*(1,) * ones, *stride), (*((0, 0),) * ones, *padding)
    )
    result = context.add(node.where, layer, [value], tensor.value.quantisation, node.label)
    image = context.builder.geometry(result)
    return Tensor(result, (image[2], *image[2 - len(size) : 2]), raw=tensor.raw)


@handles("AveragePool", "GlobalAveragePool")
def average_pool(context: Context, node: Node) -> Item:
    """Import a float average of a dequantised tensor."""
    source = context.dequantised(node, 0)
    return Pending(node.where, lambda out: _average(context, node, source, out))


@handles("QLinearAveragePool", "QLinearGlobalAveragePool")
def qlinear_average_pool(context: Context, node: Node) -> Item:
    """Import an average of an int8 tensor."""
    into, out = context.quantisation(node, 1, "the input"), context.quantisation(node, 3, "the result")
    if node.integer("channels_last", 0):
        raise ModelError(f"{node.where}: channels_last must be 0")
    return _average(context, node, Dequantised(context.read(node, 0, into), into), out)


def _average(context: Context, node: Node, source: Dequantised, out: Quantisation) -> Tensor:
    """Add a depthwise layer of equal weights."""
    where, tensor, into = node.where, source.tensor, source.quantisation
    value = context.as_image(where, tensor)
    height, width, channels = context.builder.geometry(value)
    size = [height, width][3 - len(tensor.shape) :]
    if "Global" in node.kind:
        kernel, stride, padding = size, [1] * len(size), [(0, 0)] * len(size)
    else:
        kernel = node.integers("kernel_shape", None, len(size))
        stride, _, padding = window(node, size, kernel)
        ceiling = [ceil_mode_padding(*axis) for axis in zip(size, kernel, stride, padding, strict=True)]
        if node.integer("ceil_mode", 0) and ceiling != padding:
            raise ModelError(f"{where}: ceil_mode must be 0, because it adds windows that reach outside the image")
        if any(any(sides) for sides in padding) and not node.integer("count_include_pad", 0):
            raise ModelError(f"{where}: count_include_pad = 0 with padding is not supported: it must be 1")
        if any(max(sides) >= n for sides, n in zip(padding, kernel, strict=True)):
            raise ModelError(f"{where}: pads must be smaller than the window {kernel}, not {padding}")
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
            f"{where} from {quantisation_text(into)} to {quantisation_text(out)}: ONNX Runtime's float32 sums over "
            f"{taps} values meet rounding ties that depend on their order, which no integer arithmetic reproduces"
        )
    ones = 2 - len(size)
    multiplier, shift = quantise_float(float(fit.factor))
    context.builder.check_size(f"{where}: the window", (*kernel, channels))
    layer = make_layer(
        where,
        Depthwise,
        np.full((*(1,) * ones, *kernel, channels, 1), fit.weight, np.int8),
        fit.bias,
        multiplier,
        shift,
        into.zero_point,
        fit.zero_point,
        stride=(*(1,) * ones, *stride),
        padding=(*((0, 0),) * ones, *padding),
    )
    result = context.add(where, layer, [value], out, node.label)
    image = context.builder.geometry(result)
    return Tensor(result, (image[2], *image[2 - len(size) : 2]))


def _fit_average(where: str, taps: int, into: Quantisation, out: Quantisation) -> Fit | None:
    """Return a `Fit` for the sums of windows, or None if a result depends on the order of its sum."""
    if taps > _MOST_TAPS:
        raise ModelError(
            f"{where}: windows must have at most {_MOST_TAPS} pixels, not {taps}, except over the whole image"
        )
    scales, zeros = (into.scale, out.scale), (into.zero_point, out.zero_point)
    least, most = average_bounds(taps, taps, scales, zeros)
    if not np.array_equal(least, most):
        return None
    sums = np.arange(-128 * taps, 127 * taps + 1) - taps * into.zero_point
    ratio = float(global_average_scale(into.scale, out.scale, taps))
    first = Fit(1, 0, np.float32(ratio), out.zero_point)
    return fit_map(sums, least, ratio, out.zero_point, nearby_zero_points(out.zero_point), first=first)
