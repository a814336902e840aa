"""Layers with weights: dense, convolution and depthwise convolution."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.host.network.layers.base import (
    INT8,
    INT32,
    MAX_TERMS,
    Layer,
    NetworkError,
    Shape,
    as_int8,
    integer_pair,
    one_integer,
    per_channel,
)
from etchnet.host.network.layers.windows import NO_PADDING, Padding, as_padding, output_size, windows_of
from etchnet.sim.arithmetic.contracts import contract_of

__all__ = ["Conv", "Dense", "Depthwise", "Linear"]


@dataclass(frozen=True, eq=False)
class Linear(Layer):
    """A layer with weights: ``clamp(requantise(sum + bias) + zero_point)``.

    Parameters
    ----------
    weights
        int8; output channels are the last axis, or the last two of a depthwise layer.
    bias
        int32, one per output channel or one for all.
    multiplier, shift
        Requantisation by the network's contract, one per channel or one for all: for `tflite-double`, x * multiplier *
        2**(shift - 31). `from_scale` computes them from real factors. A multiplier of None keeps the sums (int32
        results).
    input_zero_point, zero_point
        Zero points of input and output, int8.
    low, high
        Clamp: ReLU is low = zero_point. By default the full range of the result type.
    """

    weights: np.ndarray
    bias: Any = 0
    multiplier: Any = None
    shift: Any = 0
    input_zero_point: int = 0
    zero_point: int = 0
    low: Any = None
    high: Any = None

    _axes = 2

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "weights", as_int8("weights", self.weights, self._axes))
        terms, channels = self.terms, self.channels
        if terms > MAX_TERMS:
            raise NetworkError(
                f"weights must have at most {MAX_TERMS} products per sum, or int32 overflows, not {terms}"
            )
        set_field(self, "bias", per_channel("bias", self.bias, channels, *INT32))
        if self.multiplier is not None:
            set_field(self, "multiplier", per_channel("multiplier", self.multiplier, channels, 0, INT32[1]))
            set_field(self, "shift", per_channel("shift", self.shift, channels, -31, 31))
        elif self.zero_point:
            raise NetworkError(f"zero_point must be 0 for int32 results, not {self.zero_point}")
        for name in ("input_zero_point", "zero_point"):
            set_field(self, name, one_integer(name, getattr(self, name), *INT8))
        limits = INT32 if self.multiplier is None else INT8
        for name, default in zip(("low", "high"), limits, strict=True):
            value = default if getattr(self, name) is None else getattr(self, name)
            set_field(self, name, one_integer(name, value, *limits))
        if self.low > self.high:
            raise NetworkError(f"low must not be above high ({self.high}), not {self.low}")

    @classmethod
    def from_scale(
        cls, weights: np.ndarray, bias: Any = 0, *, scale: Any, contract: str = CONTRACTS[0], **options: Any
    ) -> Any:
        """Make a layer from its real requantisation factor: `scale`, one or one per channel, encoded by `contract`."""
        try:
            quantise = contract_of(contract).quantise
            pairs = [quantise(float(s)) for s in np.atleast_1d(np.asarray(scale, dtype=np.float64)).ravel()]
        except (TypeError, ValueError) as error:
            raise NetworkError(str(error)) from None
        if not pairs:
            raise NetworkError("scale must be one factor, or one per output channel, not none")
        multiplier, shift = np.array(pairs, dtype=np.int64).T
        if np.ndim(scale) == 0:
            multiplier, shift = multiplier[0], shift[0]
        return cls(weights, bias, multiplier, shift, **options)

    @property
    def terms(self) -> int:
        """Number of products in one sum."""
        return int(np.prod(self.weights.shape[:-1]))

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return self.weights.shape[-1]

    @property
    def wide(self) -> bool:
        """Whether the result is int32: there is no requantisation."""
        return self.multiplier is None

    @property
    def input_zero_points(self) -> tuple[int, ...]:
        """Zero point of the input."""
        return (self.input_zero_point,)

    @property
    def matrix(self) -> np.ndarray:
        """Weights as int8 (terms, channels)."""
        return self.weights.reshape(self.terms, self.channels)

    @property
    def folded_bias(self) -> np.ndarray:
        """Bias of the machine's int8 x int8 sums: bias - input_zero_point * sum of weights, modulo 2**32."""
        total = self.bias - self.input_zero_point * self.matrix.sum(axis=0, dtype=np.int64)
        return total.astype(np.int32)

    @property
    def shifts(self) -> tuple[np.ndarray, np.ndarray]:
        """`shift` as the machine's two shifts: (left, right) per channel, at least one of them zero."""
        shift = np.zeros_like(self.bias) if self.wide else self.shift
        return np.maximum(shift, 0), np.maximum(-shift, 0)

    def finish(self, sums: np.ndarray, *, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Requantise sums, bias included, (..., channels), as the output stage does: to int8, or int32 if `wide`.

        Sums wrap to int32 first.
        """
        wrapped = sums.astype(np.int32)
        if self.wide:
            return np.clip(wrapped, self.low, self.high)
        left, right = self.shifts
        return (
            contract_of(contract)
            .requantise(wrapped, self.multiplier, left, right, zero_point=self.zero_point, low=self.low, high=self.high)
            .astype(np.int8)
        )


@dataclass(frozen=True, eq=False)
class Dense(Linear):
    """A fully connected layer: weights int8 (K, N) times the K values of an image in the order (y, x, channel)."""

    def select(self, columns: slice) -> Dense:
        """Return a layer with only some of the output channels."""
        scaled = self.multiplier is not None
        return dataclasses.replace(
            self,
            weights=self.weights[:, columns],
            bias=self.bias[columns],
            multiplier=self.multiplier[columns] if scaled else None,
            shift=self.shift[columns] if scaled else 0,
        )

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the result: one pixel."""
        values = int(np.prod(inputs[0]))
        if values != len(self.weights):
            raise NetworkError(
                f"weights must have one row per input value, {values} for shape {inputs[0]}, not {len(self.weights)}"
            )
        return 1, 1, self.channels

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Multiply int8 (N, H, W, C) to (N, 1, 1, channels), or (N, K) to (N, channels)."""
        x = inputs[0].reshape(len(inputs[0]), -1).astype(np.float64) - self.input_zero_point
        # A sum of at most MAX_TERMS products of 9 x 8 bits is exact in float64, for which BLAS is fast.
        y = self.finish((x @ self.weights.astype(np.float64)).astype(np.int64) + self.bias, contract=contract)
        return y if inputs[0].ndim == 2 else y[:, None, None, :]

    def multiplications(self, *inputs: Shape) -> int:
        """Count one multiplication per weight."""
        return self.weights.size


@dataclass(frozen=True, eq=False)
class _Windowed(Linear):
    """A layer with weights that slides over an image.

    Parameters
    ----------
    stride, dilation
        Pixels (y, x) between windows, and between the taps of a window.
    padding
        ((top, bottom), (left, right)) pixels that hold the input's zero point.
    """

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING

    _axes = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "stride", integer_pair("stride", self.stride, 1))
        object.__setattr__(self, "dilation", integer_pair("dilation", self.dilation, 1))
        object.__setattr__(self, "padding", as_padding(self.padding))

    @property
    def kernel(self) -> tuple[int, int]:
        """Number of taps (y, x)."""
        return self.weights.shape[0], self.weights.shape[1]

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the result: one pixel per window that fits."""
        name = type(self).__name__.lower()
        if inputs[0][2] != self.weights.shape[2]:
            raise NetworkError(
                f"weights must have {inputs[0][2]} input channels, as the input has, not {self.weights.shape[2]}"
            )
        return *output_size(name, inputs[0], self.kernel, self.stride, self.dilation, self.padding), self.channels

    def windows(self, x: np.ndarray) -> np.ndarray:
        """Return every window of int8 images (N, H, W, C): (N, Ho, Wo, C, kernel y, kernel x), a view."""
        return windows_of(x, self.kernel, self.stride, self.dilation, self.padding, self.input_zero_point)

    def multiplications(self, *inputs: Shape) -> int:
        """Count one multiplication per output pixel and weight, those of padding included."""
        height, width, _ = self.shape(*inputs)
        return height * width * self.weights.size


@dataclass(frozen=True, eq=False)
class Conv(_Windowed):
    """A 2-D convolution (correlation): weights int8 (kernel y, kernel x, input channels, output channels)."""

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Convolve int8 (N, H, W, C) to (N, Ho, Wo, channels)."""
        windows = self.windows(inputs[0])
        n, height, width = windows.shape[:3]
        columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(n * height * width, -1)
        # Sums are exact in float64, as in Dense.
        sums = (columns.astype(np.float64) - self.input_zero_point) @ self.matrix.astype(np.float64)
        y = self.finish(sums.astype(np.int64) + self.bias, contract=contract)
        return y.reshape(n, height, width, self.channels)


@dataclass(frozen=True, eq=False)
class Depthwise(_Windowed):
    """A depthwise convolution: weights int8 (kernel y, kernel x, channels, multiplier).

    Output channel c * multiplier + m is input channel c convolved with weights[:, :, c, m].
    """

    @property
    def terms(self) -> int:
        """Number of taps."""
        return self.weights.shape[0] * self.weights.shape[1]

    @property
    def channels(self) -> int:
        """Number of output channels: input channels x depth multiplier."""
        return self.weights.shape[2] * self.weights.shape[3]

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Convolve int8 (N, H, W, C) to (N, Ho, Wo, C * multiplier)."""
        windows = self.windows(inputs[0]).astype(np.int64) - self.input_zero_point
        sums = np.einsum("nhwcyx,yxcm->nhwcm", windows, self.weights.astype(np.int64))
        return self.finish(sums.reshape(*sums.shape[:3], -1) + self.bias, contract=contract)
