"""Requantisation factors of the layers without weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.host.network.layers.base import INT32, NetworkError
from etchnet.sim.arithmetic.contracts import contract_of

__all__ = ["Scaling"]


@dataclass(frozen=True)
class Scaling:
    """One requantisation factor for all channels: `multiplier`, `left` and `right` of a rounding contract.

    Under `tflite-double`, x becomes x * 2**left * (multiplier / 2**31) / 2**right, rounded after each division.
    """

    multiplier: int
    left: int
    right: int

    @classmethod
    def of(cls, scale: float, *, left: int | None = None, contract: str = CONTRACTS[0]) -> Scaling:
        """Encode the real factor `scale` by a rounding contract.

        With `left`, values are first multiplied by 2**left; then `scale` is the factor after that, and must be below 1.
        """
        multiplier, shift = contract_of(contract).quantise(scale)
        if left is None:
            return cls(multiplier, max(shift, 0), max(-shift, 0))
        if shift > 0:
            raise NetworkError(f"a scale after a left shift of {left} must be below 1, not {scale!r}")
        return cls(multiplier, left, -shift)

    def apply(
        self, values: np.ndarray, contract: str, *, zero_point: int = 0, low: int = INT32[0], high: int = INT32[1]
    ) -> np.ndarray:
        """Requantise int32 values: scale, round, add `zero_point`, clamp to [low, high]; returns int64."""
        return contract_of(contract).requantise(
            values, self.multiplier, self.left, self.right, zero_point=zero_point, low=low, high=high
        )
