"""Certificates, from the actual weights, that no int8 input can make a layer overflow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from etchnet.hdl.isa.config import Config, sum_width
from etchnet.host.compiler.lowering import pool_scaling
from etchnet.host.network.layers import Add, AddConstant, AveragePool, Layer, Linear
from etchnet.sim.arithmetic.contracts import contract_of

__all__ = ["Certificate", "check_overflow"]


@dataclass(frozen=True)
class Certificate:
    """The extremes that int8 inputs can cause in one layer, and the widths that must hold them.

    Attributes
    ----------
    layer
        Index of the layer.
    sums, sum_bits
        Smallest and largest sum of one array column, and the width of that sum in bits.
    accumulators
        Smallest and largest sum with the bias, which must fit 32 bits.
    shifted
        Smallest and largest sum after the left shift, which must fit 32 bits; without the shift if it cannot overflow
        under the contract.
    """

    layer: int
    sums: tuple[int, int]
    sum_bits: int
    accumulators: tuple[int, int]
    shifted: tuple[int, int]

    @property
    def holds(self) -> bool:
        """Whether nothing can overflow."""

        def fits(extremes: tuple[int, int], bits: int) -> bool:
            return -(1 << bits - 1) <= extremes[0] and extremes[1] <= (1 << bits - 1) - 1

        return fits(self.sums, self.sum_bits) and fits(self.accumulators, 32) and fits(self.shifted, 32)


@singledispatch
def check_overflow(layer: Layer, index: int, config: Config) -> Certificate | None:
    """Compute the bounds of layer number `index`: every product is bounded by its weight times -128 or 127.

    The bias includes the correction for the input's zero point. Intermediate sums may exceed int32: accumulation is
    modulo 2**32, so only the final value must fit.

    One function is registered here for each class of layer that can overflow. Layers that only move or compare values
    have none, and the result is None.
    """
    return None


@check_overflow.register(Linear)
def _linear_certificate(layer: Linear, index: int, config: Config) -> Certificate:
    weights = layer.matrix.astype(np.int64)
    low, high = np.minimum(-128 * weights, 127 * weights), np.maximum(-128 * weights, 127 * weights)
    # Any products may share a column of the array, but at most as many as the array has rows.
    column = np.sort(low, axis=0)[: config.rows].sum(axis=0), np.sort(high, axis=0)[-config.rows :].sum(axis=0)
    exact_bias = layer.bias - layer.input_zero_point * weights.sum(axis=0)
    totals = low.sum(axis=0) + exact_bias, high.sum(axis=0) + exact_bias
    # Shifted values matter only under a contract that wraps them.
    left = layer.shifts[0] if contract_of(config).wraps else np.zeros_like(layer.bias)
    shifted = [[int(t) << int(s) for t, s in zip(total, left, strict=True)] for total in totals]
    return Certificate(
        layer=index,
        sums=(int(column[0].min()), int(column[1].max())),
        sum_bits=sum_width(config.rows),
        accumulators=(int(totals[0].min()), int(totals[1].max())),
        shifted=(min(shifted[0]), max(shifted[1])),
    )


@check_overflow.register(Add)
def _addition_certificate(layer: Add, index: int, config: Config) -> Certificate:
    """Certify an addition: scalings are monotonic, so the extremes of the operands give those of the sum."""
    wraps, ends = contract_of(config).wraps, []
    shifted: list[int] = []
    for scaling, zero, sign in zip((layer.first, layer.second), layer.zero_points, layer.signs, strict=True):
        extremes = np.sort(sign * np.array([-128 - zero, 127 - zero]))
        ends.append(scaling.apply(extremes, config.contract))
        shifted += [int(v) << scaling.left * wraps for v in extremes]
    total = int(ends[0][0] + ends[1][0]), int(ends[0][1] + ends[1][1])
    shifted += [v << layer.result.left * wraps for v in total]
    return Certificate(index, (-128, 127), sum_width(config.rows), total, (min(shifted), max(shifted)))


@check_overflow.register(AddConstant)
def _constant_certificate(layer: AddConstant, index: int, config: Config) -> Certificate:
    """Certify an addition of constants as that of two tensors."""
    wraps = contract_of(config).wraps
    extremes = np.sort(layer.sign * np.array([-128 - layer.input_zero_point, 127 - layer.input_zero_point]))
    low, high = (int(v) for v in layer.scaling.apply(extremes, config.contract))
    total = low + int(layer.constant.min()), high + int(layer.constant.max())
    shifted = [int(v) << layer.scaling.left * wraps for v in extremes]
    shifted += [v << layer.result.left * wraps for v in total]
    return Certificate(index, (-128, 127), sum_width(config.rows), total, (min(shifted), max(shifted)))


@check_overflow.register(AveragePool)
def _average_certificate(layer: AveragePool, index: int, config: Config) -> Certificate:
    """Certify the sum of a whole window."""
    count = layer.window[0] * layer.window[1]
    sums = -128 * count, 127 * count
    left = pool_scaling(count, config.contract).left if contract_of(config).wraps else 0
    shifted = sums[0] << left, sums[1] << left
    return Certificate(index, (-128, 127), sum_width(config.rows), sums, shifted)
