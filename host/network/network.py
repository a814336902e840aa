"""Networks: layers, and the layers whose results each of them reads."""

from __future__ import annotations

import dataclasses
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.hdl.isa.html import html_table
from etchnet.hdl.targets.files import replacing
from etchnet.host.network.layers import (
    LAYERS,
    Dense,
    Layer,
    Linear,
    NetworkError,
    Scaling,
    Shape,
)
from etchnet.sim.arithmetic.contracts import contract_of

__all__ = ["INPUT", "Network", "needed_layers"]

INPUT = -1
"""source of a layer that reads the network's input"""

_LARGEST_FILE = 1 << 28
_LARGEST_INPUT = 1 << 28
_DERIVED: Any = None
"""default of a parameter that follows from the others: `Network` fills it in, so it is never None afterwards"""


def needed_layers(sources: Sequence[Sequence[int]], last: int) -> tuple[list[int], list[list[int]]]:
    """Return the layers that layer `last` needs, itself included, in order, and their sources in the new numbering.

    Parameters
    ----------
    sources
        For each layer, the layers that it reads, or `INPUT`.
    """
    needed: set[int] = set()
    stack = [last]
    while stack:
        if (layer := stack.pop()) != INPUT and layer not in needed:
            needed.add(layer)
            stack.extend(sources[layer])
    kept = sorted(needed)
    number = {INPUT: INPUT} | {old: new for new, old in enumerate(kept)}
    return kept, [[number[source] for source in sources[layer]] for layer in kept]


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in an order in which each reads only results of earlier ones; the last gives the network's result.

    Parameters
    ----------
    layers
        At least one layer. Only the last may have int32 results.
    input_shape
        (height, width, channels) of one input. If the first layer is a `Dense`, the default is one pixel with as many
        channels as its weights have rows.
    sources
        For each layer, the indices of the layers whose results it reads, or `INPUT`; by default the layer before it.
    contract
        Rounding contract of all layers.

    Attributes
    ----------
    shapes
        (height, width, channels) of every layer's result.

    Raises
    ------
    NetworkError
        Shapes do not fit together, a layer reads a later one, or no layer reads the result of a layer before the last.
    """

    layers: Sequence[Layer]
    input_shape: Shape = _DERIVED
    sources: Sequence[Sequence[int]] = _DERIVED
    contract: str = CONTRACTS[0]
    shapes: Sequence[Shape] = field(init=False)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "layers", tuple(self.layers))
        if not self.layers:
            raise NetworkError("a network must have at least one layer")
        if self.input_shape is None:
            if not isinstance(self.layers[0], Dense):
                raise NetworkError("input_shape must be (height, width, channels), not None")
            set_field(self, "input_shape", (1, 1, len(self.layers[0].weights)))
        shape = tuple(int(n) for n in self.input_shape)
        if len(shape) != 3 or min(shape) < 1:
            raise NetworkError(f"input_shape must be (height, width, channels), all at least 1, not {shape}")
        if math.prod(shape) > _LARGEST_INPUT:
            raise NetworkError(f"input_shape must have at most {_LARGEST_INPUT} values, not those of {shape}")
        set_field(self, "input_shape", shape)
        sources = [(i - 1,) for i in range(len(self.layers))] if self.sources is None else self.sources
        set_field(self, "sources", tuple(tuple(int(s) for s in which) for which in sources))
        try:
            contract_of(self.contract)
        except ValueError as error:
            raise NetworkError(str(error)) from None
        set_field(self, "shapes", tuple(self._shapes()))

    @property
    def summary(self) -> str:
        """Number of layers and weights, and the shapes of input and result, in one line."""
        layers = f"{len(self.layers)} layer{'s'[: len(self.layers) != 1]}"
        return f"{layers}, {self.input_shape} -> {self.output_shape}, {self.weight_count:,} weights"

    def __repr__(self) -> str:
        return f"Network({self.summary})"

    def _repr_html_(self) -> str:
        return self.html_table([str(index) for index in range(len(self.layers))])

    def html_table(self, names: Sequence[str]) -> str:
        """Return a table of all layers as HTML for notebooks; `names` has one name per layer."""
        rows: list[Sequence[object]] = []
        for index, (name, layer) in enumerate(zip(names, self.layers, strict=True)):
            weights = layer.weights.shape if isinstance(layer, Linear) else None
            rows.append(
                [
                    name,
                    type(layer).__name__,
                    _by(self.shapes[index]),
                    _by(weights) if weights else "",
                    f"{layer.multiplications(*self.source_shapes(index)):,}",
                ]
            )
        return html_table(["layer", "kind", "result", "weights", "multiplications"], rows, self.summary)

    def _shapes(self) -> list[Shape]:
        if len(self.sources) != len(self.layers):
            raise NetworkError(f"sources must name those of {len(self.layers)} layers, not {len(self.sources)}")
        shapes: list[Shape] = []
        for index, (layer, sources) in enumerate(zip(self.layers, self.sources, strict=True)):
            if not isinstance(layer, tuple(LAYERS.values())):
                raise NetworkError(f"layer {index} must be one of {', '.join(LAYERS)}, not {type(layer).__name__}")
            if not sources or (layer.arity and len(sources) != layer.arity):
                raise NetworkError(f"layer {index} must have {layer.arity or 'some'} sources, not {len(sources)}")
            for source in sources:
                if not INPUT <= source < index:
                    raise NetworkError(f"layer {index} must read the input or layers before it, not {source}")
                if source != INPUT and self.layers[source].wide:
                    raise NetworkError(f"layer {source} must have an int8 result: only the last layer may have int32")
            try:
                if isinstance(layer, Linear) and not layer.wide:
                    contract_of(self.contract).check(layer.multiplier, layer.shift)
                shapes.append(layer.shape(*(self._shape(shapes, s) for s in sources)))
            except ValueError as error:
                raise NetworkError(f"layer {index}: {error}") from None
        read = {source for which in self.sources for source in which}
        if unread := [i for i in range(len(self.layers) - 1) if i not in read]:
            raise NetworkError(f"no layer reads the result of layer {unread[0]}, and it is not the last")
        return shapes

    def _shape(self, shapes: Sequence[Shape], source: int) -> Shape:
        return self.input_shape if source == INPUT else shapes[source]

    def source_shapes(self, index: int) -> list[Shape]:
        """Return the shapes of the tensors that a layer reads."""
        return [self._shape(self.shapes, s) for s in self.sources[index]]

    @property
    def inputs(self) -> int:
        """Number of values of one input."""
        return int(np.prod(self.input_shape))

    @property
    def output_shape(self) -> Shape:
        """(height, width, channels) of one result."""
        return self.shapes[-1]

    @property
    def outputs(self) -> int:
        """Number of values of one result."""
        return int(np.prod(self.output_shape))

    @property
    def wide(self) -> bool:
        """Whether results are int32."""
        return self.layers[-1].wide

    @property
    def weight_count(self) -> int:
        """Number of int8 weights of all layers."""
        return sum(layer.weights.size for layer in self.layers if isinstance(layer, Linear))

    @property
    def multiplications(self) -> int:
        """Number of multiplications by weights that one input needs."""
        return sum(layer.multiplications(*self.source_shapes(i)) for i, layer in enumerate(self.layers))

    def readers(self, index: int) -> list[int]:
        """Return the layers that read a layer's result, or the input for `INPUT`."""
        return [i for i, which in enumerate(self.sources) if index in which]

    def upto(self, index: int) -> Network:
        """Return the network whose result is that of layer `index`, with only the layers that it needs."""
        kept, sources = needed_layers(self.sources, index)
        return Network([self.layers[i] for i in kept], self.input_shape, sources, self.contract)

    def tensors(self, x: np.ndarray) -> list[np.ndarray]:
        """Compute the result of every layer in numpy, (M, H, W, C), for int8 (M, inputs)."""
        results: list[np.ndarray] = []
        first = x.reshape(len(x), *self.input_shape)
        for layer, sources in zip(self.layers, self.sources, strict=True):
            operands = [first if s == INPUT else results[s] for s in sources]
            results.append(layer.reference(*operands, contract=self.contract))
        return results

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Compute the network in numpy: int8 (M, inputs) to int8, or int32 if `wide`, (M, outputs)."""
        return self.tensors(x)[-1].reshape(len(x), -1)

    def save(self, path: Path) -> None:
        """Write an .npz file: its array `network` holds all settings as JSON text, which names the other arrays."""
        arrays: dict[str, np.ndarray] = {}
        described = []
        for i, (layer, sources) in enumerate(zip(self.layers, self.sources, strict=True)):
            settings: dict[str, Any] = {"kind": type(layer).__name__, "sources": list(sources)}
            for f in dataclasses.fields(layer):
                value = getattr(layer, f.name)
                if isinstance(value, np.ndarray):
                    name = f"{f.name}_{i}"
                    arrays[name] = value.astype(np.int8 if f.name == "weights" else np.int32)
                    value = {"array": name}
                elif isinstance(value, Scaling):
                    value = {"scaling": dataclasses.astuple(value)}
                settings[f.name] = value
            described.append(settings)
        text = json.dumps({"input_shape": self.input_shape, "contract": self.contract, "layers": described})
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, network=np.array(text), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Network:
        """Read a file written by `save`; raises NetworkError if it is damaged or of another kind."""
        try:
            with zipfile.ZipFile(path) as archive:
                # Check the size before unpacking anything: a small file may unpack to more than memory can hold.
                size = sum(entry.file_size for entry in archive.infolist())
                if size > _LARGEST_FILE:
                    raise NetworkError(f"{path} unpacks to {size} bytes; at most {_LARGEST_FILE} are supported")
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except NetworkError:
            raise
        except FileNotFoundError:
            raise NetworkError(f"{path} does not exist") from None
        except Exception as error:  # numpy and zipfile raise many kinds for damaged files
            raise NetworkError(f"{path} is not a readable .npz file: {error}") from None
        if "network" not in arrays:
            raise NetworkError(f"{path} has no array 'network': it must be a file written by Network.save")
        try:
            described = json.loads(str(arrays["network"]))
            layers = [_layer(i, settings, arrays) for i, settings in enumerate(described["layers"])]
            sources = [settings["sources"] for settings in described["layers"]]
            return cls(layers, described["input_shape"], sources, described["contract"])
        except NetworkError as error:
            raise NetworkError(f"{path}: {error}") from None
        except KeyError as error:
            raise NetworkError(f"{path} has no entry {error.args[0]!r}") from None
        except (TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
            raise NetworkError(f"{path} is damaged: {error}") from None


def _by(shape: Sequence[int]) -> str:
    return " \u00d7 ".join(map(str, shape))


def _layer(index: int, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Layer:
    kind = LAYERS.get(settings["kind"])
    if kind is None:
        raise NetworkError(f"layer {index} must be one of {', '.join(LAYERS)}, not {settings['kind']!r}")
    values: dict[str, Any] = {}
    for f in dataclasses.fields(kind):
        value = settings[f.name]
        if isinstance(value, dict) and "array" in value:
            value = arrays[value["array"]]
        elif isinstance(value, dict):
            value = Scaling(*(int(v) for v in value["scaling"]))
        elif isinstance(value, list):
            value = tuple(tuple(v) if isinstance(v, list) else v for v in value)
        values[f.name] = value
    try:
        return kind(**values)
    except NetworkError as error:
        raise NetworkError(f"layer {index}: {error}") from None
