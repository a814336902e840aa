"""Lowering of layers to parts: taps, weight matrices and requantisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import partial, singledispatch

import numpy as np

from etchnet.hdl.isa import Fold, Parameters
from etchnet.host.compiler.parts import Addition, Operand, Output, Part, Region, identity_output, scaled_output
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
    NetworkError,
    Pad,
    Reshape,
    Scaling,
    Shape,
    Slice,
)
from etchnet.sim.arithmetic.contracts import contract_of

__all__ = ["addition", "lower", "pool_scaling"]

_POOL_SHIFTS = (8, 0, 4, 12)
"""left shifts to try for sums of pools: bits after the binary point keep the first rounding from changing the result"""


def _ones(mask: np.ndarray, tap: int) -> np.ndarray:
    return mask.astype(np.int8)


def _select(channels_in: int, channels_out: int, at: int = 0) -> np.ndarray:
    """Return the mask that moves input channel c to output channel at + c."""
    mask = np.zeros((channels_in, channels_out), bool)
    mask[np.arange(channels_in), at + np.arange(channels_in)] = True
    return mask


def _whole(shape: Shape) -> Region:
    return Region(0, 0, shape[0], shape[1])


def _scaled(layer: Linear) -> Output:
    """Return the bias and requantisation of each channel of a layer with weights."""
    fields = {"bias": layer.folded_bias}
    if not layer.wide:
        left, right = layer.shifts
        fields |= {"multiplier": layer.multiplier, "left": left, "right": right}
    records = [Parameters(**{name: int(array[c]) for name, array in fields.items()}) for c in range(layer.channels)]
    return Output(records, layer.zero_point, layer.low, layer.high, raw=layer.wide)


@singledispatch
def lower(layer: Layer, sources: Sequence[int], shapes: Sequence[Shape], contract: str) -> list[Part]:
    """Return the parts of a layer.

    One function is registered here for each class of layer, except `Add` and `AddConstant`: the compiler may fuse an
    addition with the layer before it, and takes its operands from `addition`.

    Parameters
    ----------
    sources, shapes
        The tensors that the layer reads, and their shapes.
    contract
        Rounding contract of the machine.

    Raises
    ------
    NetworkError
        The array cannot compute the layer.
    """
    raise NetworkError(f"{type(layer).__name__} cannot be lowered: no function is registered for it")


@lower.register(Dense)
def _dense(layer: Dense, sources: Sequence[int], shapes: Sequence[Shape], contract: str) -> list[Part]:
    height, width, channels = shapes[0]
    weights = layer.weights.reshape(height * width, channels, layer.channels)
    taps = [(y, x) for y in range(height) for x in range(width)]
    operand = Operand(sources[0], taps, (1, 1), lambda tap: weights[tap], pad=layer.input_zero_point)
    return [Part(Region(0, 0, 1, 1), layer.channels, [operand], _scaled(layer), wide=layer.wide)]


def _taps(kernel: tuple[int, int], dilation: tuple[int, int], corner: tuple[int, int]) -> list[tuple[int, int]]:
    return [
        (y * dilation[0] - corner[0], x * dilation[1] - corner[1]) for y in range(kernel[0]) for x in range(kernel[1])
    ]


@lower.register(Conv)
def _conv(layer: Conv, sources: Sequence[int], shapes: Sequence[Shape], contract: str) -> list[Part]:
    corner = layer.padding[0][0], layer.padding[1][0]
    weights = layer.weights.reshape(-1, *layer.weights.shape[2:])
    taps = _taps(layer.kernel, layer.dilation, corner)
    operand = Operand(sources[0], taps, layer.stride, lambda tap: weights[tap], pad=layer.input_zero_point)
    return [Part(_whole(layer.shape(*shapes)), layer.channels, [operand], _scaled(layer), wide=layer.wide)]


@lower.register(Depthwise)
def _depthwise(layer: Depthwise, sources: Sequence[int], shapes: Sequence[Shape], contract: str) -> list[Part]:
    corner = layer.padding[0][0], layer.padding[1][0]
    inputs, times = layer.weights.shape[2:]
    mask = np.repeat(np.eye(inputs, dtype=bool), times, axis=1)
    weights = layer.weights.reshape(-1, layer.channels)
    window = layer.weights[..., 0] if times == 1 and layer.dilation == (1, 1) else None
    operand = Operand(
        sources[0],
        _taps(layer.kernel, layer.dilation, corner),
        layer.stride,
        lambda tap: mask * weights[tap],
        mask=mask,
        pad=layer.input_zero_point,
        window=window,
    )
    return [Part(_whole(layer.shape(*shapes)), layer.channels, [operand], _scaled(layer), wide=layer.wide)]


def _pool_operand(layer: AveragePool | MaxPool, source: int, shape: Shape, pad: int) -> Operand:
    corner = layer.padding[0][0], layer.padding[1][0]
    mask = np.eye(shape[2], dtype=bool)
    return Operand(
        source,
        _taps(layer.window, (1, 1), corner),
        layer.stride,
        partial(_ones, mask),
        mask=mask,
        copies=True,
        pad=pad,
    )


@lower.register(MaxPool)
def _max_pool(layer: MaxPool, sources: Sequence[int], shapes: Sequence[Shape], contract: str) -> list[Part]:
    operand = _pool_operand(layer, sources[0], shapes[0], -128)
    output = identity_output(contract, layer.low, layer.high)
    return [Part(_whole(layer.shape(*shapes)), shapes[0][2], [operand], output, fold=Fold.MAX)]


def pool_scaling(count: int, contract: str) -> Scaling:
    """Return a scaling that divides any sum of `count` int8 values by `count`: to nearest, ties away from zero.

    The scaling is verified on every possible sum.

    Raises
    ------
    NetworkError
        The contract has no such scaling.
    """
    sums = np.arange(-128 * count, 127 * count + 1)
    wanted = (np.abs(sums) + count // 2) // count * np.sign(sums)
    multiplier, shift = contract_of(contract).quantise(1 / count)
    for left in _POOL_SHIFTS:
        scaling = Scaling(multiplier, left + max(shift, 0), left + max(-shift, 0))
        if left + (128 * count).bit_length() <= 31 and np.array_equal(scaling.apply(sums, contract), wanted):
            return scaling
    raise NetworkError(f"contract {contract} has no exact division by {count}, which an average pool needs")


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """Return (first, count) for each run of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [(a, b - a) for a, b in zip(edges, edges[1:], strict=False)]


