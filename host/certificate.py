"""Proof, from the weights, that no int8 input can make a layer overflow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etchnet.hdl.config import Config, sum_width
from etchnet.host.layers import Dense
from etchnet.sim.contracts import contract_of

__all__ = ["Certificate", "certify"]


@dataclass(frozen=True)
class Certificate:
    """The extremes that any int8 input can cause in one layer, against the widths that hold them."""

    layer: int
    sums: tuple[int, int]
    """of one array column, in `sum_bits`"""
    sum_bits: int
    accumulators: tuple[int, int]
    """with the bias, in 32 bits"""
    shifted: tuple[int, int]
    """accumulators after the left shift, in 32 bits; the same where the contract has no such step"""

    @property
    def holds(self) -> bool:
        """Whether nothing can overflow."""

        def fits(extremes: tuple[int, int], bits: int) -> bool:
            return -(1 << bits - 1) <= extremes[0] and extremes[1] <= (1 << bits - 1) - 1

        return fits(self.sums, self.sum_bits) and fits(self.accumulators, 32) and fits(self.shifted, 32)


def certify(layer: Dense, index: int, config: Config) -> Certificate:
    """Bounds from the actual weights: every product is bounded by its weight times -128 or 127.

    The folded bias stands for all that the machine adds, the input's zero point included. Sums that pass the limits
    of int32 on the way are no harm: accumulation is modulo 2**32, and the last value is what has to fit.
    """
    weights = layer.weights.astype(np.int64)
    low, high = np.minimum(-128 * weights, 127 * weights), np.maximum(-128 * weights, 127 * weights)
    starts = np.arange(0, len(weights), config.rows)
    blocks = [np.add.reduceat(bound, starts, axis=0) for bound in (low, high)]
    exact_bias = layer.bias - layer.input_zero_point * weights.sum(axis=0)
    totals = low.sum(axis=0) + exact_bias, high.sum(axis=0) + exact_bias
    # Only a contract whose shifted values wrap asks more of them than of the accumulators.
    left = layer.shifts[0] if contract_of(config).wraps else np.zeros_like(layer.bias)
    shifted = [[int(t) << int(s) for t, s in zip(total, left, strict=True)] for total in totals]
    return Certificate(
        layer=index,
        sums=(int(blocks[0].min()), int(blocks[1].max())),
        sum_bits=sum_width(config.rows),
        accumulators=(int(totals[0].min()), int(totals[1].max())),
        shifted=(min(shifted[0]), max(shifted[1])),
    )
