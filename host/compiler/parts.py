"""Parts of layers: the compiler's intermediate representation of what the array computes.

A layer consists of one or more *parts*. A part computes a rectangle of the result's pixels. Each of its *operands* is a
tensor, a list of taps (pixel offsets), and for every tap a matrix of input by output channels. The mask of elements
that may be nonzero depends on the kind of layer, never on weights, so that time does not depend on weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from etchnet.hdl.isa import Fold, Parameters
from etchnet.hdl.isa.config import Config
from etchnet.host.network.layers import Scaling

__all__ = [
    "Addition",
    "Operand",
    "Output",
    "Part",
    "Region",
    "identity_output",
    "parameter_words",
    "scaled_output",
]


@dataclass(frozen=True)
class Region:
    """A rectangle of a result's pixels."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Operand:
    """A tensor that a part reads through the array.

    Attributes
    ----------
    source
        The layer whose result the tensor is, or `network.INPUT`.
    taps
        Offsets (y, x) in input pixels: result pixel (i, j) needs input pixel (i, j) * stride + tap for each tap.
    matrix
        Returns the weights of a tap by its index: int8 (input channels, output channels).
    mask
        Bool (input channels, output channels), false where weights are zero in every layer of this kind; None if there
        are no such weights.
    copies
        Whether all weights under the mask are 1, for every tap, so that values are only moved or folded.
    pad
        The value of pixels outside the image.
    image_taps
        The taps as offsets in the image: to the first pixel that a stored pixel holds, from the first pixel that the
        stored result pixel holds, times the stride. None if they are `taps`.
    tap_mask
        Returns the mask of a tap by its index, if masks differ by tap; `mask` is then true where any of them is.
    window
        For a layer that depthwise passes can compute, its weights, int8 (kernel y, kernel x, channels), else None. The
        first tap is then the corner of the window.
    """

    source: int
    taps: Sequence[tuple[int, int]]
    stride: tuple[int, int]
    matrix: Callable[[int], np.ndarray]
    mask: np.ndarray | None = None
    copies: bool = False
    pad: int = 0
    window: np.ndarray | None = None
    image_taps: Sequence[tuple[int, int]] | None = None
    tap_mask: Callable[[int], np.ndarray] | None = None

    @property
    def is_rectangle(self) -> bool:
        """Whether the taps are all pixels of a rectangle, which a pass can walk."""
        height, width = (max(axis) - min(axis) + 1 for axis in zip(*self.taps, strict=True))
        return len(self.taps) == height * width

    @property
    def depthwise_weights(self) -> np.ndarray:
        """`window`; raises ValueError if depthwise passes cannot compute the layer."""
        if self.window is None:
            raise ValueError("the operand has no window: its layer is not depthwise")
        return self.window


@dataclass(frozen=True, eq=False)
class Output:
    """The requantisation of sums in the output stage.

    Attributes
    ----------
    records
        Parameters for each output channel, or one set for all.
    zero_point, low, high
        The zero point, which is added after scaling, and the clamp.
    raw
        Whether sums are stored as int32, with the bias but not scaled.
    """

    records: Sequence[Parameters]
    zero_point: int = 0
    low: int = -128
    high: int = 127
    raw: bool = False

    @property
    def shared(self) -> bool:
        """Whether all channels share one set of parameters."""
        return len(self.records) == 1


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a layer's result: all channels of the pixels in `region`.

    Attributes
    ----------
    channels
        Output channels.
    operands
        The tensors that are read; their products with the weights are folded into the same accumulators.
    output
        The requantisation of the sums.
    fold
        How products are combined: by addition or by maximum.
    wide
        Whether results are int32.
    """

    region: Region
    channels: int
    operands: Sequence[Operand]
    output: Output
    fold: Fold = Fold.ADD
    wide: bool = False

    @cached_property
    def copies(self) -> bool:
        """Whether all operands only move values, so that the part has no weights."""
        return all(operand.copies for operand in self.operands)


class Addition(NamedTuple):
    """An addition of two tensors, or of a tensor and a constant.

    Attributes
    ----------
    operands
        The tensors, through diagonal tiles of 1 or -1.
    scaled
        For each operand, the requantisation to the common scale.
    result
        The requantisation of the sum. A constant is its bias.
    """

    operands: Sequence[Operand]
    scaled: Sequence[Output]
    result: Output


def identity_output(contract: str, low: int = -128, high: int = 127) -> Output:
    """Return the requantisation that only clamps int8 sums."""
    return scaled_output(Scaling.of(1.0, contract=contract), low=low, high=high)


def scaled_output(
    scaling: Scaling, zero_in: int = 0, *, zero_point: int = 0, low: int = -(1 << 31), high: int = (1 << 31) - 1
) -> Output:
    """Return the requantisation of all channels by one scaling; `zero_in` is subtracted first."""
    record = Parameters(bias=-zero_in, multiplier=scaling.multiplier, left=scaling.left, right=scaling.right)
    return Output([record], zero_point, low, high)


def parameter_words(output: Output, tiles: int, config: Config) -> list[int]:
    """Return the parameter words of `tiles` whole column tiles; each word holds `requantisers` records.

    Channels that pad the last tile have default parameters; their results are never used.
    """
    size, n = Parameters.layout(config).size, config.requantisers
    records = list(output.records) * (config.columns if output.shared else 1)
    if not output.shared:
        records += [Parameters()] * (tiles * config.columns - len(records))
    words = [record.encode(config) for record in records]
    return [sum(w << lane * size for lane, w in enumerate(words[i : i + n])) for i in range(0, len(words), n)]
