"""Models: a network for the machine, and what the host does before and behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.isa.errors import EtchnetError
from etchnet.host.network.layers import Shape
from etchnet.host.network.network import Network
from etchnet.sim.arithmetic.onnx_ops import qlinear_softmax, quantise_linear
from etchnet.sim.arithmetic.softmax import softmax

__all__ = ["ArgMax", "FloatSoftmax", "Model", "ModelError", "Quantisation", "Softmax", "Step"]


class ModelError(EtchnetError, ValueError):
    """A model file, or an input for one, that cannot be taken; the message names the operator or value and why."""


@dataclass(frozen=True)
class Quantisation:
    """real = scale * (int8 - zero_point).

    Parameters
    ----------
    even
        Whether ties go to the even neighbour, as ONNX has it, or away from zero, as TensorFlow Lite has it.
    """

    scale: float
    zero_point: int
    even: bool = False

    def quantise(self, x: Any) -> np.ndarray:
        """Float to int8, as QUANTIZE and QuantizeLinear do: x / scale in float32, to nearest."""
        if self.even:
            return quantise_linear(x, self.scale, self.zero_point)
        with np.errstate(over="ignore"):
            scaled = (np.asarray(x, np.float32) / np.float32(self.scale)).astype(np.float64)
        # Half is added in double: in float32, the largest number below a half would become one.
        rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
        return np.clip(rounded + self.zero_point, -128, 127).astype(np.int8)

    def dequantise(self, x: np.ndarray) -> np.ndarray:
        """int8 to float32."""
        return (x.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


@dataclass(frozen=True)
class Softmax:
    """Softmax over the last axis, int8 to int8 with scale 1/256 and zero point -128, on the host.

    Parameters
    ----------
    channels
        Size of that axis; by default all values of an image.
    """

    input_scale: float
    beta: float = 1.0
    channels: int | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """int8 (M, N) to int8 (M, N)."""
        rows = x.reshape(-1, self.channels or x.shape[1])
        return softmax(rows, scale=self.input_scale, beta=self.beta).reshape(x.shape)


@dataclass(frozen=True)
class FloatSoftmax:
    """Softmax over all values of an image, int8 to int8, by the float32 formula of ONNX Runtime's QLinearSoftmax."""

    input_scale: float
    output: Quantisation

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """int8 (M, N) to int8 (M, N)."""
        return qlinear_softmax(
            x, input_scale=self.input_scale, output_scale=self.output.scale, zero_point=self.output.zero_point
        )


@dataclass(frozen=True)
class ArgMax:
    """The index of the largest value along the last axis, the first of equals, on the host.

    Parameters
    ----------
    dtype
        Of the indices.
    channels
        Size of that axis; by default all values of an image.
    """

    dtype: type = np.int64
    channels: int | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """int8 (M, N) to whole numbers (M, N / channels)."""
        return x.reshape(len(x), -1, self.channels or x.shape[1]).argmax(axis=-1).astype(self.dtype)


Step = Softmax | FloatSoftmax | ArgMax
"""what the host does behind the layers"""


@dataclass(frozen=True, eq=False)
class Model:
    """A network as a model file describes it.

    Parameters
    ----------
    name
        What to call it.
    network
        What runs on the machine.
    names
        A name for every layer of the network.
    input, output
        How the model's ends stand for real numbers.
    input_shape, output_shape
        Shapes of one input and one output, without the batch.
    steps
        What the host does with the network's results, in order.
    float_input, float_output
        Whether the model itself begins with QUANTIZE, ends with DEQUANTIZE.
    input_channels_first, output_channels_first
        Whether an input or output in the file's own shape has its values in the order (channel, y, x), where the
        network's image has (y, x, channel).
    tflite_file, onnx_file
        The bytes of the file that it was read from, for runtimes that take such files.
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

    def prepare(self, x: Any) -> np.ndarray:
        """The network's input, int8 (M, inputs), from int8 values as they are or from float values.

        Raises
        ------
        ModelError
            Another dtype, a shape that is not a batch of `input_shape`, or values that are not finite.
        """
        x = np.asarray(x)
        if x.shape == self.input_shape:
            x = x[None]
        if x.shape[1:] != self.input_shape and x.shape[1:] != (self.network.inputs,):
            wanted = ", ".join(["N", *map(str, self.input_shape)])
            raise ModelError(f"inputs must have shape ({wanted}), not {x.shape}")
        if not len(x):
            raise ModelError("there must be at least one input, not none")
        if np.issubdtype(x.dtype, np.floating):
            if not np.isfinite(x).all():
                raise ModelError("float inputs must be finite")
            x = self.input.quantise(x)
        elif x.dtype != np.int8:
            raise ModelError(f"inputs must be int8 (already quantised) or float, not {x.dtype}")
        if self.input_channels_first:
            height, width, channels = self._image(self.network.input_shape)
            x = x.reshape(len(x), channels, height, width).transpose(0, 2, 3, 1)
        return x.reshape(len(x), -1)

    def restore(self, x: np.ndarray) -> np.ndarray:
        """What the model's own file takes, float where it says so, for int8 (M, inputs) that `prepare` gave."""
        if self.input_channels_first:
            x = x.reshape(len(x), *self._image(self.network.input_shape)).transpose(0, 3, 1, 2)
        values = x.reshape(len(x), *self.input_shape)
        return self.input.dequantise(values) if self.float_input else values

    def finish(self, y: np.ndarray) -> np.ndarray:
        """The model's output from the network's: host steps, shape, and float32 where the model says so."""
        for step in self.steps:
            y = step(y)
        if self.output_channels_first:
            y = y.reshape(len(y), *self._image(self.network.output_shape)).transpose(0, 3, 1, 2)
        y = y.reshape(len(y), *self.output_shape)
        return self.output.dequantise(y) if self.float_output else y

    @staticmethod
    def _image(shape: Shape | None) -> Shape:
        assert shape is not None
        return shape
