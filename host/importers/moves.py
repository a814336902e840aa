"""Layers that take parts of tensors or put borders around them, along axes of the file."""

from __future__ import annotations

from collections.abc import Mapping

from etchnet.host.importers.builder import GraphBuilder
from etchnet.host.importers.value import Value, View, make_layer
from etchnet.host.network.layers import Pad, Slice
from etchnet.host.network.model import Quantisation

__all__ = ["padded", "sliced"]


def sliced(
    builder: GraphBuilder,
    where: str,
    view: View,
    ranges: Mapping[int, range],
    quantisation: Quantisation,
    *,
    name: str,
) -> Value:
    """Add a layer that takes a part of the only value of a view.

    Parameters
    ----------
    where
        Name of the operator in messages.
    view
        A view that keeps apart the axes of `ranges`.
    ranges
        The indices that are taken, rising, along each axis of the file that is cut, the batch not counted.
    quantisation
        Scale and zero point of the result; stored values do not change.
    name
        Name of the layer.
    """
    (value,) = view.values
    begin, size, stride = [0, 0, 0], list(builder.geometry(value)), [1, 1, 1]
    for axis, part in ranges.items():
        at = view.at[axis]
        begin[at], size[at], stride[at] = part.start, len(part), part.step
    layer = make_layer(where, Slice, begin, size, stride)
    shape = [len(ranges.get(axis, range(n))) for axis, n in enumerate(value.shape)]
    return builder.add_view(where, layer, view, quantisation, shape, name=name)


def padded(
    builder: GraphBuilder,
    where: str,
    view: View,
    sides: Mapping[int, tuple[int, int]],
    border: int,
    quantisation: Quantisation,
    *,
    name: str,
) -> Value:
    """Add a layer that puts a border around the only value of a view.

    Parameters
    ----------
    where
        Name of the operator in messages.
    view
        A view that keeps apart the axes of `sides`.
    sides
        Number of values added (before, after) along each axis of the file that gets a border, the batch not counted.
    border
        The int8 value of the border.
    quantisation
        Scale and zero point of the result; stored values do not change.
    name
        Name of the layer.
    """
    (value,) = view.values
    image = [(0, 0)] * 3
    for axis, pair in sides.items():
        image[view.at[axis]] = pair
    layer = make_layer(where, Pad, (image[0], image[1]), border, image[2])
    shape = [n + sum(sides.get(axis, (0, 0))) for axis, n in enumerate(value.shape)]
    return builder.add_view(where, layer, view, quantisation, shape, name=name)
