"""Networks as the compiler reads them: chains of fully connected int8 layers."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etchnet.hdl.config import CONTRACTS
from etchnet.sim.contracts import contract_of

__all__ = ["MAX_TERMS", "Dense", "Network", "NetworkError", "as_array", "as_int8"]

MAX_TERMS = 131_071
"""Products of int8 that an int32 accumulator holds whatever their values: floor((2**31 - 1) / 2**14)."""

_LARGEST_FILE = 1 << 28


class NetworkError(ValueError):
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


@dataclass(frozen=True, eq=False)
class Dense:
    """``clamp(requantise((x - input_zero_point) @ weights + bias) + zero_point)``.

    Parameters
    ----------
    weights
        int8 (K, N).
    bias
        int32 (N,), or one value for all.
    multiplier, shift
        Requantisation by `contract`: x * multiplier * 2**(shift - 31); per channel or one for all.
        `from_scale` makes them of real factors. None leaves sums as they are (int32 results).
    input_zero_point, zero_point
        Zero points of input and output, int8.
    low, high
        Clamp: ReLU is low = zero_point. By default the whole range of the result.
    contract
        How int8 results are rounded; only a machine with the same contract takes them.
    """

    weights: np.ndarray
    bias: Any = 0
    multiplier: Any = None
    shift: Any = 0
    input_zero_point: int = 0
    zero_point: int = 0
    low: Any = None
    high: Any = None
    contract: str = CONTRACTS[0]

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "weights", as_int8("weights", self.weights, 2))
        terms, channels = self.weights.shape
        if terms > MAX_TERMS:
            raise NetworkError(f"weights must have at most {MAX_TERMS} rows, or int32 sums overflow, not {terms}")
        int32 = -(1 << 31), (1 << 31) - 1
        set_field(self, "bias", _per_channel("bias", self.bias, channels, *int32))
        if self.multiplier is not None:
            set_field(self, "multiplier", _per_channel("multiplier", self.multiplier, channels, 0, int32[1]))
            set_field(self, "shift", _per_channel("shift", self.shift, channels, -31, 31))
        elif self.zero_point:
            raise NetworkError(f"zero_point must be 0 for int32 results, not {self.zero_point}")
        try:
            contract_of(self.contract).check(*((0, 0) if self.multiplier is None else (self.multiplier, self.shift)))
        except ValueError as error:
            raise NetworkError(str(error)) from None
        for name in ("input_zero_point", "zero_point"):
            set_field(self, name, int(_per_channel(name, getattr(self, name), 1, -128, 127)[0]))
        limits = int32 if self.multiplier is None else (-128, 127)
        for name, default in zip(("low", "high"), limits, strict=True):
            value = default if getattr(self, name) is None else getattr(self, name)
            set_field(self, name, int(_per_channel(name, value, 1, *limits)[0]))
        if self.low > self.high:
            raise NetworkError(f"low must not be above high ({self.high}), not {self.low}")

    @classmethod
    def from_scale(
        cls, weights: np.ndarray, bias: Any = 0, *, scale: Any, contract: str = CONTRACTS[0], **options: Any
    ) -> Dense:
        """A layer whose real requantisation factor is `scale`: one number, or one per output channel."""
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
        return cls(weights, bias, multiplier, shift, contract=contract, **options)

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

    @property
    def wide(self) -> bool:
        """Whether results are int32."""
        return self.multiplier is None

    @property
    def folded_bias(self) -> np.ndarray:
        """Bias - input_zero_point * sum of weights, modulo 2**32: what the machine adds to its int8 x int8 sums."""
        total = self.bias - self.input_zero_point * self.weights.sum(axis=0, dtype=np.int64)
        return total.astype(np.int32)

    @property
    def shifts(self) -> tuple[np.ndarray, np.ndarray]:
        """`shift` as the machine takes it: (left, right) per channel, at least one of them zero."""
        shift = np.zeros_like(self.bias) if self.wide else self.shift
        return np.maximum(shift, 0), np.maximum(-shift, 0)

    def finish(self, sums: np.ndarray) -> np.ndarray:
        """What the output stage makes of sums with their bias, (M, N): int8, or int32; sums wrap to int32."""
        wrapped = sums.astype(np.int32)
        if self.wide:
            return np.clip(wrapped, self.low, self.high)
        left, right = self.shifts
        return (
            contract_of(self.contract)
            .requantise(wrapped, self.multiplier, left, right, zero_point=self.zero_point, low=self.low, high=self.high)
            .astype(np.int8)
        )

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The layer in numpy, by `sim.reference`: int8 (M, K) to int8 or int32 (M, N)."""
        return self.finish((x.astype(np.int64) - self.input_zero_point) @ self.weights.astype(np.int64) + self.bias)


