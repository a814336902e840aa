"""Transpositions that move values: depthwise layers with one weight of 1 per result."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from etchnet.host.importers.builder import GraphBuilder
from etchnet.host.importers.value import Value, make_layer
from etchnet.host.network.layers import Depthwise, Reshape
from etchnet.host.network.model import ModelError
from etchnet.host.network.order import UNCHANGED, AxisOrder

__all__ = ["reorder"]

_MOST_WEIGHTS = 1 << 18


def reorder(builder: GraphBuilder, where: str, value: Value, wanted: AxisOrder) -> Value:
    """Return a value stored in another order of axes.

    A line of A pixels with B channels becomes B lines of A values in one layer: a window of A pixels, from which each
    channel takes each of its A values. Any order is a few such rotations.

    Raises
    ------
    ModelError
        The layers would need too many weights.
    """
    now = builder.order_of(where, value, wanted)
    moved = now.inverse.then(wanted)
    if moved is None:
        # No axes are common to both orders: the order of the file is between them.
        return reorder(builder, where, reorder(builder, where, value, UNCHANGED), wanted)
    if not moved.sizes:
        return value
    factors = list(range(len(moved.sizes)))
    for place, factor in enumerate(moved.axes):
        at = factors.index(factor)
        if at != place:
            sizes = [
                math.prod(moved.sizes[f] for f in part) for part in (factors[:place], factors[place:at], factors[at:])
            ]
            value = _rotated(builder, where, value, sizes)
            factors = [*factors[:place], *factors[at:], *factors[place:at]]
    return Value(value.name, value.node, value.shape, value.quantisation, wanted)


def _rotated(builder: GraphBuilder, where: str, value: Value, sizes: Sequence[int]) -> Value:
    """Return values stored as (before, last, first) that are stored as `sizes`, (before, first, last)."""
    before, first, last = sizes
    weights = first * first * last
    if weights > _MOST_WEIGHTS:
        raise ModelError(
            f"{where} reads {value.name}, shape {value.shape}, whose {first * last} values a transposition before it "
            f"moves: that needs a layer of {weights} weights, and at most {_MOST_WEIGHTS} are supported"
        )
    if builder.geometry(value) != (before, first, last):
        layer = Reshape((before, first, last))
        value = builder.add(where, layer, [value], value.quantisation, shape=value.shape, as_stored=True)
    one = np.broadcast_to(np.eye(first, dtype=np.int8)[None, :, None], (1, first, last, first))
    move = make_layer(where, Depthwise.from_scale, one, scale=1.0, contract=builder.contract)
    return builder.add(where, move, [value], value.quantisation, shape=value.shape, as_stored=True)