@lower.register(AveragePool)
def _average_pool(layer: AveragePool, sources: Sequence[int], shapes: Sequence[Shape], contract: str) -> list[Part]:
    operand = _pool_operand(layer, sources[0], shapes[0], 0)
    counts = layer.counts(*shapes[0][:2])
    parts = []
    for y, height in _runs(counts[:, 0]):
        for x, width in _runs(counts[0]):
            scaling = pool_scaling(int(counts[y, x]), contract)
            output = scaled_output(scaling, low=layer.low, high=layer.high)
            parts.append(Part(Region(y, x, height, width), shapes[0][2], [operand], output))
    return parts


def _copy(source: int, shape: Shape, mask: np.ndarray, corner: tuple[int, int] = (0, 0), pad: int = 0) -> Operand:
    return Operand(source, [(-corner[0], -corner[1])], (1, 1), partial(_ones, mask), mask=mask, copies=True, pad=pad)


@lower.register(Concat)
def _concat(layer: Concat, sources: Sequence[int], shapes: Sequence[Shape], contract: str) -> list[Part]:
    output, result = identity_output(contract), layer.shape(*shapes)
    ends = np.cumsum([0, *(shape[layer.axis] for shape in shapes)]).tolist()
    if layer.axis == 2:
        operands = [
            _copy(source, shape, _select(shape[2], result[2], start))
            for source, shape, start in zip(sources, shapes, ends, strict=False)
        ]
        return [Part(_whole(result), result[2], operands, output)]
    parts = []
    for source, shape, start in zip(sources, shapes, ends, strict=False):
        y, x = (start, 0) if layer.axis == 0 else (0, start)
        operand = _copy(source, shape, np.eye(shape[2], dtype=bool), (y, x))
        parts.append(Part(Region(y, x, shape[0], shape[1]), shape[2], [operand], output))
    return parts


