"""The builder that importers use: it adds layers one by one, and records the shape and scale of their results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from etchnet.hdl.isa.contracts import TFLITE_DOUBLE
from etchnet.host.network.layers import (
    Conv,
    Dense,
    Depthwise,
    Layer,
    Linear,
    MaxPool,
    NetworkError,
    Pool,
    Reshape,
    Scaling,
    Shape,
)
from etchnet.host.network.model import ArgMax, Model, ModelError, Quantisation, Softmax, Step
from etchnet.host.network.network import INPUT, Network, needed_layers

__all__ = ["MOST_VALUES", "GraphBuilder", "Value", "image_shape", "make_layer"]

MOST_VALUES = 1 << 24
"""largest number of values of one image in any tensor of a model, padding included"""
_MOST_WINDOW_VALUES = 1 << 27
"""largest number of values in all windows of one layer, which the reference copies side by side"""
_MOST_WEIGHTS = 1 << 27
"""largest number of bytes of the weights and per-channel settings of all layers"""
_CHANNEL_BYTES = 32
_MOST_MADE_CHANNELS = 1 << 20


def image_shape(shape: Sequence[int]) -> Shape | None:
    """Return a tensor's shape, without the batch, as an image (height, width, channels); None for ranks above 3 or 0.

    (K,) is one pixel, (W, C) is one line of pixels.
    """
    if not 1 <= len(shape) <= 3:
        return None
    padded = (1, 1, *shape)[-3:]
    return padded[0], padded[1], padded[2]


Made = TypeVar("Made")


def make_layer(where: str, make: Callable[..., Made], *arguments: Any, **options: Any) -> Made:
    """Make a layer, or compute a shape; a NetworkError becomes a ModelError that names the operator, `where`."""
    try:
        return make(*arguments, **options)
    except NetworkError as error:
        raise ModelError(f"{where}: {error}") from None


@dataclass(frozen=True)
class Value:
    """A tensor of the model that is being built.

    Attributes
    ----------
    name
        Name in the file.
    node
        The layer whose result holds its values, in the same order, or `INPUT`.
    shape
        Shape in the file, channels last, without the batch.
    quantisation
        Its scale and zero point.
    steps
        Computations on the host after the layer.
    floating
        Whether it has been dequantised to float32.
    """

    name: str
    node: int
    shape: tuple[int, ...]
    quantisation: Quantisation
    steps: tuple[Step, ...] = ()
    floating: bool = False


class GraphBuilder:
    """A model under construction, to which layers are added one by one.

    Names of values and layers are used only in messages and reports.

    Parameters
    ----------
    name
        Name of the model.
    input_shape
        Shape of one input, channels last, without the batch.
    quantisation
        Scale and zero point of the input.
    floating
        Whether the model begins with a quantisation of float32.
    contract
        Rounding contract of all layers.

    Raises
    ------
    ModelError
        A layer cannot be built; the message names the operator that needs it. All methods may raise it.
    """

    def __init__(
        self,
        name: str,
        input_shape: Sequence[int],
        quantisation: Quantisation,
        *,
        floating: bool = False,
        contract: str = TFLITE_DOUBLE,
    ) -> None:
        self._name, self._contract, self._floating = name, contract, floating
        self._layers: list[Layer] = []
        self._names: list[str] = []
        self._sources: list[tuple[int, ...]] = []
        self._shapes: list[Shape] = []
        self._reshaped: dict[tuple[int, Shape], int] = {}
        self._weights = 0
        shape = tuple(input_shape)
        self.check_size("the input", shape)
        self._input_shape: Shape = image_shape(shape) or (1, 1, math.prod(shape))
        self.input = Value("input", INPUT, shape, quantisation)

    def check_size(self, where: str, shape: Sequence[int]) -> None:
        """Refuse a tensor that is empty, or larger than `MOST_VALUES`."""
        if min(shape, default=1) < 1:
            raise ModelError(f"{where} must have sizes of at least 1, not shape {tuple(shape)}")
        if math.prod(shape) > MOST_VALUES:
            raise ModelError(f"{where} must have at most {MOST_VALUES} values per image, not shape {tuple(shape)}")

    def geometry(self, value: Value) -> Shape:
        """Return (height, width, channels) of the layer that holds a value; the value itself may have another shape."""
        return self._input_shape if value.node == INPUT else self._shapes[value.node]

    def image(self, where: str, value: Value) -> Shape:
        """Return a value's shape as (height, width, channels)."""
        shape = image_shape(value.shape)
        if shape is None:
            raise ModelError(
                f"{where} must have images (H, W, C), lines (W, C) or vectors (K), not shape {value.shape}"
            )
        return shape

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
    ) -> Value:
        """Add a layer; returns its result.

        A `Dense`, and any layer that is added `as_stored`, reads its sources as images of the shapes in which they are
        stored. Other layers read them in the shapes of the values, after a `Reshape` if those differ.

        Parameters
        ----------
        where
            Name of the operator in messages.
        name
            Name of the layer; by default `where`.
        shape
            Shape of the result in the file, without the batch; by default that of the layer. It must equal the layer's
            shape, or with `as_stored` have as many values.
        """
        self._check_host(where, sources)
        if not (as_stored or isinstance(layer, Dense)):
            sources = [self._stored(where, value) for value in sources]
        self._check_work(where, layer, [self.geometry(value) for value in sources])
        given = make_layer(where, layer.shape, *(self.geometry(value) for value in sources))
        result = given if shape is None else tuple(shape)
        self.check_size(f"{where}: the result", given)
        same = math.prod(result) == math.prod(given) if as_stored else image_shape(result) == given
        if isinstance(layer, Dense):
            same = math.prod(result) == layer.channels
        if not same:
            raise ModelError(f"{where}: the result must have shape {given}, not {result} as in the file")
        if isinstance(layer, Linear):
            self._weights += layer.weights.size + _CHANNEL_BYTES * layer.channels
            if self._weights > _MOST_WEIGHTS:
                raise ModelError(
                    f"{where}: the weights up to here must be at most {_MOST_WEIGHTS} bytes, not {self._weights}"
                )
        self._layers.append(layer)
        self._names.append(name or where)
        self._sources.append(tuple(value.node for value in sources))
        self._shapes.append(given)
        return Value(name or where, len(self._layers) - 1, result, quantisation)

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
        channels = self.geometry(value)[2]
        if channels > _MOST_MADE_CHANNELS:
            raise ModelError(f"{where} must have at most {_MOST_MADE_CHANNELS} channels, not {channels}")
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
        """Add a layer that sums over axes (0 height, 1 width, 2 channels) and scales the sums."""
        height, width, channels = self.image(where, value)
        window = height if 0 in axes else 1, width if 1 in axes else 1
        weights = window[0] * window[1] * channels
        if weights > _MOST_MADE_CHANNELS:
            raise ModelError(f"{where} must be over at most {_MOST_MADE_CHANNELS} values, not {weights}")
        kind: type[Any] = Conv if 2 in axes else Depthwise
        layer = make_layer(
            where,
            kind,
            np.ones((*window, channels, 1), np.int8),
            0,
            scaling.multiplier,
            scaling.left - scaling.right,
            value.quantisation.zero_point,
            quantisation.zero_point,
        )
        result = self.add(where, layer, [value], quantisation, name=name)
        return result if shape is None else self.reshape(where, result, shape, name=name)

    def reshape(self, where: str, value: Value, shape: Sequence[int], *, name: str = "") -> Value:
        """Return the same values in another shape; a layer is added only when another layer needs that shape."""
        shape = tuple(shape)
        if math.prod(shape) != math.prod(value.shape):
            raise ModelError(f"{where} must keep the number of values: {value.shape} to {shape}")
        return replace(value, shape=shape, name=name or value.name)

    def step(
        self,
        where: str,
        value: Value,
        step: Softmax | ArgMax,
        quantisation: Quantisation,
        *,
        name: str = "",
        shape: Sequence[int] | None = None,
    ) -> Value:
        """Add a computation on the host; no layer can come after it."""
        if value.floating or (value.steps and isinstance(value.steps[-1], ArgMax)):
            raise ModelError(f"{where} comes after DEQUANTIZE or ARG_MAX, which must be the last operator")
        return replace(
            value,
            name=name or where,
            quantisation=quantisation,
            steps=(*value.steps, step),
            shape=value.shape if shape is None else tuple(shape),
        )

    def finish(self, value: Value) -> Model:
        """Return the model whose output is `value`, without the layers that it does not need."""
        if value.node == INPUT:
            raise ModelError(
                f"{self._name} must have a layer between its input and its output: there is nothing to run"
            )
        kept, sources, _ = needed_layers(self._sources, [value.node])
        try:
            network = Network([self._layers[i] for i in kept], [self._input_shape], sources, self._contract)
        except NetworkError as error:
            raise ModelError(str(error)) from None
        return Model(
            name=self._name,
            network=network,
            names=[self._names[i] for i in kept],
            input=self.input.quantisation,
            output=value.quantisation,
            input_shape=self.input.shape,
            output_shape=value.shape,
            steps=value.steps,
            float_input=self._floating,
            float_output=value.floating,
        )

    def _stored(self, where: str, value: Value) -> Value:
        """Return a value whose layer has the value's shape."""
        wanted = self.image(where, value)
        if self.geometry(value) == wanted:
            return value
        key = value.node, wanted
        if key not in self._reshaped:
            added = self.add(where, Reshape(wanted), [value], value.quantisation, name=value.name, as_stored=True)
            self._reshaped[key] = added.node
        return replace(value, node=self._reshaped[key])

    @staticmethod
    def _check_host(where: str, sources: Sequence[Value]) -> None:
        for value in sources:
            if value.steps or value.floating:
                raise ModelError(f"{where} comes after an operator that runs on the host, which must be among the last")

    def _check_work(self, where: str, layer: Layer, shapes: Sequence[Shape]) -> None:
        """Refuse a layer whose windows would not fit in memory, judging by sizes alone."""
        if isinstance(layer, Conv | Depthwise):
            window, dilation = layer.kernel, layer.dilation
        elif isinstance(layer, Pool):
            window, dilation = layer.window, (1, 1)
        else:
            return
        height, width, channels = shapes[0]
        padded = height + sum(layer.padding[0]), width + sum(layer.padding[1]), channels
        self.check_size(f"{where}: the padded input", padded)
        windows = channels * math.prod(window)
        for size, taps, step, stride in zip(padded, window, dilation, layer.stride, strict=False):
            windows *= max(0, size - (taps - 1) * step - 1) // stride + 1
        if windows > _MOST_WINDOW_VALUES:
            raise ModelError(f"{where}: its windows must have at most {_MOST_WINDOW_VALUES} values, not {windows}")
