"""Element-wise layers: the sum of two tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.host.network.layers.base import Layer, NetworkError, Shape
from etchnet.host.network.layers.scaling import Scaling

__all__ = ["Add"]


@dataclass(frozen=True)
class Add(Layer):
    """The sum of two tensors of equal shape: each is scaled to a common scale, and the sum is requantised.

    ``clamp(result(first(a - zero_points[0]) + second(b - zero_points[1])) + zero_point)``: three roundings.

    Parameters
    ----------
    zero_points
        Zero points of the two inputs. They may be outside int8.
    first, second
        Scalings of the inputs to the common scale; int32 results.
    result
        Scaling of the sum.
    """

    zero_points: tuple[int, int]
    first: Scaling
    second: Scaling
    result: Scaling
    zero_point: int = 0
    low: int = -128
    high: int = 127

    arity = 2

    @classmethod
    def from_scales(
        cls, scales: tuple[float, float], scale: float, *, zero_points: tuple[int, int], **options: Any
    ) -> Add:
        """Make TensorFlow Lite's int8 ADD: the common scale is twice the larger scale times 2**-20, in double."""
        twice = 2 * max(float(scales[0]), float(scales[1]))
        try:
            first, second = (Scaling.of(float(s) / twice, left=20) for s in scales)
            result = Scaling.of(twice / ((1 << 20) * float(scale)))
        except ValueError as error:
            raise NetworkError(str(error)) from None
        return cls(zero_points, first, second, result, **options)

    @property
    def input_zero_points(self) -> tuple[int, ...]:
        """Zero points of the two inputs."""
        return self.zero_points

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of both operands."""
        if inputs[0] != inputs[1]:
            raise NetworkError(f"operands of an addition must have equal shapes, not {inputs[0]} and {inputs[1]}")
        return inputs[0]

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Add two int8 tensors (N, H, W, C)."""
        operands = zip((self.first, self.second), inputs, self.zero_points, strict=True)
        total = sum(scaling.apply(x.astype(np.int64) - zero, contract) for scaling, x, zero in operands)
        return self.result.apply(
            np.asarray(total), contract, zero_point=self.zero_point, low=self.low, high=self.high
        ).astype(np.int8)
