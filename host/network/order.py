"""The order of axes: how the values of a tensor in a file are permuted in the machine's memories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["UNCHANGED", "AxisOrder"]


@dataclass(frozen=True)
class AxisOrder:
    """A permutation of the values of a tensor, from the order in a file to the order in which the machine stores them.

    It belongs to the flat sequence of values, so a change of shape leaves it alone. `UNCHANGED` is the order of the
    file, for tensors of every size. Make others with `of`: equal permutations are then equal objects.

    Attributes
    ----------
    sizes
        Sizes of the axes that are permuted, as the file orders them.
    axes
        The same axes, by index, as the machine orders them, the slowest first.

    Examples
    --------
    >>> order = AxisOrder.of((3, 4, 5), (1, 2, 0))  # the file has (channel, y, x), the machine stores (y, x, channel)
    >>> order
    AxisOrder(sizes=(3, 20), axes=(1, 0))
    >>> order.of_axes((3, 20)), order.of_axes((60,))
    ((1, 0), None)
    """

    sizes: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()

    @classmethod
    def of(cls, shape: Sequence[int], axes: Sequence[int]) -> AxisOrder:
        """Return the order in which the machine stores the file's axes `axes[0]`, `axes[1]`, ..., the slowest first."""
        runs: list[list[int]] = []
        kept = [axis for axis in range(len(shape)) if shape[axis] != 1]
        for axis in (axis for axis in axes if shape[axis] != 1):
            number = kept.index(axis)
            if runs and runs[-1][-1] + 1 == number:
                runs[-1].append(number)
            else:
                runs.append([number])
        if len(runs) < 2:
            return cls()
        in_file = sorted(runs)
        sizes = tuple(math.prod(shape[kept[number]] for number in run) for run in in_file)
        return cls(sizes, tuple(in_file.index(run) for run in runs))

    def to_machine(self, x: np.ndarray) -> np.ndarray:
        """Return arrays (M, values) of the file in the machine's order."""
        if not self.sizes:
            return x
        moved = x.reshape(len(x), *self.sizes).transpose(0, *(axis + 1 for axis in self.axes))
        return np.ascontiguousarray(moved).reshape(x.shape)

    def to_file(self, x: np.ndarray) -> np.ndarray:
        """Return arrays (M, values) of the machine in the file's order."""
        return self.inverse.to_machine(x)

    def indices(self, count: int) -> np.ndarray:
        """Return the index in the file of each of the `count` values, in the machine's order."""
        return self.to_machine(np.arange(count)[None])[0]

    @property
    def inverse(self) -> AxisOrder:
        """The permutation from the machine's order to the file's."""
        sizes = [self.sizes[axis] for axis in self.axes]
        return AxisOrder.of(sizes, [self.axes.index(axis) for axis in range(len(sizes))])

    def then(self, other: AxisOrder) -> AxisOrder | None:
        """Return this permutation followed by another, or None if no order of axes is equal to both."""
        if not (self.sizes and other.sizes):
            return self if self.sizes else other
        # The parts of this order's axes into which `other` divides them, in the order between the two.
        between = [self.sizes[axis] for axis in self.axes]
        parts = _common_parts(between, other.sizes)
        if parts is None:
            return None
        before, after = _owners(parts, between), _owners(parts, other.sizes)
        middle = range(len(parts))
        in_file = [part for axis in range(len(between)) for part in middle if self.axes[before[part]] == axis]
        stored = [part for axis in other.axes for part in middle if after[part] == axis]
        return AxisOrder.of([parts[part] for part in in_file], [in_file.index(part) for part in stored])

    def transposed(self, shape: Sequence[int], permutation: Sequence[int]) -> AxisOrder | None:
        """Return the order of the tensor whose axis i is axis `permutation[i]` of a tensor of `shape` in this order.

        The machine's values stay where they are. Returns None if no order of axes describes them.
        """
        return AxisOrder.of(shape, permutation).inverse.then(self)

    def of_axes(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        """Return the axes of a tensor of `shape` in the machine's order, or None if an axis is not stored as a whole.

        Axes of size 1 come first.
        """
        single = [axis for axis, size in enumerate(shape) if size == 1]
        kept = [axis for axis, size in enumerate(shape) if size != 1]
        if not self.sizes:
            return (*single, *kept)
        parts = _common_parts([shape[axis] for axis in kept], self.sizes)
        if parts is None:
            return None
        owners, atoms = _owners(parts, [shape[axis] for axis in kept]), _owners(parts, self.sizes)
        stored = [owners[part] for axis in self.axes for part in range(len(parts)) if atoms[part] == axis]
        order = list(dict.fromkeys(stored))
        found = (*single, *(kept[number] for number in order))
        return found if AxisOrder.of(shape, found) == self else None


UNCHANGED = AxisOrder()
"""the order of the file"""


def _common_parts(first: Sequence[int], second: Sequence[int]) -> list[int] | None:
    """Return sizes into which the axes of both shapes can be divided, or None if there are none."""
    edges = sorted({*_strides(first), *_strides(second), 1}, reverse=True)
    parts = []
    for outer, inner in zip(edges, edges[1:], strict=False):
        if outer % inner:
            return None
        parts.append(outer // inner)
    return parts


def _strides(shape: Sequence[int]) -> list[int]:
    """Return for each axis the values from one index of the axis before it to the next."""
    return [math.prod(shape[axis:]) for axis in range(len(shape))]


def _owners(parts: Sequence[int], shape: Sequence[int]) -> list[int]:
    """Return the axis of `shape` that each part belongs to; parts are divisions of the axes, in order."""
    strides = _strides(shape)
    return [
        max(axis for axis, stride in enumerate(strides) if stride >= part_stride) for part_stride in _strides(parts)
    ]