@lower.register(Pad)
def _pad(layer: Pad, sources: Sequence[int], shapes: Sequence[Shape], contract: str) -> list[Part]:
    result, output = layer.shape(*shapes), identity_output(contract)
    if any(layer.channels):
        # Channels without an input sum to zero: their bias is the value.
        record, added = output.records[0], layer.channels[0]
        inside = range(added, added + shapes[0][2])
        output = Output(
            [
                Parameters(
                    bias=0 if c in inside else layer.value,
                    multiplier=record.multiplier,
                    left=record.left,
                    right=record.right,
                )
                for c in range(result[2])
            ]
        )
    operand = _copy(
        sources[0],
        shapes[0],
        _select(shapes[0][2], result[2], layer.channels[0]),
        (layer.padding[0][0], layer.padding[1][0]),
        layer.value,
    )
    return [Part(_whole(result), result[2], [operand], output)]


@lower.register(Reshape)
def _reshape(layer: Reshape, sources: Sequence[int], shapes: Sequence[Shape], contract: str) -> list[Part]:
    """Gather the channels of each result pixel from the pixels that hold them."""
    width, channels = shapes[0][1:]
    parts = []
    for y, x in np.ndindex(layer.size[:2]):
        first = (y * layer.size[1] + x) * layer.size[2]
        values = np.arange(first, first + layer.size[2])
        operands = []
        for pixel in np.unique(values // channels):
            mask = np.zeros((channels, layer.size[2]), bool)
            held = np.flatnonzero(values // channels == pixel)
            mask[values[held] % channels, held] = True
            operands.append(_copy(sources[0], shapes[0], mask, (y - int(pixel) // width, x - int(pixel) % width)))
        parts.append(Part(Region(y, x, 1, 1), layer.size[2], operands, identity_output(contract)))
    return parts


@lower.register(Slice)
def _slice(layer: Slice, sources: Sequence[int], shapes: Sequence[Shape], contract: str) -> list[Part]:
    mask = np.zeros((shapes[0][2], layer.size[2]), bool)
    mask[np.arange(shapes[0][2])[layer.ranges[2]], np.arange(layer.size[2])] = True
    operand = Operand(sources[0], [layer.begin[:2]], layer.stride[:2], partial(_ones, mask), mask=mask, copies=True)
    return [Part(_whole(layer.size), layer.size[2], [operand], identity_output(contract))]


def addition(layer: Add | AddConstant, sources: Sequence[int], shape: Shape) -> Addition:
    """Return an addition whose operands have the shape of its result; with a constant there is one operand."""
    result = scaled_output(layer.result, zero_point=layer.zero_point, low=layer.low, high=layer.high)
    if isinstance(layer, AddConstant):
        settings: Iterable[tuple[Scaling, int, int]] = [(layer.scaling, layer.input_zero_point, layer.sign)]
        records = [dataclasses.replace(result.records[0], bias=int(value)) for value in layer.constant]
        result = dataclasses.replace(result, records=records)
    else:
        settings = zip((layer.first, layer.second), layer.zero_points, layer.signs, strict=True)
    mask, operands, scaled = np.eye(shape[2], dtype=bool), [], []
    for source, (scaling, zero, sign) in zip(sources, settings, strict=True):
        operand = _copy(source, shape, mask)
        if sign < 0:
            operand = dataclasses.replace(operand, matrix=lambda tap: -mask.astype(np.int8), copies=False)
        operands.append(operand)
        scaled.append(scaled_output(scaling, sign * zero))
    return Addition(operands, scaled, result)
