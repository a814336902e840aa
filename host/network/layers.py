"""The layers of a network: what each computes, bit by bit, on int8 images.

A *tensor* is a batch of images: int8 (N, H, W, C), channels last. A vector is an image of one pixel. Every layer says
what shape it makes of the shapes that it is given, and computes its result in numpy by a rounding contract: this is the
definition that compiled programs are held to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.isa.config import CONTRACTS
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.sim.arithmetic.contracts import contract_of

__all__ = [
    "MAX_TERMS",
    "Add",
    "AveragePool",
    "Concat",
    "Conv",
    "Dense",
    "Depthwise",
    "Layer",
    "Linear",
    "MaxPool",
    "NetworkError",
    "Pad",
    "Padding",
    "Pool",
    "Reshape",
    "Scaling",
    "Shape",
    "as_array",
    "as_int8",
    "same_padding",
]

MAX_TERMS = 131_071
"""Products of int8 that an int32 accumulator holds whatever their values: floor((2**31 - 1) / 2**14)."""

Shape = tuple[int, int, int]
"""height, width, channels"""
Padding = tuple[tuple[int, int], tuple[int, int]]
"""(top, bottom), (left, right)"""

_INT32 = -(1 << 31), (1 << 31) - 1
_INT8 = -128, 127
_NO_PADDING: Padding = ((0, 0), (0, 0))


class NetworkError(EtchnetError, ValueError):
    """An operand or layer that the machine cannot take; the message names it, its value and what would be right."""


def as_array(name: str, value: Any, ndim: int) -> np.ndarray:
    """`value` as an array of `ndim` dimensions, none of them empty."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise NetworkError(f"{name} must be an array: {error}") from None
    if array.ndim != ndim:
        raise NetworkError(f"{name} must have {ndim} dimension{'s'[: ndim != 1]}, not shape {array.shape}")
    if 0 in array.shape:
        raise NetworkError(f"{name} must not be empty, but has shape {array.shape}")
    return array


def as_int8(name: str, value: Any, ndim: int) -> np.ndarray:
    """`value` as an int8 array; other integer types are taken where every value fits."""
    array = as_array(name, value, ndim)
    if not np.issubdtype(array.dtype, np.integer):
        raise NetworkError(f"{name} must be int8, not {array.dtype}")
    if array.dtype != np.int8:
        outside = array[(array < -128) | (array > 127)]
        if outside.size:
            raise NetworkError(f"{name} must hold int8 values, from -128 to 127, not {outside.flat[0]}")
    return array.astype(np.int8)


def _per_channel(name: str, value: Any, channels: int, low: int, high: int) -> np.ndarray:
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.integer):
        raise NetworkError(f"{name} must be whole numbers, not {array.dtype}")
    if array.ndim == 0:
        array = np.full(channels, array)
    if array.shape != (channels,):
        raise NetworkError(f"{name} must have one value per output channel, {channels}, not shape {array.shape}")
    outside = array[(array < low) | (array > high)]
    if outside.size:
        raise NetworkError(f"{name} must be from {low} to {high}, not {outside[0]}")
    return array.astype(np.int64)


def _one(name: str, value: Any, low: int, high: int) -> int:
    return int(_per_channel(name, value, 1, low, high)[0])


def _pair(name: str, value: Any, low: int, high: int = 1 << 15) -> tuple[int, int]:
    try:
        pair = tuple(int(v) for v in value)
    except (TypeError, ValueError):
        pair = ()
    if len(pair) != 2 or any(not low <= v <= high for v in pair):
        raise NetworkError(f"{name} must be two whole numbers from {low} to {high}, not {value!r}")
    return pair[0], pair[1]


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Pixels that SAME padding adds (before, after) along one axis: TensorFlow's rule, the odd one after."""
    span = (kernel - 1) * dilation + 1
    total = max(0, (ceil_div(size, stride) - 1) * stride + span - size)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Scaling:
    """How int32 values of all channels become smaller: `multiplier`, `left` and `right` of a rounding contract."""

    multiplier: int
    left: int
    right: int

    @classmethod
    def of(cls, scale: float, *, left: int | None = None, contract: str = CONTRACTS[0]) -> Scaling:
        """The factor `scale` as the contract writes it.

        With `left`, values are raised by 2**left first, and `scale`, below 1, is the factor behind that.
        """
        multiplier, shift = contract_of(contract).quantise(scale)
        if left is None:
            return cls(multiplier, max(shift, 0), max(-shift, 0))
        if shift > 0:
            raise NetworkError(f"a scale behind a left shift of {left} must be below 1, not {scale!r}")
        return cls(multiplier, left, -shift)

    def apply(
        self, values: np.ndarray, contract: str, *, zero_point: int = 0, low: int = _INT32[0], high: int = _INT32[1]
    ) -> np.ndarray:
        """int32 values scaled, rounded, moved and clamped; int64."""
        return contract_of(contract).requantise(
            values, self.multiplier, self.left, self.right, zero_point=zero_point, low=low, high=high
        )


