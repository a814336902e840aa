"""The builder that importers use: it adds layers one by one, and records shape, scale and order of their results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from etchnet.hdl.isa.contracts import TFLITE_DOUBLE
from etchnet.host.importers.graph import Graph
from etchnet.host.importers.value import Value, View, make_layer
from etchnet.host.importers.views import best_grouping, common_axes
from etchnet.host.network.layers import Conv, Dense, Depthwise, Layer, MaxPool, Reshape, Scaling, Shape
from etchnet.host.network.model import Model, ModelError, Quantisation, Step
from etchnet.host.network.order import UNCHANGED, AxisOrder

__all__ = ["GraphBuilder"]

_MOST_MADE_WEIGHTS = 1 << 20
"""largest number of weights of a layer whose weights are not those of the file"""


class GraphBuilder(Graph):
    """A model under construction, to which layers are added one by one.

    Names of values and layers are used only in messages and reports.

    Parameters
    ----------
    name
        Name of the model.
    contract
        Rounding contract of all layers.
    channels_first
        Whether images in the file are (channel, y, x), rather than (y, x, channel) as in the machine.

    Raises
    ------
    ModelError
        A layer cannot be built; the message names the operator that needs it. All methods may raise it.
    """

    def __init__(self, name: str, *, contract: str = TFLITE_DOUBLE, channels_first: bool = False) -> None:
        super().__init__(name, contract=contract, channels_first=channels_first)
        self._reshaped: dict[tuple[int, Shape], int] = {}

    def view(
        self, where: str, values: Sequence[Value], axes: Sequence[int], *, joined: bool = False, mixed: bool = False
    ) -> View:
        """Return values as images that keep the file's axes `axes` apart from others, after a `Reshape` if needed.

        Parameters
        ----------
        values
            Values of the same rank, which all must be stored along the same axes.
        axes
            Axes of the file, counted without the batch; each becomes an axis of the image.
        joined
            Whether several of `axes` may be one axis of the image.
        mixed
            Whether the channels may be any axes, if there is no other way.
        """
        self.check_operands(where, values)
        shapes = [value.shape for value in values]
        orders = [self.order_of(where, value) for value in values]
        stored = common_axes(orders, shapes, self._image_axes(len(shapes[0])))
        if stored is None:
            raise ModelError(
                f"{where} reads {', '.join(value.name for value in values)}, whose axes the machine stores in an order "
                "that this operator cannot use: a transposition before it moves values"
            )
        images = [self.geometry(value) for value in values]
        found = best_grouping(stored, shapes, images, axes, joined=joined, mixed=mixed)
        if found is None:
            raise ModelError(f"{where} is along axes {list(axes)} of shape {shapes[0]}: at most three can be separate")
        moved = [self._reshape_layer(where, value, found.image(value.shape)) for value in values]
        return View(moved, found)

    def add(
        self,
        where: str,
        layer: Layer,
        sources: Sequence[Value],
        quantisation: Quantisation,
        *,
        name: str = "",
        shape: Sequence[int] | None = None,
        as_stored: bool = False,
        order: AxisOrder | None = None,
    ) -> Value:
        """Add a layer; returns its result.

        A layer reads its sources as images, in the shapes of the values, after a `Reshape` where they are stored in
        another shape. With `as_stored` it reads them in the shapes in which they are stored: that is for layers that
        treat every value alike, and for the values of a `View`. A `Dense`, whose weights are in the file's order, reads
        values of any shape and order.

        Parameters
        ----------
        where
            Name of the operator in messages.
        name
            Name of the layer; by default `where`.
        shape
            Shape of the result in the file, without the batch; by default that of the layer. It must equal the layer's
            shape, or with `as_stored` have as many values.
        order
            With `as_stored`, the order of the result; by default that of the sources.
        """
        self.check_operands(where, sources)
        if isinstance(layer, Dense):
            layer, order = self._in_stored_order(where, layer, sources[0]), UNCHANGED
        elif as_stored:
            sources, order = self._alike(where, sources, order)
        else:
            sources = [self._stored(where, value) for value in sources]
        given = make_layer(where, layer.shape, *(self.geometry(value) for value in sources))
        rank = 3 if shape is None else len(shape)
        in_file = tuple(given[self._image_axes(3).index(axis)] for axis in range(3))
        result = in_file if shape is None else tuple(shape)
        if isinstance(layer, Dense) or as_stored:
            same = math.prod(result) == math.prod(given)
        else:
            same, order = self._image(result) == given, AxisOrder.of(result, self._image_axes(rank))
        if not same:
            raise ModelError(f"{where}: the result must have shape {in_file}, not {result} as in the file")
        node = self.append(where, name or where, layer, sources, given)
        return Value(name or where, node, result, quantisation, order or UNCHANGED)

    def add_view(
        self,
        where: str,
        layer: Layer,
        view: View,
        quantisation: Quantisation,
        shape: Sequence[int],
        *,
        name: str = "",
    ) -> Value:
        """Add a layer that reads a view; its result, of `shape` in the file, is stored along the same axes."""
        return self.add(
            where, layer, view.values, quantisation, name=name, shape=shape, as_stored=True, order=view.order(shape)
        )

    def identity(
        self,
        where: str,
        value: Value,
        quantisation: Quantisation,
        *,
        scale: float | None,
        name: str = "",
        shape: Sequence[int] | None = None,
        low: int = -128,
        high: int = 127,
    ) -> Value:
        """Add a layer that multiplies every value by the factor `scale`, unless that is None, and clamps it."""
        self.order_of(where, value)
        channels = self.geometry(value)[2]
        self.check_weights(where, channels)
        layer: Layer
        if scale is None:
            layer = make_layer(where, MaxPool, (1, 1), low=low, high=high)
        else:
            layer = make_layer(
                where,
                Depthwise.from_scale,
                np.ones((1, 1, channels, 1), np.int8),
                scale=scale,
                input_zero_point=value.quantisation.zero_point,
                zero_point=quantisation.zero_point,
                low=low,
                high=high,
            )
        shape = value.shape if shape is None else shape
        return self.add(where, layer, [value], quantisation, name=name, shape=shape, as_stored=True)

    def mean(
        self,
        where: str,
        value: Value,
        axes: Sequence[int],
        scaling: Scaling,
        quantisation: Quantisation,
        *,
        name: str = "",
        shape: Sequence[int] | None = None,
    ) -> Value:
        """Add a layer that sums over axes of the file, counted without the batch, and scales the sums."""
        view = self.view(where, [value], axes, joined=True, mixed=True)
        source, axes = view.values[0], [axis for axis in axes if value.shape[axis] > 1]
        height, width, channels = self.geometry(source)
        reduced = {view.at[axis] for axis in axes}
        window = height if 0 in reduced else 1, width if 1 in reduced else 1
        sums = np.ones((channels, 1), np.int8)
        if 2 in reduced:
            # Channels with the same index along the axes that are kept have a common sum.
            group = view.grouping.groups[2]
            sizes = [value.shape[axis] for axis in group]
            kept = np.arange(channels).reshape(sizes)
            kept = kept.min(axis=tuple(i for i, axis in enumerate(group) if axis in axes), keepdims=True)
            first, which = np.unique(np.broadcast_to(kept, sizes), return_inverse=True)
            self.check_weights(where, window[0] * window[1] * channels * len(first))
            sums = np.eye(len(first), dtype=np.int8)[which.ravel()]
        self.check_weights(where, window[0] * window[1] * sums.size)
        kind: type[Any] = Conv if 2 in reduced else Depthwise
        layer = make_layer(
            where,
            kind,
            np.tile(sums, (*window, 1, 1)),
            0,
            scaling.multiplier,
            scaling.left - scaling.right,
            value.quantisation.zero_point,
            quantisation.zero_point,
        )
        left = [1 if axis in axes else size for axis, size in enumerate(value.shape)]
        result = self.add_view(where, layer, view, quantisation, left, name=name)
        return result if shape is None else self.reshape(where, result, shape, name=name)

    def reshape(self, where: str, value: Value, shape: Sequence[int], *, name: str = "") -> Value:
        """Return the same values in another shape; a layer is added only when another layer needs that shape."""
        shape = tuple(shape)
        if math.prod(shape) != math.prod(value.shape):
            raise ModelError(f"{where} must keep the number of values: {value.shape} to {shape}")
        return replace(value, shape=shape, name=name or value.name)

    def transpose(self, where: str, value: Value, permutation: Sequence[int], *, name: str = "") -> Value:
        """Return the value whose axis i is axis `permutation[i]`; no layer is added, because no stored value moves."""
        if sorted(permutation) != list(range(len(value.shape))):
            raise ModelError(f"{where} must order the axes of shape {value.shape}, not by {list(permutation)}")
        order = value.order.transposed(value.shape, permutation)
        if order is None or (value.steps and order != value.order):
            raise ModelError(f"{where} must be a change of layout, not move values by {list(permutation)}")
        shape = tuple(value.shape[axis] for axis in permutation)
        return replace(value, shape=shape, order=order, name=name or value.name)

    def step(
        self,
        where: str,
        value: Value,
        step: Step,
        quantisation: Quantisation,
        *,
        name: str = "",
        shape: Sequence[int] | None = None,
    ) -> Value:
        """Add a computation on the host, of quantised values; no layer can come after it."""
        if value.dtype != "int8" and not value.steps:
            raise ModelError(f"{where} reads {value.name}, which is {value.dtype}: it must be quantised to int8 first")
        if value.dtype not in ("int8", "uint8", "int16"):
            raise ModelError(
                f"{where} must read int8, uint8 or int16, not {value.dtype}: it must come before DEQUANTIZE or ARG_MAX"
            )
        return replace(
            value,
            name=name or where,
            quantisation=quantisation,
            steps=(*value.steps, step),
            dtype=step.dtype,
            shape=value.shape if shape is None else tuple(shape),
        )

    @staticmethod
    def check_operands(where: str, sources: Sequence[Value]) -> None:
        """Refuse values that no layer can read: those that are not int8, or that the host computes."""
        for value in sources:
            if value.steps:
                raise ModelError(f"{where} comes after an operator that runs on the host, which must be among the last")
            if value.dtype != "int8":
                raise ModelError(
                    f"{where} reads {value.name}, which is {value.dtype}: it must be quantised to int8 first"
                )

    @staticmethod
    def check_weights(where: str, weights: int) -> None:
        """Refuse a layer with too many weights that are not those of the file."""
        if weights > _MOST_MADE_WEIGHTS:
            raise ModelError(
                f"{where} needs a layer of {weights} weights, and at most {_MOST_MADE_WEIGHTS} are supported"
            )

    def finish(self, outputs: Sequence[Value]) -> Model:
        """Return the model with these outputs, without the layers that they do not need."""
        return self.model([self._computed(value) for value in outputs])

    def _computed(self, value: Value) -> Value:
        """Return a value that a layer holds: an input of the model is copied."""
        if value.node >= 0:
            return value
        if not value.steps and value.dtype != "int8":
            raise ModelError(f"the output {value.name} must be computed by operators on int8, not be {value.dtype}")
        source = replace(value, steps=(), dtype="int8")
        copied = self.identity(value.name, source, value.quantisation, scale=None)
        return replace(value, node=copied.node, order=copied.order)

    def _reshape_layer(self, where: str, value: Value, image: Shape) -> Value:
        """Return a value that is stored as `image`."""
        if self.geometry(value) == image:
            return value
        key = value.node, image
        if key not in self._reshaped:
            made = self.add(
                where, Reshape(image), [value], value.quantisation, name=value.name, shape=value.shape, as_stored=True
            )
            self._reshaped[key] = made.node
        return replace(value, node=self._reshaped[key], order=self.order_of(where, value))

    def _stored(self, where: str, value: Value) -> Value:
        """Return a value that is stored as the image that its shape is."""
        image = self.image(where, value)
        wanted = AxisOrder.of(value.shape, self._image_axes(len(value.shape)))
        if self.order_of(where, value, wanted) != wanted:
            raise ModelError(
                f"{where} reads {value.name}, shape {value.shape}, which the machine stores in another order of axes: "
                "a transposition before it moves values"
            )
        return self._reshape_layer(where, value, image)

    def _alike(
        self, where: str, sources: Sequence[Value], order: AxisOrder | None
    ) -> tuple[Sequence[Value], AxisOrder]:
        """Return values that a layer reads as they are stored, and the order of its result."""
        orders = [self.order_of(where, value) for value in sources]
        if order is not None:
            return sources, order
        if any(found != orders[0] for found in orders):
            raise ModelError(
                f"{where} reads {', '.join(value.name for value in sources)}, which the machine stores in different "
                "orders of axes: a transposition before it moves values"
            )
        if len({math.prod(value.shape) for value in sources}) == 1:
            sources = [self._reshape_layer(where, value, self.geometry(sources[0])) for value in sources]
        return sources, orders[0]

    def _in_stored_order(self, where: str, layer: Dense, source: Value) -> Dense:
        """Return a layer whose weights are in the order in which the source is stored."""
        order = self.order_of(where, source)
        if not order.sizes or len(layer.weights) != math.prod(source.shape):
            return layer
        return replace(layer, weights=layer.weights[order.indices(len(layer.weights))])
