"""From layers to what the array does: tiles of weights, the pixels that they meet, and what becomes of the sums.

A layer is one or more *parts*. A part computes a rectangle of the result's pixels: each of its *operands* is a tensor,
a list of taps (pixel offsets), and for every tap a matrix of input by output channels. Which elements of that matrix
may be other than zero is a matter of the kind of layer, never of its values: time must not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, singledispatch
from typing import NamedTuple

import numpy as np

from etchnet.hdl.isa import Fold, Parameters
from etchnet.hdl.isa.config import Config
from etchnet.host.network.layers import (
    Add,
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
)
from etchnet.sim.arithmetic.contracts import contract_of

_POOL_SHIFTS = (8, 0, 4, 12)
"""left shifts by which sums of pools get bits behind the point, so that the first rounding does no harm"""

__all__ = ["Addition", "Operand", "Output", "Part", "Region", "lower", "parameter_words", "passed", "pool_scaling"]


@dataclass(frozen=True)
class Region:
    """A rectangle of a result's pixels."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Operand:
    """One tensor's way through the array.

    Attributes
    ----------
    source
        The layer whose result it is, or `network.INPUT`.
    taps
        (y, x) offsets in input pixels, borders included: output pixel (i, j) meets input pixel (i, j) * stride + tap.
    matrix
        For a tap's index, the weights int8 (input channels, output channels).
    mask
        bool (input channels, output channels): where weights may be other than zero; None: everywhere.
    copies
        Whether every weight under the mask is 1, for every tap: a part that moves values and has no weights of its own.
    pad
        What pixels outside the image hold.
    window
        For depthwise layers that a depthwise pass can take: weights int8 (kernel y, kernel x, channels); then the
        first tap is that of the window's corner.
    """

    source: int
    taps: Sequence[tuple[int, int]]
    stride: tuple[int, int]
    matrix: Callable[[int], np.ndarray]
    mask: np.ndarray | None = None
    copies: bool = False
    pad: int = 0
    window: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Output:
    """What the output stage makes of sums: parameters per output channel, or one set for all."""

    records: Sequence[Parameters]
    zero_point: int = 0
    low: int = -128
    high: int = 127
    raw: bool = False

    @property
    def shared(self) -> bool:
        """Whether one set serves all channels."""
        return len(self.records) == 1


@dataclass(frozen=True, eq=False)
class Part:
    """Some of a layer's result: `region` of its pixels, all of its channels."""

    region: Region
    channels: int
    operands: Sequence[Operand]
    output: Output
    fold: Fold = Fold.ADD
    wide: bool = False

    @cached_property
    def copies(self) -> bool:
        """Whether no weights of the network are involved."""
        return all(operand.copies for operand in self.operands)


class Addition(NamedTuple):
    """An addition of two tensors.

    Attributes
    ----------
    operands
        Both tensors, through identity tiles.
    scaled
        For each operand, the requantisation to the common scale.
    result
        The requantisation of the sum.
    """

    operands: Sequence[Operand]
    scaled: Sequence[Output]
    result: Output


def _ones(mask: np.ndarray, tap: int) -> np.ndarray:
    return mask.astype(np.int8)


def _select(channels_in: int, channels_out: int, at: int = 0) -> np.ndarray:
    """Input channel c goes to output channel at + c."""
    mask = np.zeros((channels_in, channels_out), bool)
    mask[np.arange(channels_in), at + np.arange(channels_in)] = True
    return mask


def _whole(shape: Shape) -> Region:
    return Region(0, 0, shape[0], shape[1])


def _scaled(layer: Linear) -> Output:
    """Bias and requantisation of a layer with weights, per channel."""
    fields = {"bias": layer.folded_bias}
    if not layer.wide:
        left, right = layer.shifts
        fields |= {"multiplier": layer.multiplier, "left": left, "right": right}
    records = [Parameters(**{name: int(array[c]) for name, array in fields.items()}) for c in range(layer.channels)]
    return Output(records, layer.zero_point, layer.low, layer.high, raw=layer.wide)


