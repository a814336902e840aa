"""Models: a network for the machine, and how a file names and represents its inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from etchnet.hdl.isa.errors import EtchnetError
from etchnet.host.network.network import Network
from etchnet.host.network.order import UNCHANGED, AxisOrder
from etchnet.sim.arithmetic.onnx_ops import quantise_linear

__all__ = ["InputPort", "InputStep", "Model", "ModelError", "OutputPort", "Quantisation", "Step"]


class ModelError(EtchnetError, ValueError):
    """An unsupported model file or input; the message names the operator or value, and what would be right."""


@dataclass(frozen=True)
class Quantisation:
    """The real numbers that integers represent: real = scale * (integer - zero_point).

    Parameters
    ----------
    even
        Whether `quantise` rounds ties to even, as ONNX does, or away from zero, as TensorFlow Lite does.
    dtype
        Type of the integers: int8, uint8, int16 or uint16.
    """

    scale: float
    zero_point: int
    even: bool = False
    dtype: str = "int8"

    def __str__(self) -> str:
        kind = "" if self.dtype == "int8" else f" of {self.dtype}"
        return f"scale {self.scale:.9g}, zero point {self.zero_point}{kind}"

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer."""
        return int(np.iinfo(self.dtype).min), int(np.iinfo(self.dtype).max)

    @property
    def range(self) -> tuple[float, float]:
        """The real numbers that the smallest and the largest integer represent."""
        low, high = self.limits
        return self.scale * (low - self.zero_point), self.scale * (high - self.zero_point)

    def quantise(self, x: Any) -> np.ndarray:
        """Convert float to integers as QUANTIZE and QuantizeLinear do: x / scale in float32, to nearest."""
        if self.even:
            return quantise_linear(x, self.scale, self.zero_point, dtype=self.dtype)
        with np.errstate(over="ignore"):
            scaled = (np.asarray(x, np.float32) / np.float32(self.scale)).astype(np.float64)
        # 0.5 is added in double: in float32, the largest number below 0.5 plus 0.5 would round to 1.
        rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
        return np.clip(rounded + self.zero_point, *self.limits).astype(self.dtype)

    def dequantise(self, x: np.ndarray) -> np.ndarray:
        """Convert integers to float32."""
        return (x.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


class Step(Protocol):
    """A computation of the host on flat arrays (M, values) of one input or output, in the order of the file."""

    @property
    def dtype(self) -> str:
        """Type of the results, such as int8."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Compute (M, results) from (M, values)."""


class InputStep(Step, Protocol):
    """A step before the network."""

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Return values of which the step makes `y`, or where there are none, values near them."""


@dataclass(frozen=True)
class InputPort:
    """An input of a model.

    Attributes
    ----------
    name
        Name in the file; no other input of the model has it.
    shape
        Shape in the file, without the batch axis.
    quantisation
        Scale and zero point of values of `dtype`; for float32, of the int8 values that are made of them.
    dtype
        Type in the file: int8, uint8, int16, uint16 or float32.
    order
        The order in which the network takes the values.
    steps
        Computations on the host that make the network's int8 values of those of the file.
    """

    name: str
    shape: tuple[int, ...]
    quantisation: Quantisation
    dtype: str = "int8"
    order: AxisOrder = UNCHANGED
    steps: tuple[InputStep, ...] = ()

    def prepare(self, x: Any) -> np.ndarray:
        """Convert values to those of the network, int8 (M, values).

        Values of the type in the file are taken as they are. Floats are real numbers, and quantised. int8 values for a
        float32 input are those that the network takes.

        Raises
        ------
        ModelError
            The dtype is another one, the shape is not a batch of `shape`, or a value is not finite.
        """
        x, values = np.asarray(x), math.prod(self.shape)
        if x.shape == self.shape:
            x = x[None]
        if x.shape[1:] not in (self.shape, (values,)) or not x.ndim:
            wanted = ", ".join(["N", *map(str, self.shape)])
            raise ModelError(f"inputs must have shape ({wanted}), not {x.shape}")
        if not len(x):
            raise ModelError("there must be at least one input")
        x, steps = x.reshape(len(x), -1), self.steps
        if np.issubdtype(x.dtype, np.floating):
            if not np.isfinite(x).all():
                raise ModelError("float inputs must be finite")
            x = x.astype(np.float32) if self.dtype == "float32" else self.quantisation.quantise(x)
        elif x.dtype == np.int8 and self.dtype == "float32":
            steps = ()
        elif x.dtype != self.dtype:
            integers = "int8" if self.dtype == "float32" else self.dtype
            raise ModelError(f"inputs must be {integers} (already quantised) or float, not {x.dtype}")
        for step in steps:
            x = step(x)
        return self.order.to_machine(x)

    def restore(self, x: np.ndarray) -> np.ndarray:
        """Return values of the file of which `prepare` makes int8 (M, values); near ones where there are none."""
        x = self.order.to_file(x)
        for step in reversed(self.steps):
            x = step.inverse(x)
        return x.reshape(len(x), *self.shape)


@dataclass(frozen=True)
class OutputPort:
    """An output of a model.

    Attributes
    ----------
    name
        Name in the file; no other output of the model has it.
    shape
        Shape in the file, without the batch axis.
    quantisation
        Scale and zero point of values of `dtype`; for float32, of the integers that are dequantised.
    dtype
        Type in the file: int8, uint8, int16 or float32; int32 for sums, int32 or int64 for indices.
    order
        The order in which the network gives the values.
    steps
        Computations on the host that make the values of the file of those of the network.
    """

    name: str
    shape: tuple[int, ...]
    quantisation: Quantisation
    dtype: str = "int8"
    order: AxisOrder = UNCHANGED
    steps: tuple[Step, ...] = ()

    def finish(self, y: np.ndarray) -> np.ndarray:
        """Convert the network's results (M, values) to those of the file, (M, *shape)."""
        y = self.order.to_file(y)
        for step in self.steps:
            y = step(y)
        return y.reshape(len(y), *self.shape)


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
    inputs, outputs
        Those of the network, in order, as the file has them.
    tflite_file, onnx_file
        Bytes of the file that the model was read from, for the runtime that reads such files.
    """

    name: str
    network: Network
    names: Sequence[str]
    inputs: Sequence[InputPort]
    outputs: Sequence[OutputPort]
    tflite_file: bytes | None = None
    onnx_file: bytes | None = None

    def __repr__(self) -> str:
        network = self.network
        before, after = (", ".join(str(port.shape) for port in ports) for ports in (self.inputs, self.outputs))
        shapes = f"{before} -> {after}"
        return f"Model({self.name!r}, {len(network.layers)} layers, {shapes}, {network.weight_count:,} weights)"

    def _repr_html_(self) -> str:
        return self.network.html_table(self.names)

    def prepare(self, x: Any) -> np.ndarray:
        """Convert inputs to those of the network, int8 (M, input_size), each as `InputPort.prepare` does.

        Parameters
        ----------
        x
            An array of M inputs; for a model with several inputs, a list of one array for each, or a mapping from their
            names to arrays.

        Raises
        ------
        ModelError
            An array is not a batch of its input, the batches differ, or an input is missing.
        """
        arrays = self._by_port(x)
        prepared = []
        for port, array in zip(self.inputs, arrays, strict=True):
            try:
                prepared.append(port.prepare(array))
            except ModelError as error:
                raise ModelError(f"{port.name}: {error}" if len(arrays) > 1 else str(error)) from None
        return self.join_inputs(prepared)

    def join_inputs(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Return the arrays of `InputPort.prepare`, one for each input, side by side: int8 (M, input_size).

        Raises ModelError if their batches differ.
        """
        if len({len(array) for array in prepared}) > 1:
            sizes = ", ".join(f"{len(array)} of {port.name}" for port, array in zip(self.inputs, prepared, strict=True))
            raise ModelError(f"all inputs must have batches of the same size, not {sizes}")
        return prepared[0] if len(prepared) == 1 else np.concatenate(prepared, axis=1)

    def _by_port(self, x: Any) -> Sequence[Any]:
        names = [port.name for port in self.inputs]
        if isinstance(x, Mapping):
            if set(x) != set(names):
                raise ModelError(f"inputs must be named {', '.join(names)}, not {', '.join(map(str, x)) or 'nothing'}")
            return [x[name] for name in names]
        if len(names) == 1:
            return [x]
        if not isinstance(x, list | tuple) or len(x) != len(names):
            given = f"{len(x)} arrays" if isinstance(x, list | tuple) else type(x).__name__
            raise ModelError(f"inputs must be a list of {len(names)} arrays, {', '.join(names)}, not {given}")
        return x

    def restore(self, x: np.ndarray) -> Any:
        """Return what `prepare` makes int8 (M, input_size) of: an array, or a list for several inputs.

        Where no values of the file become these, values near them; see `InputPort.restore`.
        """
        found = self.restore_all(x)
        return found[0] if len(found) == 1 else found

    def restore_all(self, x: np.ndarray) -> list[np.ndarray]:
        """Return the arrays of `restore`, one for each input."""
        parts = self.network.split_inputs(x)
        return [port.restore(part.reshape(len(x), -1)) for port, part in zip(self.inputs, parts, strict=True)]

    def finish(self, y: np.ndarray) -> Any:
        """Convert results of the network, (M, output_size), to those of the model; a list if it has several outputs."""
        found = self.finish_all(y)
        return found[0] if len(found) == 1 else found

    def finish_all(self, y: np.ndarray) -> list[np.ndarray]:
        """Convert results of the network, (M, output_size), to a list of one array for each output of the model."""
        parts = self.network.split_outputs(y)
        return [port.finish(part) for port, part in zip(self.outputs, parts, strict=True)]