@dataclass(frozen=True, eq=False)
class Network:
    """Fully connected layers, one behind the other; all but the last give int8."""

    layers: Sequence[Dense]

    def __post_init__(self) -> None:
        if not self.layers:
            raise NetworkError("a network must have at least one layer, not none")
        for index, (layer, following) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            if layer.wide:
                raise NetworkError(f"layer {index} must give int8: only the last may give int32")
            if layer.weights.shape[1] != following.weights.shape[0]:
                raise NetworkError(
                    f"layer {index + 1} must take the {layer.weights.shape[1]} channels of layer {index}, "
                    f"not {following.weights.shape[0]}"
                )

    @property
    def inputs(self) -> int:
        """Input channels."""
        return self.layers[0].weights.shape[0]

    @property
    def outputs(self) -> int:
        """Output channels."""
        return self.layers[-1].weights.shape[1]

    def save(self, path: Path) -> None:
        """Write the network as an .npz file: for each layer i, weights_i, bias_i, settings_i and, for int8 results,
        multiplier_i, shift_i and contract_i; settings are input zero point, zero point, low and high.
        """
        arrays: dict[str, np.ndarray] = {}
        for i, layer in enumerate(self.layers):
            arrays[f"weights_{i}"] = layer.weights
            arrays[f"bias_{i}"] = layer.bias.astype(np.int32)
            settings = (layer.input_zero_point, layer.zero_point, layer.low, layer.high)
            arrays[f"settings_{i}"] = np.array(settings, np.int32)
            if not layer.wide:
                arrays[f"multiplier_{i}"] = layer.multiplier.astype(np.int32)
                arrays[f"shift_{i}"] = layer.shift.astype(np.int8)
                arrays[f"contract_{i}"] = np.array(layer.contract)
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Network:
        """Read what `save` wrote; raises NetworkError for a file that is damaged or is something else."""
        try:
            with zipfile.ZipFile(path) as archive:
                # Refuse what would not fit in memory before anything is unpacked.
                size = sum(entry.file_size for entry in archive.infolist())
                if size > _LARGEST_FILE:
                    raise NetworkError(f"{path} would unpack to {size} bytes; at most {_LARGEST_FILE} are taken")
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except NetworkError:
            raise
        except FileNotFoundError:
            raise NetworkError(f"{path} does not exist") from None
        except Exception as error:  # numpy and zipfile raise many kinds for damaged files
            raise NetworkError(f"{path} is not a readable .npz file: {error}") from None
        layers: list[Dense] = []
        while f"weights_{len(layers)}" in arrays:
            i = len(layers)
            try:
                values = arrays[f"settings_{i}"]
                if values.shape != (4,) or not np.issubdtype(values.dtype, np.integer):
                    raise NetworkError(f"settings must be 4 whole numbers, not {values.dtype} of shape {values.shape}")
                input_zero_point, zero_point, low, high = (int(value) for value in values)
                layers.append(
                    Dense(
                        arrays[f"weights_{i}"], arrays[f"bias_{i}"],
                        arrays.get(f"multiplier_{i}"), arrays.get(f"shift_{i}", 0),
                        input_zero_point, zero_point, low, high,
                        str(arrays.get(f"contract_{i}", CONTRACTS[0])),
                    )
                )  # fmt: skip
            except KeyError as error:
                raise NetworkError(f"{path} has no array {error.args[0]!r}") from None
            except (NetworkError, TypeError, ValueError) as error:
                raise NetworkError(f"{path}, layer {i}: {error}") from None
        if not layers:
            raise NetworkError(f"{path} has no array 'weights_0'; it is not a network that Network.save wrote")
        return cls(layers)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The network in numpy: int8 (M, inputs) to int8 or int32 (M, outputs)."""
        for layer in self.layers:
            x = layer.reference(x)
        return x
