"""The interface of every layer, and the checks that layers make of their settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.hdl.isa.errors import EtchnetError

__all__ = [
    "INT8",
    "INT32",
    "MAX_TERMS",
    "Layer",
    "NetworkError",
    "Shape",
    "as_array",
    "as_int8",
    "integer_pair",
    "one_integer",
    "per_channel",
]

MAX_TERMS = 131_071
"""Largest number of int8 x int8 products whose sum always fits int32: floor((2**31 - 1) / 2**14)."""

Shape = tuple[int, int, int]
"""(height, width, channels)"""

INT32 = -(1 << 31), (1 << 31) - 1
"""smallest and largest int32"""
INT8 = -128, 127
"""smallest and largest int8"""


class NetworkError(EtchnetError, ValueError):
    """An unsupported operand or layer; the message names it, its value and what would be right."""


def as_array(name: str, value: Any, ndim: int) -> np.ndarray:
    """Return `value` as an array of `ndim` dimensions, none of them empty; error messages call it `name`."""
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
    """Return `value` as an int8 array; other integer types are accepted if every value fits."""
    array = as_array(name, value, ndim)
    if not np.issubdtype(array.dtype, np.integer):
        raise NetworkError(f"{name} must be int8, or integers from -128 to 127, not {array.dtype}")
    if array.dtype != np.int8:
        outside = array[(array < -128) | (array > 127)]
        if outside.size:
            raise NetworkError(f"{name} must hold int8 values, from -128 to 127, not {outside.flat[0]}")
    return array.astype(np.int8)


def per_channel(name: str, value: Any, channels: int, low: int, high: int) -> np.ndarray:
    """Return one integer, or one per channel, as int64 (channels,); each must be from `low` to `high`."""
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.integer):
        raise NetworkError(f"{name} must be integers, not {array.dtype}")
    if array.ndim == 0:
        array = np.full(channels, array)
    if array.shape != (channels,):
        raise NetworkError(f"{name} must have one value per output channel, {channels}, not shape {array.shape}")
    outside = array[(array < low) | (array > high)]
    if outside.size:
        raise NetworkError(f"{name} must be from {low} to {high}, not {outside[0]}")
    return array.astype(np.int64)


def one_integer(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` as an int from `low` to `high`."""
    return int(per_channel(name, value, 1, low, high)[0])


def integer_pair(name: str, value: Any, low: int, high: int = 1 << 15) -> tuple[int, int]:
    """Return `value` as two integers from `low` to `high`."""
    try:
        pair = tuple(int(v) for v in value)
    except (TypeError, ValueError):
        pair = ()
    if len(pair) != 2 or any(not low <= v <= high for v in pair):
        raise NetworkError(f"{name} must be two integers from {low} to {high}, not {value!r}")
    return pair[0], pair[1]


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of a network.

    Subclasses are frozen dataclasses of settings; `etchnet.host.network.layers` lists them. Constructors check the
    settings, and raise NetworkError.
    """

    arity = 1
    """number of input tensors; 0 for any number of at least one"""
    zero_point = 0
    """zero point of the result, if the layer sets one"""
    low = INT8[0]
    """smallest result"""
    high = INT8[1]
    """largest result"""

    @property
    def wide(self) -> bool:
        """Whether the result is int32 rather than int8."""
        return False

    @property
    def input_zero_points(self) -> tuple[int, ...]:
        """Zero point of each input; empty for a layer whose result has the scale and zero point of its inputs."""
        return ()

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the result; raises NetworkError for input shapes that the layer does not accept."""
        raise NotImplementedError

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Compute the result of int8 tensors (N, H, W, C) in numpy: int8 (N, H, W, C), or int32 if `wide`.

        Compiled programs are checked against this definition, bit by bit.
        """
        raise NotImplementedError

    def multiplications(self, *inputs: Shape) -> int:
        """Count the multiplications by weights that one image needs, those of padding included."""
        return 0
