"""Steps of the host: computations on values of a model before its network and after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etchnet.host.network.model import Quantisation
from etchnet.sim.arithmetic.curves import float_log_softmax, int8_logistic, int8_tanh, log_softmax
from etchnet.sim.arithmetic.reference import quantise_multiplier, requantise
from etchnet.sim.arithmetic.softmax import softmax

__all__ = [
    "ArgMax",
    "Dequantise",
    "FloatLogSoftmax",
    "LogSoftmax",
    "Logistic",
    "Quantise",
    "Requantise",
    "Softmax",
    "Tanh",
]


@dataclass(frozen=True)
class Quantise:
    """float32 to integers, by `Quantisation.quantise`."""

    target: Quantisation

    @property
    def dtype(self) -> str:
        """Type of the results."""
        return self.target.dtype

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute integers from float32 of any shape."""
        return self.target.quantise(x)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Return float32 values that become `y`."""
        return self.target.dequantise(y)


@dataclass(frozen=True)
class Dequantise:
    """Integers to float32, by `Quantisation.dequantise`."""

    source: Quantisation
    dtype: str = "float32"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute float32 from integers of any shape."""
        return self.source.dequantise(x)


@dataclass(frozen=True)
class Requantise:
    """Integers to integers of another type, scale or zero point, as TensorFlow Lite Micro's QUANTIZE computes them.

    Its formula is that of the contract `tflite-double`, with the factor ``source.scale / target.scale`` in double.

    Raises
    ------
    ValueError
        That factor is 2**31 or more, or shifts values of the source's type out of int32.
    """

    source: Quantisation
    target: Quantisation

    def __post_init__(self) -> None:
        _, shift = quantise_multiplier(self.source.scale / self.target.scale)
        largest = max(abs(bound - self.source.zero_point) for bound in self.source.limits)
        if largest << max(shift, 0) >= 1 << 31:
            raise ValueError(
                f"a change from scale {self.source.scale:g} to {self.target.scale:g} shifts {self.source.dtype} values "
                "out of int32: the target's scale must be larger"
            )

    @property
    def dtype(self) -> str:
        """Type of the results."""
        return self.target.dtype

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute integers of the target's type from integers of any shape."""
        multiplier, shift = quantise_multiplier(self.source.scale / self.target.scale)
        low, high = self.target.limits
        values = requantise(
            x.astype(np.int64) - self.source.zero_point,
            multiplier,
            max(shift, 0),
            max(-shift, 0),
            zero_point=self.target.zero_point,
            low=low,
            high=high,
        )
        return values.astype(self.dtype)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Return source values that become `y`; where there is none, one that becomes a neighbour."""
        low, high = self.source.limits
        values = np.arange(low, high + 1).astype(self.source.dtype)
        made = self(values).astype(np.int64)
        return values[np.minimum(np.searchsorted(made, y.astype(np.int64)), len(values) - 1)]


@dataclass(frozen=True)
class Softmax:
    """Softmax over the last axis on the host: int8 to int8 of scale 1/256 and zero point -128.

    Parameters
    ----------
    channels
        Size of the last axis; by default all values of an image.
    """

    input_scale: float
    beta: float = 1.0
    channels: int | None = None
    dtype: str = "int8"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute int8 (M, N) from int8 (M, N)."""
        rows = x.reshape(-1, self.channels or x.shape[1])
        return softmax(rows, scale=self.input_scale, beta=self.beta).reshape(x.shape)


@dataclass(frozen=True)
class Logistic:
    """The logistic function of each value on the host: int8 to int8 of scale 1/256 and zero point -128."""

    source: Quantisation
    dtype: str = "int8"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute int8 from int8 of any shape."""
        return int8_logistic(x, scale=self.source.scale, zero_point=self.source.zero_point)


@dataclass(frozen=True)
class Tanh:
    """The hyperbolic tangent of each value on the host: int8 to int8 of scale 1/128 and zero point 0."""

    source: Quantisation
    dtype: str = "int8"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute int8 from int8 of any shape."""
        return int8_tanh(x, scale=self.source.scale, zero_point=self.source.zero_point)


@dataclass(frozen=True)
class LogSoftmax:
    """Logarithm of the softmax over the last axis, `channels` values: int8 to int8 of scale 1/16 and zero point 127."""

    input_scale: float
    channels: int
    dtype: str = "int8"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute int8 (M, N) from int8 (M, N)."""
        return log_softmax(x.reshape(-1, self.channels), scale=self.input_scale).reshape(x.shape)


@dataclass(frozen=True)
class FloatLogSoftmax:
    """Logarithm of the softmax over the last axis, of `channels` values: float32 to float32."""

    channels: int
    dtype: str = "float32"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute float32 (M, N) from float32 (M, N)."""
        return float_log_softmax(x.reshape(-1, self.channels)).reshape(x.shape)


@dataclass(frozen=True)
class ArgMax:
    """Index of the largest value along the last axis on the host; of equal values, the first.

    Parameters
    ----------
    dtype
        Type of the indices, such as int64.
    channels
        Size of the last axis; by default all values of an image.
    """

    dtype: str = "int64"
    channels: int | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute indices (M, N / channels) from int8 (M, N)."""
        return x.reshape(len(x), -1, self.channels or x.shape[1]).argmax(axis=-1).astype(self.dtype)
