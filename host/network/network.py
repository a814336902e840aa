"""Networks as the compiler reads them: layers, and which reads the result of which."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from etchnet.hdl.isa.config import CONTRACTS
from etchnet.host.network.layers import (
    MAX_TERMS,
    Add,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Layer,
    Linear,
    MaxPool,
    NetworkError,
    Pad,
    Reshape,
    Scaling,
    Shape,
    as_array,
    as_int8,
)
from etchnet.sim.arithmetic.contracts import contract_of

__all__ = ["INPUT", "MAX_TERMS", "Dense", "Network", "NetworkError", "as_array", "as_int8"]

INPUT = -1
"""the network's input, where a layer names its sources"""

_LARGEST_FILE = 1 << 28
_KINDS: dict[str, type[Layer]] = {
    kind.__name__: kind for kind in (Dense, Conv, Depthwise, AveragePool, MaxPool, Add, Concat, Pad, Reshape)
}


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in an order in which each comes behind those that it reads; the last gives the network's result.

    Parameters
    ----------
    layers
        At least one. Only the last may give int32.
    input_shape
        (height, width, channels) of one input. By default what the first layer, a `Dense`, takes, as one pixel.
    sources
        For each layer, the layers whose results it reads, by index, or `INPUT`. By default the one before it.
    contract
        The rounding contract by which all layers requantise.

    Attributes
    ----------
    shapes
        (height, width, channels) of every layer's result.

    Raises
    ------
    NetworkError
        Shapes that do not fit together, layers that read what comes later, or results that no layer reads.
    """

    layers: Sequence[Layer]
    input_shape: Shape | None = None
    sources: Sequence[Sequence[int]] | None = None
    contract: str = CONTRACTS[0]
    shapes: Sequence[Shape] = field(init=False)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "layers", tuple(self.layers))
        if not self.layers:
            raise NetworkError("a network must have at least one layer, not none")
        if self.input_shape is None:
            if not isinstance(self.layers[0], Dense):
                raise NetworkError("input_shape must be (height, width, channels), not None")
            set_field(self, "input_shape", (1, 1, len(self.layers[0].weights)))
        assert self.input_shape is not None
        shape = tuple(int(n) for n in self.input_shape)
        if len(shape) != 3 or min(shape) < 1:
            raise NetworkError(f"input_shape must be (height, width, channels), all at least 1, not {shape}")
        set_field(self, "input_shape", shape)
        sources = [(i - 1,) for i in range(len(self.layers))] if self.sources is None else self.sources
        set_field(self, "sources", tuple(tuple(int(s) for s in which) for which in sources))
        try:
            contract_of(self.contract)
        except ValueError as error:
            raise NetworkError(str(error)) from None
        set_field(self, "shapes", tuple(self._shapes()))

    def _shapes(self) -> list[Shape]:
        assert self.sources is not None
        if len(self.sources) != len(self.layers):
            raise NetworkError(f"sources must name those of {len(self.layers)} layers, not {len(self.sources)}")
        shapes: list[Shape] = []
        for index, (layer, sources) in enumerate(zip(self.layers, self.sources, strict=True)):
            if not isinstance(layer, tuple(_KINDS.values())):
                raise NetworkError(f"layer {index} must be one of {', '.join(_KINDS)}, not {type(layer).__name__}")
            if not sources or (layer.arity and len(sources) != layer.arity):
                raise NetworkError(f"layer {index} must have {layer.arity or 'some'} sources, not {len(sources)}")
            for source in sources:
                if not INPUT <= source < index:
                    raise NetworkError(f"layer {index} must read layers before it, not {source}")
                if source != INPUT and self.layers[source].wide:
                    raise NetworkError(f"layer {source} must give int8: only the last may give int32")
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
        assert self.input_shape is not None
        return self.input_shape if source == INPUT else shapes[source]

    def source_shapes(self, index: int) -> list[Shape]:
        """Shapes of what a layer reads."""
        assert self.sources is not None
        return [self._shape(self.shapes, s) for s in self.sources[index]]

    @property
    def inputs(self) -> int:
        """Values of one input."""
        assert self.input_shape is not None
        return int(np.prod(self.input_shape))

    @property
    def output_shape(self) -> Shape:
        """(height, width, channels) of one result."""
        return self.shapes[-1]

    @property
    def outputs(self) -> int:
        """Values of one result."""
        return int(np.prod(self.output_shape))

    @property
    def wide(self) -> bool:
        """Whether results are int32."""
        return self.layers[-1].wide

    @property
    def multiplications(self) -> int:
        """Multiplications by weights that one input needs."""
        return sum(layer.multiplications(*self.source_shapes(i)) for i, layer in enumerate(self.layers))

    def readers(self, index: int) -> list[int]:
        """The layers that read a layer's result, or, for `INPUT`, the input."""
        assert self.sources is not None
        return [i for i, which in enumerate(self.sources) if index in which]

    def upto(self, index: int) -> Network:
        """The network whose result is that of layer `index`: what that needs, and nothing else."""
        assert self.sources is not None
        needed: set[int] = set()
        stack = [index]
        while stack:
            if (layer := stack.pop()) not in needed and layer != INPUT:
                needed.add(layer)
                stack.extend(self.sources[layer])
        order = sorted(needed)
        number = {INPUT: INPUT} | {old: new for new, old in enumerate(order)}
        return Network(
            [self.layers[i] for i in order],
            self.input_shape,
            [[number[s] for s in self.sources[i]] for i in order],
            self.contract,
        )

    # What it computes

    def tensors(self, x: np.ndarray) -> list[np.ndarray]:
        """The result of every layer in numpy, (M, H, W, C), for int8 (M, inputs)."""
        assert self.sources is not None
        assert self.input_shape is not None
        results: list[np.ndarray] = []
        first = x.reshape(len(x), *self.input_shape)
        for layer, sources in zip(self.layers, self.sources, strict=True):
            operands = [first if s == INPUT else results[s] for s in sources]
            results.append(layer.reference(*operands, contract=self.contract))
        return results

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The network in numpy: int8 (M, inputs) to int8 or int32 (M, outputs)."""
        return self.tensors(x)[-1].reshape(len(x), -1)

    # Files

    def save(self, path: Path) -> None:
        """Write the network as an .npz file: `network`, a JSON text of all settings, and the arrays that it names."""
        assert self.sources is not None
        arrays: dict[str, np.ndarray] = {}
        described = []
        for i, (layer, sources) in enumerate(zip(self.layers, self.sources, strict=True)):
            settings: dict[str, Any] = {"kind": type(layer).__name__, "sources": list(sources)}
            for f in dataclasses.fields(layer):  # type: ignore[arg-type]
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
        with path.open("wb") as file:
            np.savez_compressed(file, network=np.array(text), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Network:
        """Read what `save` wrote; raises NetworkError for a file that is damaged or is something else."""
        try:
            with zipfile.ZipFile(path) as archive:
                # Refuse what would not fit in memory before anything is unpacked.
                size = sum(entry.file_size for entry in archive.infolist())
                if size > _LARGEST_FILE:
                    raise NetworkError(f"{path} would unpack to {size} bytes; at most {_LARGEST_FILE} are taken")
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except NetworkError:
            raise
        except FileNotFoundError:
            raise NetworkError(f"{path} does not exist") from None
        except Exception as error:  # numpy and zipfile raise many kinds for damaged files
            raise NetworkError(f"{path} is not a readable .npz file: {error}") from None
        if "network" not in arrays:
            raise NetworkError(f"{path} has no array 'network'; it is not a network that Network.save wrote")
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


def _layer(index: int, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Layer:
    kind = _KINDS.get(settings["kind"])
    if kind is None:
        raise NetworkError(f"layer {index} must be one of {', '.join(_KINDS)}, not {settings['kind']!r}")
    values: dict[str, Any] = {}
    for f in dataclasses.fields(kind):  # type: ignore[arg-type]
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
