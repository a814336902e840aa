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
"""source of a layer that reads the network's first input; input k is -1 - k"""

_LARGEST_FILE = 1 << 28
_MOST_VALUES = 1 << 28
_DERIVED: Any = None
"""default of a parameter that follows from the others: `Network` fills it in, so it is never None afterwards"""


def needed_layers(
    sources: Sequence[Sequence[int]], outputs: Sequence[int]
) -> tuple[list[int], list[list[int]], list[int]]:
    """Return the layers that `outputs` need, themselves included, in order; their sources and the outputs renumbered.

    Parameters
    ----------
    sources
        For each layer, what it reads: layers, or inputs as in `Network`, whose numbers stay.
    outputs
        The layers whose results are needed.
    """
    needed: set[int] = set()
    stack = list(outputs)
    while stack:
        if (layer := stack.pop()) >= 0 and layer not in needed:
            needed.add(layer)
            stack.extend(sources[layer])
    kept = sorted(needed)
    number = {old: new for new, old in enumerate(kept)}

    def renumbered(tensors: Sequence[int]) -> list[int]:
        return [number.get(tensor, tensor) for tensor in tensors]

    return kept, [renumbered(sources[layer]) for layer in kept], renumbered(outputs)


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in an order in which each reads only inputs and results of earlier ones; some of them give the outputs.

    Arrays hold all inputs side by side, one item per row: int8 (M, `input_size`). Results are held in the same way,
    (M, `output_size`), in int32 if any output is int32, else in int8.

    Parameters
    ----------
    layers
        At least one layer. Only outputs may have int32 results, which no layer can read.
    input_shapes
        (height, width, channels) of each input, or of the only one. If the first layer is a `Dense`, the default is one
        pixel with as many channels as its weights have rows.
    sources
        For each layer, the indices of the layers whose results it reads, or -1 - k for input k; by default the layer
        before it.
    contract
        Rounding contract of all layers.
    outputs
        The layers whose results are the outputs; by default the last. Other layers may read outputs too, and one layer
        may be several outputs.

    Attributes
    ----------
    shapes
        (height, width, channels) of every layer's result.

    Raises
    ------
    NetworkError
        Shapes do not fit together, a layer reads a later one, or the result of a layer is neither read nor an output.
    """

    layers: Sequence[Layer]
    input_shapes: Sequence[Shape] = _DERIVED
    sources: Sequence[Sequence[int]] = _DERIVED
    contract: str = CONTRACTS[0]
    outputs: Sequence[int] = _DERIVED
    shapes: Sequence[Shape] = field(init=False)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "layers", tuple(self.layers))
        if not self.layers:
            raise NetworkError("a network must have at least one layer")
        set_field(self, "input_shapes", self._input_shapes())
        sources = [(i - 1,) for i in range(len(self.layers))] if self.sources is None else self.sources
        set_field(self, "sources", tuple(tuple(int(s) for s in which) for which in sources))
        try:
            contract_of(self.contract)
        except ValueError as error:
            raise NetworkError(str(error)) from None
        outputs = [len(self.layers) - 1] if self.outputs is None else self.outputs
        set_field(self, "outputs", tuple(int(output) for output in outputs))
        set_field(self, "shapes", tuple(self._shapes()))

    def _input_shapes(self) -> tuple[Shape, ...]:
        given: Any = self.input_shapes
        if given is None:
            if not isinstance(self.layers[0], Dense):
                raise NetworkError("input_shapes must be (height, width, channels) of each input, not None")
            given = (1, 1, len(self.layers[0].weights))
        if not any(isinstance(item, Sequence | np.ndarray) for item in given):
            given = [given]
        shapes = []
        for shape in (tuple(int(n) for n in item) for item in given):
            if len(shape) != 3 or min(shape) < 1:
                raise NetworkError(f"input_shapes must be (height, width, channels), all at least 1, not {shape}")
            shapes.append((shape[0], shape[1], shape[2]))
        values = sum(math.prod(shape) for shape in shapes)
        if values > _MOST_VALUES:
            raise NetworkError(f"input_shapes must have at most {_MOST_VALUES} values, not the {values} of {shapes}")
        return tuple(shapes)

    @property
    def summary(self) -> str:
        """Number of layers and weights, and the shapes of inputs and outputs, in one line."""
        layers = f"{len(self.layers)} layer{'s'[: len(self.layers) != 1]}"
        inputs, outputs = (", ".join(map(str, shapes)) for shapes in (self.input_shapes, self.output_shapes))
        return f"{layers}, {inputs} -> {outputs}, {self.weight_count:,} weights"

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
                if not -len(self.input_shapes) <= source < index:
                    raise NetworkError(f"layer {index} must read inputs or layers before it, not {source}")
                if source >= 0 and self.layers[source].wide:
                    raise NetworkError(f"layer {source} must have an int8 result: layer {index} cannot read int32")
            try:
                if isinstance(layer, Linear) and not layer.wide:
                    contract_of(self.contract).check(layer.multiplier, layer.shift)
                shapes.append(layer.shape(*(self._shape(shapes, s) for s in sources)))
            except ValueError as error:
                raise NetworkError(f"layer {index}: {error}") from None
        if not self.outputs or not all(0 <= output < len(self.layers) for output in self.outputs):
            raise NetworkError(f"outputs must be layers, 0 to {len(self.layers) - 1}, not {list(self.outputs)}")
        values = sum(math.prod(shapes[output]) for output in self.outputs)
        if values > _MOST_VALUES:
            raise NetworkError(f"outputs must have at most {_MOST_VALUES} values, not {values}")
        used = {source for which in self.sources for source in which} | set(self.outputs)
        if unused := [i for i in range(len(self.layers)) if i not in used]:
            raise NetworkError(f"no layer reads the result of layer {unused[0]}, and it is not an output")
        return shapes

    def _shape(self, shapes: Sequence[Shape], source: int) -> Shape:
        return self.input_shapes[INPUT - source] if source < 0 else shapes[source]

    def source_shapes(self, index: int) -> list[Shape]:
        """Return the shapes of the tensors that a layer reads."""
        return [self._shape(self.shapes, s) for s in self.sources[index]]

    @property
    def input_shape(self) -> Shape:
        """(height, width, channels) of the only input; raises NetworkError if there are several."""
        if len(self.input_shapes) > 1:
            raise NetworkError(f"the network must have one input here, not {len(self.input_shapes)}")
        return self.input_shapes[0]

    @property
    def input_size(self) -> int:
        """Number of values of all inputs of one item."""
        return sum(math.prod(shape) for shape in self.input_shapes)

    @property
    def output_shapes(self) -> list[Shape]:
        """(height, width, channels) of each output."""
        return [self.shapes[output] for output in self.outputs]

    @property
    def output_shape(self) -> Shape:
        """(height, width, channels) of the only output; raises NetworkError if there are several."""
        if len(self.outputs) > 1:
            raise NetworkError(f"the network must have one output here, not {len(self.outputs)}")
        return self.shapes[self.outputs[0]]

    @property
    def output_size(self) -> int:
        """Number of values of all outputs of one item."""
        return sum(math.prod(shape) for shape in self.output_shapes)

    @property
    def wide(self) -> bool:
        """Whether any output is int32, so that arrays of results are int32."""
        return any(self.layers[output].wide for output in self.outputs)

    def split_inputs(self, x: np.ndarray) -> list[np.ndarray]:
        """Return each input, int8 (M, height, width, channels), of int8 (M, `input_size`)."""
        parts = _split(x, self.input_shapes)
        return [part.reshape(len(x), *shape) for part, shape in zip(parts, self.input_shapes, strict=True)]

    def split_outputs(self, y: np.ndarray) -> list[np.ndarray]:
        """Return each output of (M, `output_size`), as int8 or int32 (M, values)."""
        parts = _split(y, self.output_shapes)
        wide = (self.layers[output].wide for output in self.outputs)
        return [part if w else part.astype(np.int8, copy=False) for part, w in zip(parts, wide, strict=True)]

    def join_outputs(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        """Return the outputs, each int8 or int32 (M, ...), side by side: (M, `output_size`)."""
        flat = [output.reshape(len(output), -1) for output in outputs]
        return flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)

    @property
    def weight_count(self) -> int:
        """Number of int8 weights of all layers."""
        return sum(layer.weights.size for layer in self.layers if isinstance(layer, Linear))

    @property
    def multiplications(self) -> int:
        """Number of multiplications by weights that one input needs."""
        return sum(layer.multiplications(*self.source_shapes(i)) for i, layer in enumerate(self.layers))

    @property
    def numbers(self) -> range:
        """The numbers of all inputs and of all results of layers, as in `sources`."""
        return range(-len(self.input_shapes), len(self.layers))

    def readers(self, index: int) -> list[int]:
        """Return the layers that read a tensor, by its number in `sources`."""
        return [i for i, which in enumerate(self.sources) if index in which]

    def upto(self, index: int) -> Network:
        """Return the network with all inputs whose output is layer `index`, with only the layers that it needs."""
        kept, sources, outputs = needed_layers(self.sources, [index])
        return Network([self.layers[i] for i in kept], self.input_shapes, sources, self.contract, outputs)

    def tensors(self, x: np.ndarray) -> list[np.ndarray]:
        """Compute the result of every layer in numpy, (M, H, W, C), for int8 (M, input_size)."""
        results: list[np.ndarray] = []
        inputs = self.split_inputs(x)
        for layer, sources in zip(self.layers, self.sources, strict=True):
            operands = [inputs[INPUT - s] if s < 0 else results[s] for s in sources]
            results.append(layer.reference(*operands, contract=self.contract))
        return results

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Compute the network in numpy: int8 (M, input_size) to int8, or int32 if `wide`, (M, output_size)."""
        tensors = self.tensors(x)
        return self.join_outputs([tensors[output] for output in self.outputs])

    def save(self, path: str | Path) -> None:
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
        text = json.dumps(
            {
                "input_shapes": self.input_shapes,
                "outputs": self.outputs,
                "contract": self.contract,
                "layers": described,
            }
        )
        with replacing(Path(path)) as partial, partial.open("wb") as file:
            np.savez_compressed(file, network=np.array(text), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> Network:
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
            # Older files have one input, and the last layer as the output.
            shapes = described["input_shape"] if "input_shape" in described else described["input_shapes"]
            return cls(layers, shapes, sources, described["contract"], described.get("outputs"))
        except NetworkError as error:
            raise NetworkError(f"{path}: {error}") from None
        except KeyError as error:
            raise NetworkError(f"{path} has no entry {error.args[0]!r}") from None
        except (TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
            raise NetworkError(f"{path} is damaged: {error}") from None


def _split(values: np.ndarray, shapes: Sequence[Shape]) -> list[np.ndarray]:
    """Return the columns of (M, N) that hold tensors of `shapes` side by side."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    return np.split(values, ends[:-1], axis=1)


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
