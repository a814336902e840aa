"""The graph of a model that is being built: its inputs, its layers, and the order in which each stores its values."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from etchnet.hdl.isa.contracts import TFLITE_DOUBLE
from etchnet.host.importers.value import Value, image_shape, make_step
from etchnet.host.network.layers import (
    Conv,
    Depthwise,
    Layer,
    Linear,
    NetworkError,
    Pool,
    Shape,
)
from etchnet.host.network.model import InputPort, InputStep, Model, ModelError, OutputPort, Quantisation
from etchnet.host.network.network import INPUT, Network, needed_layers
from etchnet.host.network.order import UNCHANGED, AxisOrder
from etchnet.host.network.steps import Quantise, Requantise

__all__ = ["LARGEST_STEP", "MOST_VALUES", "Graph"]

MOST_VALUES = 1 << 24
"""largest number of values of one image in any tensor of a model, padding included"""
LARGEST_STEP = 1 << 15
"""largest stride, dilation, window and padding along an axis"""
_MOST_WINDOW_VALUES = 1 << 27
"""largest number of values in all windows of one layer, which the reference copies side by side"""
_MOST_WEIGHTS = 1 << 27
"""largest number of bytes of the weights and per-channel settings of all layers"""
_CHANNEL_BYTES = 32
_MOST_OUTPUTS = 1 << 12


@dataclass
class _Input:
    """An input of the model: its port, and once a layer reads it, the order and the image in which layers read it."""

    port: InputPort
    image: Shape
    order: AxisOrder | None = None


class Graph:
    """The inputs and layers of a model under construction.

    Parameters
    ----------
    name
        Name of the model.
    contract
        Rounding contract of all layers.
    channels_first
        Whether images in the file are (channel, y, x), rather than (y, x, channel) as in the machine.
    """

    def __init__(self, name: str, *, contract: str = TFLITE_DOUBLE, channels_first: bool = False) -> None:
        self._name, self.contract, self._channels_first = name, contract, channels_first
        self._inputs: list[_Input] = []
        self._layers: list[Layer] = []
        self._names: list[str] = []
        self._sources: list[tuple[int, ...]] = []
        self._shapes: list[Shape] = []
        self._weights = 0

    def input(
        self, name: str, shape: Sequence[int], quantisation: Quantisation | None = None, dtype: str = "int8"
    ) -> Value:
        """Add an input of the file, in the order of the file; returns its value.

        Parameters
        ----------
        shape
            Shape in the file, without the batch.
        quantisation
            Its scale and zero point; of no use for float32.
        dtype
            Its type. Layers can read an input of another type than int8 after `convert_input`.
        """
        shape = tuple(shape)
        self.check_size("the input", shape)
        given = quantisation or Quantisation(1.0, 0)
        self._inputs.append(
            _Input(InputPort(name, shape, given, dtype), self._image(shape) or (1, 1, math.prod(shape)))
        )
        return Value(name, INPUT + 1 - len(self._inputs), shape, given, dtype=dtype)

    def convert_input(self, where: str, value: Value, quantisation: Quantisation) -> Value:
        """Quantise a float32 input, or requantise one of integers, to int8 on the host."""
        port = self._inputs[INPUT - value.node].port if value.node < 0 else None
        if port is None or value.steps or value.dtype != port.dtype:
            raise ModelError(f"{where} must read an input of the model")
        made: InputStep
        if port.dtype == "float32":
            made = Quantise(quantisation)
        else:
            made = make_step(where, Requantise, port.quantisation, quantisation)
        given = quantisation if port.dtype == "float32" else port.quantisation
        return replace(self.prepare_input(where, value, given, made), quantisation=quantisation)

    def prepare_input(self, where: str, value: Value, quantisation: Quantisation, step: InputStep) -> Value:
        """Make int8 of an input on the host, by a step; `quantisation` is that of the port."""
        source = self._inputs[INPUT - value.node]
        if source.port.steps not in ((), (step,)):
            raise ModelError(f"{where}: the input {source.port.name} must be quantised in one way")
        source.port = replace(source.port, quantisation=quantisation, steps=(step,))
        return replace(value, quantisation=quantisation, dtype="int8")

    def check_size(self, where: str, shape: Sequence[int]) -> None:
        """Refuse a tensor that is empty, or larger than `MOST_VALUES`."""
        if min(shape, default=1) < 1:
            raise ModelError(f"{where} must have sizes of at least 1, not shape {tuple(shape)}")
        if math.prod(shape) > MOST_VALUES:
            raise ModelError(f"{where} must have at most {MOST_VALUES} values per image, not shape {tuple(shape)}")

    def geometry(self, value: Value) -> Shape:
        """Return (height, width, channels) of the layer that holds a value; the value itself may have another shape."""
        return self._inputs[INPUT - value.node].image if value.node < 0 else self._shapes[value.node]

    def _image(self, shape: Sequence[int]) -> Shape | None:
        """Return a shape of the file as (height, width, channels); None for ranks above 3 or 0."""
        return image_shape([shape[axis] for axis in self._image_axes(len(shape))])

    def _image_axes(self, rank: int) -> tuple[int, ...]:
        """Return the axes of the file, of (y, x, channel) of an image or the last ones of these."""
        return (*range(1, rank), 0) if self._channels_first and rank else tuple(range(rank))

    def image(self, where: str, value: Value) -> Shape:
        """Return a value's shape as (height, width, channels)."""
        shape = self._image(value.shape)
        if shape is None:
            kinds = "(C, H, W), lines (C, W)" if self._channels_first else "(H, W, C), lines (W, C)"
            raise ModelError(f"{where} must have images {kinds} or vectors (K), not shape {value.shape}")
        return shape

    def order_of(self, where: str, value: Value, wanted: AxisOrder | None = None) -> AxisOrder:
        """Return the order in which layers read a value.

        The first layer that reads an input of the file chooses its order, because the host packs it in any order: it is
        `wanted`, or by default that of images, for which no later change is needed.
        """
        if value.node >= 0:
            return value.order
        source = self._inputs[INPUT - value.node]
        if source.order is None:
            if wanted is None:
                wanted = AxisOrder.of(value.shape, self._image_axes(len(value.shape)))
            source.order = value.order.inverse.then(wanted) or UNCHANGED
            source.image = self._image(value.shape) or source.image
        found = value.order.then(source.order)
        if found is None:
            raise ModelError(f"{where}: the order of axes of {value.name} is not supported")
        return found

    def append(self, where: str, name: str, layer: Layer, sources: Sequence[Value], image: Shape) -> int:
        """Add a layer whose result is stored as `image`; returns its number."""
        self._check_work(where, layer, [self.geometry(value) for value in sources])
        self.check_size(f"{where}: the result", image)
        if isinstance(layer, Linear):
            self._weights += layer.weights.size + _CHANNEL_BYTES * layer.channels
            if self._weights > _MOST_WEIGHTS:
                raise ModelError(
                    f"{where}: the weights up to here must be at most {_MOST_WEIGHTS} bytes, not {self._weights}"
                )
        self._layers.append(layer)
        self._names.append(name)
        self._sources.append(tuple(value.node for value in sources))
        self._shapes.append(image)
        return len(self._layers) - 1

    def clamped(self, value: Value, low: int, high: int) -> Value | None:
        """Return a value clamped to [low, high] by the layer that gives it, or None if that layer cannot clamp.

        A copy of the layer clamps; the model keeps the original only if something else reads it.
        """
        layer = None if value.node < 0 else self._layers[value.node]
        if layer is None or layer.wide or not {"low", "high"} <= {field.name for field in fields(layer)}:
            return None
        limits = {name: min(max(getattr(layer, name), low), high) for name in ("low", "high")}
        self._names.append(self._names[value.node])
        self._sources.append(self._sources[value.node])
        self._shapes.append(self._shapes[value.node])
        self._layers.append(replace(layer, **limits))
        return replace(value, node=len(self._layers) - 1)

    def model(self, outputs: Sequence[Value]) -> Model:
        """Return the model whose outputs are results of layers, without the layers that they do not need."""
        if len(outputs) > _MOST_OUTPUTS:
            raise ModelError(f"{self._name} must have at most {_MOST_OUTPUTS} outputs, not {len(outputs)}")
        for source in self._inputs:
            if source.port.dtype != "int8" and not source.port.steps:
                raise ModelError(
                    f"the input {source.port.name} is {source.port.dtype}, and no operator makes int8 of it"
                )
        kept, sources, results = needed_layers(self._sources, [value.node for value in outputs])
        images = [source.image for source in self._inputs]
        try:
            network = Network([self._layers[i] for i in kept], images, sources, self.contract, results)
        except NetworkError as error:
            raise ModelError(str(error)) from None
        inputs = [replace(source.port, order=source.order or UNCHANGED) for source in self._inputs]
        made = [OutputPort(v.name, v.shape, v.quantisation, v.dtype, v.order, v.steps) for v in outputs]
        return Model(
            name=self._name,
            network=network,
            names=[self._names[i] for i in kept],
            inputs=[replace(port, name=name) for port, name in zip(inputs, _distinct(inputs), strict=True)],
            outputs=[replace(port, name=name) for port, name in zip(made, _distinct(made), strict=True)],
        )

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


def _distinct(ports: Sequence[InputPort | OutputPort]) -> list[str]:
    """Return the names of ports, with a number where a name is empty or there twice."""
    names = collections.Counter(port.name for port in ports)
    found: dict[str, None] = {}
    for index, port in enumerate(ports):
        distinct = port.name if port.name and names[port.name] == 1 else f"{port.name or 'tensor'}:{index}"
        while distinct in found or (distinct != port.name and distinct in names):
            distinct += "'"
        found[distinct] = None
    return list(found)
