"""Element-wise layers: the sum or difference of two tensors, or of a tensor and a constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.host.network.layers.base import INT32, Layer, NetworkError, Shape, as_array, per_channel
from etchnet.host.network.layers.scaling import Scaling

__all__ = ["Add", "AddConstant"]


@dataclass(frozen=True)
class Add(Layer):
    """The sum of two tensors of equal shape: each is scaled to a common scale, and the sum is requantised.

    ``clamp(result(first(s * (a - zero_points[0])) + second(t * (b - zero_points[1]))) + zero_point)`` with the signs
    s and t: three roundings.

    Parameters
    ----------
    zero_points
        Zero points of the two inputs. They may be outside int8.
    first, second
        Scalings of the inputs to the common scale; int32 results.
    result
        Scaling of the sum.
    signs
        1 or -1 for each input; -1 subtracts it.
    """

    zero_points: tuple[int, int]
    first: Scaling
    second: Scaling
    result: Scaling
    zero_point: int = 0
    low: int = -128
    high: int = 127
    signs: tuple[int, int] = (1, 1)

    arity = 2

    def __post_init__(self) -> None:
        if len(self.signs) != 2 or any(sign not in (-1, 1) for sign in self.signs):
            raise NetworkError(f"signs must be two of 1 and -1, not {self.signs!r}")

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
        operands = zip((self.first, self.second), inputs, self.zero_points, self.signs, strict=True)
        total = sum(scaling.apply(sign * (x.astype(np.int64) - zero), contract) for scaling, x, zero, sign in operands)
        return self.result.apply(
            np.asarray(total), contract, zero_point=self.zero_point, low=self.low, high=self.high
        ).astype(np.int8)


@dataclass(frozen=True, eq=False)
class AddConstant(Layer):
    """The sum of a tensor and a constant per channel: an `Add` whose second operand is known and already scaled.

    ``clamp(result(scaling(sign * (x - input_zero_point)) + constant) + zero_point)``: two roundings.

    Parameters
    ----------
    constant
        int32 (channels,), at the common scale.
    input_zero_point
        Zero point of the tensor. It may be outside int8.
    scaling, result
        Scalings of the tensor to the common scale, and of the sum.
    sign
        1, or -1 to subtract the tensor from the constant.
    """

    constant: np.ndarray
    input_zero_point: int
    scaling: Scaling
    result: Scaling
    zero_point: int = 0
    low: int = -128
    high: int = 127
    sign: int = 1

    def __post_init__(self) -> None:
        channels = len(as_array("constant", self.constant, 1))
        object.__setattr__(self, "constant", per_channel("constant", self.constant, channels, *INT32))
        if self.sign not in (-1, 1):
            raise NetworkError(f"sign must be 1 or -1, not {self.sign!r}")

    @property
    def input_zero_points(self) -> tuple[int, ...]:
        """Zero point of the tensor."""
        return (self.input_zero_point,)

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the tensor."""
        if inputs[0][2] != len(self.constant):
            raise NetworkError(
                f"constant must have {inputs[0][2]} channels, as the input has, not {len(self.constant)}"
            )
        return inputs[0]

    def reference(self, *inputs: np.ndarray, contract: str = CONTRACTS[0]) -> np.ndarray:
        """Add the constant to an int8 tensor (N, H, W, C)."""
        scaled = self.scaling.apply(self.sign * (inputs[0].astype(np.int64) - self.input_zero_point), contract)
        return self.result.apply(
            scaled + self.constant, contract, zero_point=self.zero_point, low=self.low, high=self.high
        ).astype(np.int8)
