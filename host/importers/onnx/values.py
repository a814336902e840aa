"""The values that names of an ONNX graph have during its import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.value import Value
from etchnet.host.network.model import ModelError

__all__ = [
    "INT8_VALUES",
    "UINT8_REASON",
    "HostValue",
    "Item",
    "Tensor",
    "checked_scales",
    "nearby_zero_points",
    "shape_text",
]

INT8_VALUES = np.arange(-128, 128)
"""all int8 values, in order"""
UINT8_REASON = (
    "uint8 is not supported: the machine multiplies int8 by int8, and ONNX Runtime's own uint8 by int8 products "
    "saturate on CPUs without VNNI. Quantise with activation_type=QuantType.QInt8"
)
"""why uint8 is refused, for messages"""


@dataclass(frozen=True)
class Tensor:
    """A tensor on the machine: int8, or int32 sums.

    Attributes
    ----------
    value
        The values, and the layer that gives them.
    folded
        Whether the first axis of its shape is not the batch in the file, but multiplies it: as if the file had made a
        matrix of all rows of all images.
    """

    value: Value
    folded: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in the file, for one image."""
        return self.value.shape if self.folded else (1, *self.value.shape)

    def reshaped(self, shape: Sequence[int]) -> Tensor:
        """Return the same values in another shape in the file, for one image."""
        folded = shape[0] != 1 or len(shape) == 1
        return Tensor(replace(self.value, shape=tuple(shape if folded else shape[1:])), folded)


@dataclass(frozen=True)
class HostValue:
    """A value that operators of the file compute from one tensor, or from an input of the model.

    Attributes
    ----------
    source
        The tensor. For values before the first layer, it is an input of the machine, after `nodes` and a quantisation.
    source_type
        Type of what the operators read.
    nodes
        The operators in order, which call the tensor `SOURCE`.
    name
        The name of the value among them.
    dtype
        Its type.
    entrance
        Number of the input of the model, if the operators are before the first layer that reads it; otherwise None.
    pointwise
        Whether each value follows from one value of the tensor, at the same place.
    axes
        Axes of the tensor along which the function from value to value differs.
    ordered
        Whether a layer has chosen values by their order: then later operators before the first layer must keep it.
    reason
        Why no layer computes it, if there is a better reason than that it is not int8.
    """

    source: Tensor
    source_type: str
    nodes: tuple[Node, ...]
    name: str
    dtype: str
    entrance: int | None = None
    pointwise: bool = True
    axes: frozenset[int] = frozenset()
    ordered: bool = False
    reason: str = ""

    @property
    def incoming(self) -> bool:
        """Whether the operators are before the first layer."""
        return self.entrance is not None


Item = Tensor | HostValue | np.ndarray
"""the value of a name in the graph; an array is a constant"""


def shape_text(shape: Sequence[int]) -> str:
    """Return the shape of a tensor as in the file, without brackets."""
    first = "N" if shape[0] == 1 else f"{shape[0]} N"
    return ", ".join([first, *map(str, shape[1:])])


def nearby_zero_points(zero_point: int) -> list[int]:
    """Return a zero point and those of its neighbours that are int8; neighbours have the other parity."""
    return [z for z in (zero_point, zero_point - 1, zero_point + 1) if -128 <= z <= 127]


def checked_scales(where: str, scales: np.ndarray, *, dead: bool = False) -> np.ndarray:
    """Return scales, which must be positive, finite, normal float32 numbers; `dead`: also 0 or subnormal."""
    if scales.dtype != np.float32 or not scales.size:
        raise ModelError(f"{where}: scales must be float32, not {scales.dtype}")
    smallest = 0.0 if dead else float(np.finfo(np.float32).tiny)
    wrong = scales[~(np.isfinite(scales) & (scales >= smallest))]
    if wrong.size:
        kind = "finite and not negative" if dead else "positive, finite and not subnormal"
        raise ModelError(f"{where}: scales must be {kind}, not {wrong.flat[0]}")
    return scales