class Layer:
    """What all layers have in common."""

    arity = 1
    """tensors that it takes; 0 where any number will do"""
    wide = False
    """whether results are int32"""
    zero_point = 0

    def shape(self, *inputs: Shape) -> Shape:
        """The shape of its result; raises NetworkError for shapes that it cannot take."""
        raise NotImplementedError

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """The result for int8 tensors (N, H, W, C): int8, or int32 where `wide`."""
        raise NotImplementedError

    def multiplications(self, *inputs: Shape) -> int:
        """Multiplications of one image that are the network's own: those of weights."""
        return 0


def _windows(
    x: np.ndarray,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding,
    value: int,
) -> np.ndarray:
    """Every window of padded images: (N, Ho, Wo, C, kh, kw), a view."""
    (top, bottom), (left, right) = padding
    images, height, width, channels = x.shape
    padded = np.full((images, top + height + bottom, left + width + right, channels), value, x.dtype)
    padded[:, top : top + height, left : left + width] = x
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(1, 2))
    return views[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]


def _windowed(
    name: str,
    shape: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding,
) -> tuple[int, int]:
    sizes = []
    for axis in range(2):
        span = (kernel[axis] - 1) * dilation[axis] + 1
        padded = shape[axis] + sum(padding[axis])
        if padded < span:
            raise NetworkError(
                f"{name} of {kernel[0]} x {kernel[1]} must fit its padded input: {span} pixels do not fit {padded}"
            )
        sizes.append((padded - span) // stride[axis] + 1)
    return sizes[0], sizes[1]


def _check_padding(value: Any, kernel: Sequence[int] | None = None) -> Padding:
    try:
        top, left = (_pair("padding", side, 0) for side in value)
    except (TypeError, ValueError) as error:
        if isinstance(error, NetworkError):
            raise
        raise NetworkError(f"padding must be ((top, bottom), (left, right)), not {value!r}") from None
    return top, left


@dataclass(frozen=True, eq=False)
class Linear(Layer):
    """What weights and a requantisation have in common: ``clamp(requantise(sum + bias) + zero_point)``.

    Parameters
    ----------
    weights
        int8; the last axis, or the last two of a depthwise layer, are output channels.
    bias
        int32, one per output channel or one for all.
    multiplier, shift
        Requantisation by the network's contract, per channel or one for all: for `tflite-double`, x * multiplier *
        2**(shift - 31). `from_scale` makes them of real factors. None leaves sums as they are (int32 results).
    input_zero_point, zero_point
        Zero points of input and output, int8.
    low, high
        Clamp: ReLU is low = zero_point. By default the whole range of the result.
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
            raise NetworkError(f"weights must have at most {MAX_TERMS} rows, or int32 sums overflow, not {terms}")
        set_field(self, "bias", _per_channel("bias", self.bias, channels, *_INT32))
        if self.multiplier is not None:
            set_field(self, "multiplier", _per_channel("multiplier", self.multiplier, channels, 0, _INT32[1]))
            set_field(self, "shift", _per_channel("shift", self.shift, channels, -31, 31))
        elif self.zero_point:
            raise NetworkError(f"zero_point must be 0 for int32 results, not {self.zero_point}")
        for name in ("input_zero_point", "zero_point"):
            set_field(self, name, _one(name, getattr(self, name), *_INT8))
        limits = _INT32 if self.multiplier is None else _INT8
        for name, default in zip(("low", "high"), limits, strict=True):
            value = default if getattr(self, name) is None else getattr(self, name)
            set_field(self, name, _one(name, value, *limits))
        if self.low > self.high:
            raise NetworkError(f"low must not be above high ({self.high}), not {self.low}")

    @classmethod
    def from_scale(
        cls, weights: np.ndarray, bias: Any = 0, *, scale: Any, contract: str = CONTRACTS[0], **options: Any
    ) -> Any:
        """A layer whose real requantisation factor is `scale`, as `contract` writes it: one, or one per channel."""
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
        """Products in one sum."""
        return int(np.prod(self.weights.shape[:-1]))

    @property
    def channels(self) -> int:
        """Output channels."""
        return self.weights.shape[-1]

    @property
    def wide(self) -> bool:  # type: ignore[override]
        """Whether results are int32."""
        return self.multiplier is None

    @property
    def matrix(self) -> np.ndarray:
        """Weights as int8 (terms, channels), by which the sums of any channel are certified."""
        return self.weights.reshape(self.terms, self.channels)

    @property
    def folded_bias(self) -> np.ndarray:
        """Bias - input_zero_point * sum of weights, modulo 2**32: what the machine adds to its int8 x int8 sums."""
        total = self.bias - self.input_zero_point * self.matrix.sum(axis=0, dtype=np.int64)
        return total.astype(np.int32)

    @property
    def shifts(self) -> tuple[np.ndarray, np.ndarray]:
        """`shift` as the machine takes it: (left, right) per channel, at least one of them zero."""
        shift = np.zeros_like(self.bias) if self.wide else self.shift
        return np.maximum(shift, 0), np.maximum(-shift, 0)

    def finish(self, sums: np.ndarray, *, contract: str = CONTRACTS[0]) -> np.ndarray:
        """What the output stage makes of sums with their bias, (..., channels): int8, or int32; sums wrap to int32."""
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
    """A fully connected layer: weights int8 (K, N), on the K values of an image in the order (y, x, channel)."""

    def select(self, columns: slice) -> Dense:
        """The layer of some of the output channels."""
        scaled = self.multiplier is not None
        return dataclasses.replace(
            self,
            weights=self.weights[:, columns],
            bias=self.bias[columns],
            multiplier=self.multiplier[columns] if scaled else None,
            shift=self.shift[columns] if scaled else 0,
        )

    def shape(self, *inputs: Shape) -> Shape:
        """One pixel."""
        values = int(np.prod(inputs[0]))
        if values != len(self.weights):
            raise NetworkError(f"weights take {len(self.weights)} values, but the input has shape {inputs[0]}")
        return 1, 1, self.channels

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """int8 (N, H, W, C), or (N, K), to (N, 1, 1, channels), or (N, channels)."""
        x = inputs[0].reshape(len(inputs[0]), -1).astype(np.float64) - self.input_zero_point
        # Sums of at most MAX_TERMS products of 9 and 8 bits: float64 holds them exactly, and BLAS multiplies it.
        y = self.finish((x @ self.weights.astype(np.float64)).astype(np.int64) + self.bias, contract=contract)
        return y if inputs[0].ndim == 2 else y[:, None, None, :]

    def multiplications(self, *inputs: Shape) -> int:
        """One per weight."""
        return self.weights.size


@dataclass(frozen=True, eq=False)
class _Windowed(Linear):
    """Linear layers that slide over an image.

    Parameters
    ----------
    stride, dilation
        Pixels between windows, and between the taps of one: (y, x).
    padding
        ((top, bottom), (left, right)) pixels of the input's zero point.
    """

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Padding = _NO_PADDING

    _axes = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "stride", _pair("stride", self.stride, 1))
        object.__setattr__(self, "dilation", _pair("dilation", self.dilation, 1))
        object.__setattr__(self, "padding", _check_padding(self.padding))

    @property
    def kernel(self) -> tuple[int, int]:
        """Taps: (y, x)."""
        return self.weights.shape[0], self.weights.shape[1]

    def shape(self, *inputs: Shape) -> Shape:
        """Windows that fit, x channels."""
        name = type(self).__name__.lower()
        if inputs[0][2] != self.weights.shape[2]:
            raise NetworkError(f"weights take {self.weights.shape[2]} channels, but the input has {inputs[0][2]}")
        return *_windowed(name, inputs[0], self.kernel, self.stride, self.dilation, self.padding), self.channels

    def _taken(self, x: np.ndarray) -> np.ndarray:
        return _windows(x, self.kernel, self.stride, self.dilation, self.padding, self.input_zero_point)

    def multiplications(self, *inputs: Shape) -> int:
        """One per output pixel and weight, those with padding included."""
        height, width, _ = self.shape(*inputs)
        return height * width * self.weights.size


@dataclass(frozen=True, eq=False)
class Conv(_Windowed):
    """A 2-D convolution (correlation): weights int8 (kernel y, kernel x, input channels, output channels)."""

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """int8 (N, H, W, C) to (N, Ho, Wo, channels)."""
        taken = self._taken(inputs[0])
        n, height, width = taken.shape[:3]
        columns = taken.transpose(0, 1, 2, 4, 5, 3).reshape(n * height * width, -1)
        # float64 holds every sum exactly, as in Dense.
        sums = (columns.astype(np.float64) - self.input_zero_point) @ self.matrix.astype(np.float64)
        y = self.finish(sums.astype(np.int64) + self.bias, contract=contract)
        return y.reshape(n, height, width, self.channels)


@dataclass(frozen=True, eq=False)
class Depthwise(_Windowed):
    """A depthwise convolution: weights int8 (kernel y, kernel x, channels, multiplier).

    Output channel c * multiplier + m is input channel c under the taps [:, :, c, m].
    """

    @property
    def terms(self) -> int:
        """Taps."""
        return self.weights.shape[0] * self.weights.shape[1]

    @property
    def channels(self) -> int:
        """Input channels x depth multiplier."""
        return self.weights.shape[2] * self.weights.shape[3]

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """int8 (N, H, W, C) to (N, Ho, Wo, C * multiplier)."""
        taken = self._taken(inputs[0]).astype(np.int64) - self.input_zero_point
        sums = np.einsum("nhwcyx,yxcm->nhwcm", taken, self.weights.astype(np.int64))
        return self.finish(sums.reshape(*sums.shape[:3], -1) + self.bias, contract=contract)


@dataclass(frozen=True)
class Pool(Layer):
    """A window that slides over every channel; pixels outside the image do not count.

    Parameters
    ----------
    window, stride
        (y, x).
    padding
        ((top, bottom), (left, right)); at least one pixel of every window must lie inside the image.
    low, high
        Clamp.
    """

    window: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: Padding = _NO_PADDING
    low: int = -128
    high: int = 127

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", _pair("window", self.window, 1))
        object.__setattr__(self, "stride", _pair("stride", self.stride, 1))
        object.__setattr__(self, "padding", _check_padding(self.padding))
        for (before, after), size in zip(self.padding, self.window, strict=True):
            if before >= size or after >= size:
                raise NetworkError(f"padding must be smaller than the window {self.window}, not {self.padding}")
        if not -128 <= self.low <= self.high <= 127:
            raise NetworkError(f"low and high must be from -128 to 127 in order, not {self.low} and {self.high}")

    def shape(self, *inputs: Shape) -> Shape:
        """Windows that fit; channels stay."""
        size = _windowed(type(self).__name__, inputs[0], self.window, self.stride, (1, 1), self.padding)
        return *size, inputs[0][2]

    def counts(self, height: int, width: int) -> np.ndarray:
        """Pixels of each window that lie inside an image of that size: int64 (Ho, Wo)."""
        inside = np.ones((1, height, width, 1), np.int64)
        return _windows(inside, self.window, self.stride, (1, 1), self.padding, 0).sum(axis=(0, 3, 4, 5))


@dataclass(frozen=True)
class AveragePool(Pool):
    """(sum +- n / 2) / n truncated, n the pixels inside: to nearest, ties away from zero; scale and zero point stay."""

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """int8 (N, H, W, C) to int8 (N, Ho, Wo, C)."""
        x = inputs[0]
        sums = _windows(x.astype(np.int64), self.window, self.stride, (1, 1), self.padding, 0).sum(axis=(4, 5))
        n = self.counts(*x.shape[1:3])[None, :, :, None]
        magnitude = (np.abs(sums) + n // 2) // n
        return np.clip(np.where(sums < 0, -magnitude, magnitude), self.low, self.high).astype(np.int8)


@dataclass(frozen=True)
class MaxPool(Pool):
    """The largest pixel of each window."""

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """int8 (N, H, W, C) to int8 (N, Ho, Wo, C)."""
        windows = _windows(inputs[0], self.window, self.stride, (1, 1), self.padding, -128)
        return np.clip(windows.max(axis=(4, 5)), self.low, self.high).astype(np.int8)


@dataclass(frozen=True)
class Add(Layer):
    """Two tensors of one shape, each brought to a common scale, added, and requantised.

    ``clamp(result(first(a - zero_points[0]) + second(b - zero_points[1])) + zero_point)``: three roundings.

    Parameters
    ----------
    zero_points
        Of the two inputs: what is subtracted. They may lie outside int8.
    first, second
        Scalings of the inputs to the common scale, int32.
    result
        Scaling of the sum.
    """

    zero_points: tuple[int, int]
    first: Scaling
    second: Scaling
    result: Scaling
    zero_point: int = 0
    low: int = -128
    high: int = 127

    arity = 2

    @classmethod
    def from_scales(
        cls, scales: tuple[float, float], scale: float, *, zero_points: tuple[int, int], **options: Any
    ) -> Add:
        """TensorFlow Lite's int8 ADD: both operands at 2**-20 of twice the larger scale, in double."""
        twice = 2 * max(float(scales[0]), float(scales[1]))
        try:
            first, second = (Scaling.of(float(s) / twice, left=20) for s in scales)
            result = Scaling.of(twice / ((1 << 20) * float(scale)))
        except ValueError as error:
            raise NetworkError(str(error)) from None
        return cls(zero_points, first, second, result, **options)

    def shape(self, *inputs: Shape) -> Shape:
        """The shape of both."""
        if inputs[0] != inputs[1]:
            raise NetworkError(f"operands of an addition must have one shape, not {inputs[0]} and {inputs[1]}")
        return inputs[0]

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Two int8 tensors to one."""
        operands = zip((self.first, self.second), inputs, self.zero_points, strict=True)
        total = sum(scaling.apply(x.astype(np.int64) - zero, contract) for scaling, x, zero in operands)
        return self.result.apply(
            np.asarray(total), contract, zero_point=self.zero_point, low=self.low, high=self.high
        ).astype(np.int8)


@dataclass(frozen=True)
class Concat(Layer):
    """Tensors of one scale and zero point side by side along an axis of an image: 0 height, 1 width, 2 channels."""

    axis: int = 2

    arity = 0

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2):
            raise NetworkError(f"axis must be 0 (height), 1 (width) or 2 (channels), not {self.axis!r}")

    def shape(self, *inputs: Shape) -> Shape:
        """Sizes along the axis added up; the others must be equal."""
        rest = {(*s[: self.axis], *s[self.axis + 1 :]) for s in inputs}
        if len(rest) != 1:
            raise NetworkError(f"tensors put side by side along axis {self.axis} must agree elsewhere, not {inputs}")
        total = list(inputs[0])
        total[self.axis] = sum(s[self.axis] for s in inputs)
        return total[0], total[1], total[2]

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """int8 tensors to one."""
        return np.concatenate(inputs, axis=self.axis + 1)


@dataclass(frozen=True)
class Pad(Layer):
    """Pixels of one value around an image, and channels of it behind.

    Parameters
    ----------
    padding
        ((top, bottom), (left, right)).
    value
        int8.
    channels
        Channels added (before, behind).
    """

    padding: Padding
    value: int = 0
    channels: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "padding", _check_padding(self.padding))
        object.__setattr__(self, "channels", _pair("channels", self.channels, 0))
        object.__setattr__(self, "value", _one("value", self.value, *_INT8))

    def shape(self, *inputs: Shape) -> Shape:
        """The image with its border."""
        height, width, channels = inputs[0]
        return height + sum(self.padding[0]), width + sum(self.padding[1]), channels + sum(self.channels)

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """An int8 tensor to a larger one."""
        return np.pad(inputs[0], ((0, 0), *self.padding, self.channels), constant_values=self.value)


@dataclass(frozen=True)
class Reshape(Layer):
    """The same values, in the order (y, x, channel), as an image of another shape."""

    size: Shape

    def shape(self, *inputs: Shape) -> Shape:
        """`size`."""
        if int(np.prod(inputs[0])) != int(np.prod(self.size)) or len(self.size) != 3 or min(self.size) < 1:
            raise NetworkError(f"an image of shape {inputs[0]} cannot take shape {self.size}")
        return self.size

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """An int8 tensor to another."""
        return inputs[0].reshape(len(inputs[0]), *self.size)
