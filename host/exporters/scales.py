"""Scales and zero points for the tensors of a network; the network itself has only factors between scales."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import singledispatch

import numpy as np

from etchnet.host.network.layers import Add, Layer, Linear, Scaling
from etchnet.host.network.network import Network

__all__ = ["Ratios", "join_scales", "tensor_scales", "tensor_zero_points"]

_FLUSHED = 2.0**-40
"""ratio of two scales at which an addition flushes the multiplier of the smaller one to zero"""


class Ratios:
    """Groups of tensors with known ratios of scales; tensors are numbered as in `Network.sources`."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._parents = {index: (index, 1.0) for index in numbers}

    def root(self, index: int) -> tuple[int, float]:
        """Return the representative of a tensor's group, and the ratio of the tensor's scale to its scale."""
        ratio = 1.0
        while self._parents[index][0] != index:
            index, step = self._parents[index]
            ratio *= step
        return index, ratio

    def join(self, first: int, second: int, ratio: float) -> bool:
        """Record that (scale of first) = ratio x (scale of second); returns False if another ratio is known already."""
        (a, times_a), (b, times_b) = self.root(first), self.root(second)
        if a == b:
            return math.isclose(times_a, ratio * times_b, rel_tol=1e-6)
        self._parents[a] = (b, ratio * times_b / times_a)
        return True


@singledispatch
def join_scales(layer: Layer, index: int, sources: Sequence[int], ratios: Ratios) -> bool:
    """Record the ratios of scales that layer number `index` fixes; returns False if they contradict known ones.

    By default the result has the scale of all sources. Layer classes with other rules are registered here.
    """
    return all(ratios.join(index, source, 1.0) for source in sources)


@join_scales.register(Linear)
def _linear(layer: Linear, index: int, sources: Sequence[int], ratios: Ratios) -> bool:
    return True  # any ratio is possible: the scales of the weights absorb it


@join_scales.register(Add)
def _add(layer: Add, index: int, sources: Sequence[int], ratios: Ratios) -> bool:
    first, second = (_operand_factor(index, scaling) for scaling in (layer.first, layer.second))
    factor = math.ldexp(layer.result.multiplier, layer.result.left - layer.result.right - 31)
    if not factor:
        raise ValueError(f"layer {index} multiplies its sum by 0, which no scales express")
    agree = ratios.join(sources[0], sources[1], first / second)
    # TensorFlow Lite adds at a scale of twice the larger scale times 2**-20.
    return agree & ratios.join(index, sources[0 if first >= second else 1], 2.0 / ((1 << 20) * factor))


def _operand_factor(index: int, scaling: Scaling) -> float:
    if scaling.left != 20:
        raise ValueError(f"layer {index} must shift its operands left by TensorFlow Lite's 20 bits, not {scaling.left}")
    return math.ldexp(scaling.multiplier, -scaling.right - 31) or _FLUSHED


def tensor_zero_points(network: Network) -> dict[int, int]:
    """Return the zero point of every tensor, by its number in `Network.sources`.

    Raises
    ------
    ValueError
        Two layers disagree about a tensor; the message names one of them.
    """
    layers = network.layers
    groups = Ratios(network.numbers)
    for index, layer in enumerate(layers):
        if not layer.input_zero_points:
            for source in network.sources[index]:
                groups.join(index, source, 1.0)
    known: dict[int, int] = {}
    for index, layer in enumerate(layers):
        if layer.input_zero_points:
            before = known.setdefault(groups.root(index)[0], layer.zero_point)
            if before != layer.zero_point:
                raise ValueError(f"layer {index} has a result of zero point {layer.zero_point}, not {before}")
    for index, layer in enumerate(layers):
        for source, zero in zip(network.sources[index], layer.input_zero_points, strict=False):
            before = known.setdefault(groups.root(source)[0], zero)
            if before != zero:
                raise ValueError(f"layer {index} reads zero point {zero}, but its input has {before}")
    return {index: known.get(groups.root(index)[0], 0) for index in network.numbers}


def tensor_scales(network: Network, zero_points: dict[int, int]) -> dict[int, float]:
    """Return the scale of every tensor, by its number: 1 unless an addition or a clamp needs another.

    Raises
    ------
    ValueError
        No scales have the ratios that all layers need, or they do not fit float32; the message names a layer.
    """
    layers = network.layers
    ratios = Ratios(network.numbers)
    for index, layer in enumerate(layers):
        if not join_scales(layer, index, network.sources[index], ratios):
            raise ValueError(f"layer {index} needs ratios of scales that contradict those of other layers")
    roots: dict[int, float] = {}
    for index, layer in enumerate(layers):
        if wanted := _scale_of_clamp(layer, zero_points[index]):
            root, ratio = ratios.root(index)
            roots.setdefault(root, wanted / ratio)
    scales = {}
    for index in network.numbers:
        root, ratio = ratios.root(index)
        scale = roots.get(root, 1.0) * ratio
        scales[index] = float(np.float32(scale))
        if not (math.isfinite(scales[index]) and scales[index]):
            raise ValueError(f"layer {index} needs a scale of {scale}, which is not a float32")
    return scales


def _scale_of_clamp(layer: Layer, zero: int) -> float | None:
    """Return the scale at which a layer's clamp equals RELU6 or RELU_N1_TO_1; None if it has no such clamp."""
    low, high = layer.low, layer.high
    if low == zero:
        return 6 / (high - zero) if zero < high < 127 else None
    if -128 < low < zero:
        return 1 / (zero - low)
    return 1 / (high - zero) if zero < high < 127 else None
