"""Arrays that kernels compute in, and helpers for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Scratch", "Values", "as_slice", "wrap_int32"]


@dataclass(frozen=True, eq=False)
class Values:
    """All values of a batch of repeats: whole numbers, as floats.

    Attributes
    ----------
    cells
        float32 (batch, cells, bytes of a cell).
    rows
        float64 (batch, value rows, columns).
    """

    cells: np.ndarray
    rows: np.ndarray


class Scratch:
    """Reusable buffers: allocating memory costs more than computing in it. Not safe to share between threads."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, type], np.ndarray] = {}
        self._views: dict[tuple[str, tuple[int, ...], type], np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """Return an array of finite values. It shares memory with the last one of the same name and dtype.

        Values are 0 or left from an earlier use. They are always finite, because kernels may multiply them by zero
        weights: the product is 0, as in the machine, which it would not be for a NaN.
        """
        view = self._views.get((name, shape, dtype))
        if view is not None:
            return view
        size, key = math.prod(shape), (name, dtype)
        if key not in self._buffers or self._buffers[key].size < size:
            self._buffers[key] = np.zeros(size, dtype)
            self._views = {known: v for known, v in self._views.items() if (known[0], known[2]) != key}
        self._views[name, shape, dtype] = view = self._buffers[key][:size].reshape(shape)
        return view


def wrap_int32(values: np.ndarray) -> np.ndarray:
    """Return whole numbers modulo 2**32, as int32."""
    return values.astype(np.int64).astype(np.int32)


def as_slice(indices: np.ndarray) -> slice | None:
    """Return the slice equal to consecutive ascending indices, or None if they are not consecutive or begin below 0.

    A negative index stands for a value that does not exist, which a slice would count from the end.
    """
    flat = indices.ravel()
    if len(flat) and flat[0] >= 0 and flat[-1] - flat[0] == len(flat) - 1 and (np.diff(flat) == 1).all():
        return slice(int(flat[0]), int(flat[-1]) + 1)
    return None
