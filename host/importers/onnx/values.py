"""The values that names of an ONNX graph have during its import, and their descriptions in messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.host.importers.onnx.reader import Node
from etchnet.host.importers.value import Value
from etchnet.host.network.model import ModelError, Quantisation

__all__ = [
    "INT8_VALUES",
    "UINT8_REASON",
    "Dequantised",
    "FloatInput",
    "Item",
    "Pending",
    "StoredConstant",
    "Tensor",
    "broadcast_scales",
    "checked_scales",
    "describe",
    "nearby_zero_points",
    "quantisation_text",
    "same_order",
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
class FloatInput:
    """The model's float input, before anything quantises it."""


@dataclass(frozen=True)
class Tensor:
    """An int8 tensor.

    Attributes
    ----------
    value
        The layer whose result it is, with the image (height, width, channels).
    shape
        Its shape in the file, without the batch.
    channels_last
        Whether the order of its values in the file is (y, x, channel), as in the image, or (channel, y, x).
    raw
        Whether it has the scale and zero point of the model's input, because no operator in between has changed them.
    """

    value: Value
    shape: tuple[int, ...]
    channels_last: bool = False
    raw: bool = False


@dataclass(frozen=True)
class Dequantised:
    """A dequantised int8 tensor, clamped to [low, high]."""

    tensor: Tensor
    quantisation: Quantisation
    low: float = -math.inf
    high: float = math.inf

    @property
    def clamped(self) -> bool:
        """Whether the clamp may change a value."""
        return (self.low, self.high) != (-math.inf, math.inf)


@dataclass(frozen=True)
class StoredConstant:
    """A dequantised constant: int8 or int32 values, and one scale or one per index along an axis."""

    values: np.ndarray
    scales: np.ndarray
    axis: int


@dataclass(frozen=True)
class Pending:
    """The result of a float operator whose quantisation is not known yet.

    Attributes
    ----------
    where
        Name of the operator in messages.
    emit
        Function that adds the operator's layers for a quantisation of the result.
    low, high
        Clamp after the operator, in real numbers.
    """

    where: str
    emit: Callable[[Quantisation], Tensor]
    low: float = -math.inf
    high: float = math.inf


Item = FloatInput | Tensor | Dequantised | StoredConstant | Pending | np.ndarray
"""the value of a name in the graph; an array is a constant"""


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as text without brackets."""
    return ", ".join(map(str, shape))


def quantisation_text(quantisation: Quantisation) -> str:
    """Return a scale and zero point as text."""
    return f"scale {quantisation.scale:.9g}, zero point {quantisation.zero_point}"


def describe(item: Any) -> str:
    """Describe an item in a few words."""
    if isinstance(item, np.ndarray):
        return f"a constant of {item.dtype}"
    names = {
        FloatInput: "the float input",
        Tensor: "an int8 tensor",
        Dequantised: "a dequantised tensor",
        StoredConstant: "dequantised constants",
        Pending: "a float result",
        type(None): "nothing",
    }
    return names[type(item)]


def same_order(image: Sequence[int]) -> bool:
    """Return whether (y, x, channel) and (channel, y, x) are the same order for an image of that shape."""
    return image[2] == 1 or image[0] * image[1] == 1


def nearby_zero_points(zero_point: int) -> list[int]:
    """Return a zero point and those of its neighbours that are int8; neighbours have the other parity."""
    return [z for z in (zero_point, zero_point - 1, zero_point + 1) if -128 <= z <= 127]


def checked_scales(where: str, scales: np.ndarray) -> np.ndarray:
    """Return scales, which must be positive, finite, normal float32 numbers."""
    if scales.dtype != np.float32 or not scales.size:
        raise ModelError(f"{where}: scales must be float32, not {scales.dtype}")
    smallest = float(np.finfo(np.float32).tiny)
    if not (np.isfinite(scales).all() and (scales >= smallest).all()):
        raise ModelError(f"{where}: scales must be positive, finite and not subnormal, not {scales.flat[0]}")
    return scales


def broadcast_scales(node: Node, scales: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Reshape scales to broadcast against constants of that shape, along the node's axis."""
    if scales.size == 1:
        return scales.reshape(())
    axis = node.integer("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    if node.integer("block_size", 0) or scales.ndim != 1 or not 0 <= axis < len(shape) or scales.size != shape[axis]:
        raise ModelError(
            f"{node.where}: there must be one scale, or one per index along an axis, not shape {scales.shape}"
        )
    return scales.reshape([-1 if index == axis else 1 for index in range(len(shape))])
