"""Models: a network for the machine, and the host's steps before and after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.isa.errors import EtchnetError
from etchnet.host.network.network import Network
from etchnet.sim.arithmetic.onnx_ops import qlinear_softmax, quantise_linear
from etchnet.sim.arithmetic.softmax import softmax

__all__ = ["ArgMax", "FloatSoftmax", "Model", "ModelError", "Quantisation", "Softmax", "Step"]


class ModelError(EtchnetError, ValueError):
    """An unsupported model file or input; the message names the operator or value, and what would be right."""


@dataclass(frozen=True)
class Quantisation:
    """The real numbers that int8 values represent: real = scale * (int8 - zero_point).

    Parameters
    ----------
    even
        Whether `quantise` rounds ties to even, as ONNX does, or away from zero, as TensorFlow Lite does.
    """

    scale: float
    zero_point: int
    even: bool = False

    def quantise(self, x: Any) -> np.ndarray:
        """Convert float to int8 as QUANTIZE and QuantizeLinear do: x / scale in float32, to nearest."""
        if self.even:
            return quantise_linear(x, self.scale, self.zero_point)
        with np.errstate(over="ignore"):
            scaled = (np.asarray(x, np.float32) / np.float32(self.scale)).astype(np.float64)
        # 0.5 is added in double: in float32, the largest number below 0.5 plus 0.5 would round to 1.
        rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
        return np.clip(rounded + self.zero_point, -128, 127).astype(np.int8)

    def dequantise(self, x: np.ndarray) -> np.ndarray:
        """Convert int8 to float32."""
        return (x.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


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

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute int8 (M, N) from int8 (M, N)."""
        rows = x.reshape(-1, self.channels or x.shape[1])
        return softmax(rows, scale=self.input_scale, beta=self.beta).reshape(x.shape)


@dataclass(frozen=True)
class FloatSoftmax:
    """Softmax over all values of an image on the host: int8 to int8, by ONNX Runtime's QLinearSoftmax in float32."""

    input_scale: float
    output: Quantisation

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute int8 (M, N) from int8 (M, N)."""
        return qlinear_softmax(
            x, input_scale=self.input_scale, output_scale=self.output.scale, zero_point=self.output.zero_point
        )


@dataclass(frozen=True)
class ArgMax:
    """Index of the largest value along the last axis on the host; of equal values, the first.

    Parameters
    ----------
    dtype
        Type of the indices.
    channels
        Size of the last axis; by default all values of an image.
    """

    dtype: type = np.int64
    channels: int | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute indices (M, N / channels) from int8 (M, N)."""
        return x.reshape(len(x), -1, self.channels or x.shape[1]).argmax(axis=-1).astype(self.dtype)


Step = Softmax | FloatSoftmax | ArgMax
"""a computation on the host after the last layer"""


@dataclass(frozen=True, eq=False)
class Model:
    """A network, and how its model file names it and represents its inputs and outputs.

    Parameters
    ----------
    name
        Name of the model.
    network
        Network that runs on the machine.
    names
        One name per layer of the network.
    input, output
        Scale and zero point of inputs and outputs.
    input_shape, output_shape
        Shapes of one input and one output, without the batch axis.
    steps
        Computations on the host, applied to the network's results in order.
    float_input, float_output
        Whether the model begins with a quantisation of float32, and ends with a dequantisation.
    input_channels_first, output_channels_first
        Whether inputs or outputs of the model file have the order (channel, y, x); the network's images have the order
        (y, x, channel).
    tflite_file, onnx_file
        Bytes of the file that the model was read from, for the runtime that reads such files.
    """

    name: str
    network: Network
    names: Sequence[str]
    input: Quantisation
    output: Quantisation
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    steps: Sequence[Step] = ()
    float_input: bool = False
    float_output: bool = False
    input_channels_first: bool = False
    output_channels_first: bool = False
    tflite_file: bytes | None = None
    onnx_file: bytes | None = None

    def __repr__(self) -> str:
        network = self.network
        shapes = f"{self.input_shape} -> {self.output_shape}"
        return f"Model({self.name!r}, {len(network.layers)} layers, {shapes}, {network.weight_count:,} weights)"

    def _repr_html_(self) -> str:
        return self.network.html_table(self.names)

    def prepare(self, x: Any) -> np.ndarray:
        """Convert inputs to those of the network, int8 (M, inputs): int8 values are kept, float values quantised.

        Raises
        ------
        ModelError
            The dtype is neither int8 nor float, the shape is not a batch of `input_shape`, or a value is not finite.
        """
        x = np.asarray(x)
        if x.shape == self.input_shape:
            x = x[None]
        if x.shape[1:] != self.input_shape and x.shape[1:] != (self.network.input_size,):
            wanted = ", ".join(["N", *map(str, self.input_shape)])
            raise ModelError(f"inputs must have shape ({wanted}), not {x.shape}")
        if not len(x):
            raise ModelError("there must be at least one input")
        if np.issubdtype(x.dtype, np.floating):
            if not np.isfinite(x).all():
                raise ModelError("float inputs must be finite")
            x = self.input.quantise(x)
        elif x.dtype != np.int8:
            raise ModelError(f"inputs must be int8 (already quantised) or float, not {x.dtype}")
        if self.input_channels_first:
            height, width, channels = self.network.input_shape
            x = x.reshape(len(x), channels, height, width).transpose(0, 2, 3, 1)
        return x.reshape(len(x), -1)

    def restore(self, x: np.ndarray) -> np.ndarray:
        """Convert int8 (M, inputs) of `prepare` back to inputs of the model file: float32 if `float_input`."""
        if self.input_channels_first:
            x = x.reshape(len(x), *self.network.input_shape).transpose(0, 3, 1, 2)
        values = x.reshape(len(x), *self.input_shape)
        return self.input.dequantise(values) if self.float_input else values

    def finish(self, y: np.ndarray) -> np.ndarray:
        """Convert the network's results to the model's: apply `steps`, reshape, and dequantise if `float_output`."""
        for step in self.steps:
            y = step(y)
        if self.output_channels_first:
            y = y.reshape(len(y), *self.network.output_shape).transpose(0, 3, 1, 2)
        y = y.reshape(len(y), *self.output_shape)
        return self.output.dequantise(y) if self.float_output else y
