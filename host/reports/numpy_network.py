"""Networks computed by numpy on this CPU, as a speed reference for the chip."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

import numpy as np

from etchnet.host.network.layers import (
    Add,
    AddConstant,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Layer,
    Linear,
    MaxPool,
    Pad,
    Padding,
    Pool,
    Reshape,
    Scaling,
    Slice,
)
from etchnet.host.network.network import INPUT, Network
from etchnet.sim.engines.link import Disagreement

__all__ = ["NumpyNetwork", "Step", "numpy_step"]

Step = Callable[..., np.ndarray]
"""function from the float32 images (N, H, W, C) that a layer reads to the image that it computes"""


class NumpyNetwork:
    """Network computed with float32 matrix products of BLAS, whose results are scaled, rounded and clamped.

    Convolutions become matrix products of their windows (im2col). Sums of int8 products below 2**24 are exact in
    float32. Scaling rounds once, half to even, under every contract, so some results differ from the reference by one.
    """

    def __init__(self, network: Network) -> None:
        self._network, self._sources = network, network.sources
        self._steps = [numpy_step(layer) for layer in network.layers]
        last = {source: index for index, sources in enumerate(network.sources) for source in sources}
        self._dead = [
            [s for s in set(sources) if last[s] == i and s not in network.outputs]
            for i, sources in enumerate(network.sources)
        ]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute int8 or int32 results (M, output_size) from int8 inputs (M, input_size)."""
        network = self._network
        tensors = {INPUT - k: part.astype(np.float32) for k, part in enumerate(network.split_inputs(x))}
        for index, (step, sources) in enumerate(zip(self._steps, self._sources, strict=True)):
            tensors[index] = step(*(tensors[source] for source in sources))
            for source in self._dead[index]:
                del tensors[source]
        return network.join_outputs([_typed(tensors[i], wide=network.layers[i].wide) for i in network.outputs])

    def check(self, network: Network, x: np.ndarray) -> None:
        """Compare every layer with the same layer of `network`, on the reference's inputs; results may differ by one.

        Each layer is checked separately because differences of one grow from layer to layer.

        Raises
        ------
        Disagreement
            A result differs by more than one, or an int32 result by more than one and one part in 2**20.
        """
        wanted = {INPUT - k: part for k, part in enumerate(network.split_inputs(x))}
        wanted |= dict(enumerate(network.tensors(x)))
        for index, (step, sources) in enumerate(zip(self._steps, self._sources, strict=True)):
            exact = wanted[index].astype(np.float64)
            off = np.abs(step(*(wanted[source].astype(np.float32) for source in sources)) - exact)
            if (off > 1 + np.abs(exact) * 2.0**-20).any():
                raise Disagreement(
                    f"float32 results of numpy differ from the reference in layer {index} by {off.max():g}"
                )


def _typed(result: np.ndarray, *, wide: bool) -> np.ndarray:
    """Return a float32 result as int32 if it is `wide`, else as int8."""
    if not wide:
        return result.astype(np.int8)
    return np.clip(result.astype(np.float64), -(1 << 31), (1 << 31) - 1).astype(np.int32)


@singledispatch
def numpy_step(layer: Layer) -> Step:
    """Return a function that computes a layer on float32 images (N, H, W, C) and leaves these unchanged.

    Each class of layers registers an implementation with `numpy_step.register`.
    """
    raise TypeError(f"{type(layer).__name__} has no numpy function: register one with numpy_step.register")