def passed(contract: str, low: int = -128, high: int = 127) -> Output:
    """int8 sums as they are, but for a clamp."""
    return _scaling(Scaling.of(1.0, contract=contract), low=low, high=high)


def _scaling(
    scaling: Scaling, zero_in: int = 0, *, zero_point: int = 0, low: int = -(1 << 31), high: int = (1 << 31) - 1
) -> Output:
    record = Parameters(bias=-zero_in, multiplier=scaling.multiplier, left=scaling.left, right=scaling.right)
    return Output([record], zero_point, low, high)


@singledispatch
def lower(layer: Layer, sources: Sequence[int], shapes: Sequence[Shape], contract: str) -> list[Part]:
    """Return the parts of a layer.

    One function per class of layer is registered here. `Add` has none: the compiler may fuse an addition with the layer
    before it, and takes its operands from `addition`.

    Parameters
    ----------
    sources, shapes
        The tensors that the layer reads, and their shapes.
    contract
        Rounding contract of the machine.

    Raises
    ------
    NetworkError
        No passes compute the layer.
    """
    raise NetworkError(f"{type(layer).__name__} has no passes: no function is registered for it")


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
    output = passed(contract, layer.low, layer.high)
    return [Part(_whole(layer.shape(*shapes)), shapes[0][2], [operand], output, fold=Fold.MAX)]


def pool_scaling(count: int, contract: str) -> Scaling:
    """A scaling that divides any sum of `count` int8 values by `count`: to nearest, ties away from zero.

    It is tried on every sum that there can be.

    Raises
    ------
    NetworkError
        The contract has none.
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
    """(first, count) of each run of equal values."""
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
            output = _scaling(scaling, low=layer.low, high=layer.high)
            parts.append(Part(Region(y, x, height, width), shapes[0][2], [operand], output))
    return parts


def _copy(source: int, shape: Shape, mask: np.ndarray, corner: tuple[int, int] = (0, 0), pad: int = 0) -> Operand:
    return Operand(source, [(-corner[0], -corner[1])], (1, 1), partial(_ones, mask), mask=mask, copies=True, pad=pad)


@lower.register(Concat)
def _concat(layer: Concat, sources: Sequence[int], shapes: Sequence[Shape], contract: str) -> list[Part]:
    output, result = passed(contract), layer.shape(*shapes)
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
    result, output = layer.shape(*shapes), passed(contract)
    if any(layer.channels):
        # Channels that no input reaches sum to zero: their bias is the value.
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
    """Values that move between words: each result pixel gathers its channels from the pixels that hold them."""
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
        parts.append(Part(Region(y, x, 1, 1), layer.size[2], operands, passed(contract)))
    return parts


def addition(layer: Add, sources: Sequence[int], shape: Shape) -> Addition:
    """Return an addition whose operands have the shape of its result."""
    mask = np.eye(shape[2], dtype=bool)
    operands = [_copy(source, shape, mask) for source in sources]
    scaled = [_scaling(s, z) for s, z in zip((layer.first, layer.second), layer.zero_points, strict=True)]
    result = _scaling(layer.result, zero_point=layer.zero_point, low=layer.low, high=layer.high)
    return Addition(operands, scaled, result)


def is_alias(layer: Reshape, shape: Shape, config: Config) -> bool:
    """Whether a reshaped tensor lies in memory as it did before."""
    if shape[2] == layer.size[2]:
        return True
    whole = config.rows if config.tiles_per_word > 1 or config.rows == config.columns else 0
    return bool(whole) and shape[2] % whole == 0 and layer.size[2] % whole == 0


def parameter_words(output: Output, tiles: int, config: Config) -> list[int]:
    """The parameters of whole column tiles, `requantisers` to a word; results of padding channels are never used."""
    size, n = Parameters.layout(config).size, config.requantisers
    records = list(output.records) * (config.columns if output.shared else 1)
    if not output.shared:
        records += [Parameters()] * (tiles * config.columns - len(records))
    words = [record.encode(config) for record in records]
    return [sum(w << lane * size for lane, w in enumerate(words[i : i + n])) for i in range(0, len(words), n)]