def _finish(layer: Linear) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that applies bias, scale, zero point and clamp to sums of raw int8 products, in place."""
    bias = (layer.bias - layer.input_zero_point * layer.matrix.sum(axis=0, dtype=np.int64)).astype(np.float32)
    low, high = np.float32(layer.low), np.float32(layer.high)
    scale, zero_point = None, np.float32(layer.zero_point)
    if not layer.wide:
        scale = np.ldexp(layer.multiplier.astype(np.float64), layer.shift - 31).astype(np.float32)

    def finish(sums: np.ndarray) -> np.ndarray:
        sums += bias
        if scale is not None:
            sums *= scale
            np.rint(sums, out=sums)
            sums += zero_point
        return np.clip(sums, low, high, out=sums)

    return finish


def _padded(x: np.ndarray, padding: Padding, value: float) -> np.ndarray:
    return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value) if any(map(any, padding)) else x


def _taps(x: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> np.ndarray:
    """Return all windows of padded images as a view of shape (N, Ho, Wo, kernel y, kernel x, C)."""
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(x, spans, axis=(1, 2))
    return views[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]].transpose(0, 1, 2, 4, 5, 3)


@numpy_step.register(Dense)
def _dense(layer: Dense) -> Step:
    weights, finish = layer.weights.astype(np.float32), _finish(layer)
    return lambda x: finish(x.reshape(len(x), -1) @ weights)[:, None, None, :]


@numpy_step.register(Conv)
def _conv(layer: Conv) -> Step:
    weights, finish = layer.matrix.astype(np.float32), _finish(layer)

    def step(x: np.ndarray) -> np.ndarray:
        taps = _taps(_padded(x, layer.padding, layer.input_zero_point), layer.kernel, layer.stride, layer.dilation)
        columns = taps.reshape(-1, layer.terms)
        return finish(columns @ weights).reshape(*taps.shape[:3], -1)

    return step


@numpy_step.register(Depthwise)
def _depthwise(layer: Depthwise) -> Step:
    weights, finish = layer.weights.astype(np.float32), _finish(layer)

    def step(x: np.ndarray) -> np.ndarray:
        taps = _taps(_padded(x, layer.padding, layer.input_zero_point), layer.kernel, layer.stride, layer.dilation)
        sums = np.zeros((*taps.shape[:3], *weights.shape[2:]), np.float32)
        for y, column in np.ndindex(layer.kernel):
            sums += taps[:, :, :, y, column, :, None] * weights[y, column]
        return finish(sums.reshape(*taps.shape[:3], -1))

    return step


def _folded(layer: Pool, x: np.ndarray, fold: np.ufunc) -> np.ndarray:
    """Fold the windows of padded images, first vertically and then horizontally."""
    for axis, window, stride in zip((1, 2), layer.window, layer.stride, strict=True):
        count = (x.shape[axis] - window) // stride + 1
        parts = [np.moveaxis(x, axis, 0)[tap : tap + (count - 1) * stride + 1 : stride] for tap in range(window)]
        total = parts[0].copy()
        for part in parts[1:]:
            fold(total, part, out=total)
        x = np.moveaxis(total, 0, axis)
    return x


@numpy_step.register(AveragePool)
def _average(layer: AveragePool) -> Step:
    def step(x: np.ndarray) -> np.ndarray:
        mean = _folded(layer, _padded(x, layer.padding, 0), np.add)
        mean /= layer.counts(*x.shape[1:3])[None, :, :, None].astype(np.float32)
        mean += np.copysign(np.float32(0.5), mean)
        return np.clip(np.trunc(mean, out=mean), layer.low, layer.high, out=mean)

    return step


@numpy_step.register(MaxPool)
def _largest(layer: MaxPool) -> Step:
    return lambda x: np.clip(_folded(layer, _padded(x, layer.padding, -128), np.maximum), layer.low, layer.high)


def _factor(scaling: Scaling) -> np.float32:
    return np.float32(np.ldexp(float(scaling.multiplier), scaling.left - scaling.right - 31))


@numpy_step.register(Add)
def _add(layer: Add) -> Step:
    last = _factor(layer.result)
    scalings = zip((layer.first, layer.second), layer.signs, strict=True)
    first, second = (sign * _factor(scaling) * last for scaling, sign in scalings)
    rest = np.float32(-layer.zero_points[0] * float(first) - layer.zero_points[1] * float(second))

    def step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = a * first
        total += b * second
        total += rest
        np.rint(total, out=total)
        total += np.float32(layer.zero_point)
        return np.clip(total, layer.low, layer.high, out=total)

    return step


@numpy_step.register(AddConstant)
def _add_constant(layer: AddConstant) -> Step:
    last = _factor(layer.result)
    factor = np.float32(layer.sign) * _factor(layer.scaling) * last
    rest = (layer.constant * float(last) - layer.input_zero_point * float(factor)).astype(np.float32)

    def step(x: np.ndarray) -> np.ndarray:
        total = x * factor
        total += rest
        np.rint(total, out=total)
        total += np.float32(layer.zero_point)
        return np.clip(total, layer.low, layer.high, out=total)

    return step


@numpy_step.register(Concat)
def _concat(layer: Concat) -> Step:
    return lambda *x: np.concatenate(x, axis=layer.axis + 1)


@numpy_step.register(Pad)
def _pad(layer: Pad) -> Step:
    return lambda x: np.pad(x, ((0, 0), *layer.padding, layer.channels), constant_values=layer.value)


@numpy_step.register(Reshape)
def _reshape(layer: Reshape) -> Step:
    return lambda x: x.reshape(len(x), *layer.size)


@numpy_step.register(Slice)
def _slice(layer: Slice) -> Step:
    return lambda x: x[(slice(None), *layer.ranges)]
