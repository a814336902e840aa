"""Models and inputs from files; the suffix of a file's name gives its format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from etchnet.host.data import fashion
from etchnet.host.importers.arrays import STDIN, TEXT, is_stream, read_array
from etchnet.host.importers.onnx.importer import load_onnx
from etchnet.host.importers.pictures import pixel_range, read_picture
from etchnet.host.importers.tflite.importer import load_tflite
from etchnet.host.network.layers import Shape
from etchnet.host.network.model import InputPort, Model, ModelError, OutputPort, Quantisation
from etchnet.host.network.network import INPUT, Network
from etchnet.host.tools.printable import printable

__all__ = ["Inputs", "load_input", "load_inputs", "load_model", "plain_model"]


def load_model(name: str | Path) -> Model:
    """Load a model file (.tflite, .onnx, or .npz of `Network.save`), or the model ``demo``.

    Names have escapes for characters that are not printable.

    Raises
    ------
    ModelError, NetworkError
        The file cannot be read, is damaged, or uses an unsupported feature.
    """
    model = _loaded(name)
    return replace(
        model,
        name=printable(model.name),
        names=[printable(layer) for layer in model.names],
        inputs=[replace(port, name=printable(port.name)) for port in model.inputs],
        outputs=[replace(port, name=printable(port.name)) for port in model.outputs],
    )


def _loaded(name: str | Path) -> Model:
    path = Path(name)
    if str(name) == "demo":
        # The images of the data set have real numbers from 0 to 1.
        model = plain_model("demo", fashion.network())
        return replace(model, inputs=[replace(model.inputs[0], quantisation=Quantisation(1 / 255, -128))])
    if path.suffix == ".tflite":
        return load_tflite(path)
    if path.suffix == ".onnx":
        return load_onnx(path)
    if path.suffix == ".npz":
        return plain_model(path.name, Network.load(path))
    raise ModelError(f"a model must be a .tflite, an .onnx or an .npz file, or demo, not {name!r}")


def plain_model(name: str, network: Network) -> Model:
    """Make a model of a network alone: scales are 1, and layers, inputs and outputs are named by number."""
    inputs = [
        InputPort(f"input{number}", _without_ones(shape), Quantisation(1.0, _input_zero_point(network, INPUT - number)))
        for number, shape in enumerate(network.input_shapes)
    ]
    outputs = []
    for number, layer in enumerate(network.outputs):
        last = network.layers[layer]
        shape, dtype = _without_ones(network.shapes[layer]), "int32" if last.wide else "int8"
        outputs.append(OutputPort(f"output{number}", shape, Quantisation(1.0, last.zero_point), dtype))
    return Model(name, network, [f"layer {i}" for i in range(len(network.layers))], inputs, outputs)


def _without_ones(shape: Shape) -> tuple[int, ...]:
    """Return the shape of an image, or (channels,) for one pixel."""
    return shape[2:] if shape[:2] == (1, 1) else shape


def _input_zero_point(network: Network, tensor: int) -> int:
    """Return the zero point of an input according to the first layer that has one; 0 if none has."""
    same = {tensor}
    for index, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        for source, zero_point in zip(sources, layer.input_zero_points, strict=False):
            if source in same:
                return zero_point
        if not layer.input_zero_points and same.intersection(sources):
            same.add(index)
    return 0


@dataclass(frozen=True, eq=False)
class Inputs:
    """Inputs of a model, from files.

    Attributes
    ----------
    x
        Inputs of the network, int8 (M, input_size).
    ranges
        The real numbers of pixels 0 and 255, for each input that was read from a picture, by its name.
    """

    x: np.ndarray
    ranges: Mapping[str, tuple[float, float]]


def load_inputs(files: Sequence[str | Path], model: Model, *, limits: tuple[float, float] | None = None) -> Inputs:
    """Load the inputs of a model from files, one for each input.

    ``.npy`` files, pipes, and standard input if the file is ``-``, hold values of the input's type, which are kept, or
    floats, which are quantised. ``.txt`` and ``.csv`` files hold one input per line, as numbers separated by white
    space or commas, which are quantised. Other files are pictures (with Pillow installed): see `read_picture`.

    Parameters
    ----------
    files
        A file for each input, in the order of the model. ``NAME=FILE`` gives a file for the input NAME.
    limits
        The real numbers of pixels 0 and 255 of pictures; by default those of `pixel_range`.

    Raises
    ------
    ModelError
        A file cannot be read, or does not hold values of its input; or there is not one file for each input.
    """
    arrays, ranges = {}, dict[str, tuple[float, float]]()
    for port, path in zip(model.inputs, _by_input(files, model), strict=True):
        if is_stream(path) or path.suffix == ".npy":
            values = read_array(path)
        elif path.suffix in TEXT:
            values = read_array(path).astype(np.float64)
        else:
            ranges[port.name] = limits or pixel_range(port.quantisation)
            values = read_picture(path, port, ranges[port.name])
        try:
            arrays[port.name] = port.prepare(values)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None
    return Inputs(model.join_inputs([arrays[port.name] for port in model.inputs]), ranges)


def load_input(
    files: str | Path | Sequence[str | Path], model: Model, *, limits: tuple[float, float] | None = None
) -> np.ndarray:
    """Return the inputs of a model's network, int8 (M, input_size), from one file or a list: see `load_inputs`."""
    return load_inputs([files] if isinstance(files, str | Path) else files, model, limits=limits).x


def _by_input(files: Sequence[str | Path], model: Model) -> list[Path]:
    """Return the file of each input."""
    names = [port.name for port in model.inputs]
    found: dict[str, Path] = {}
    rest: list[Path] = []
    for file in map(str, files):
        name = next((name for name in names if file.startswith(f"{name}=")), None)
        if name is None:
            rest.append(Path(file))
        elif name in found:
            raise ModelError(f"input {name} has two files, {found[name]} and {file.removeprefix(f'{name}=')}")
        else:
            found[name] = Path(file.removeprefix(f"{name}="))
    missing = [name for name in names if name not in found]
    if len(rest) != len(missing):
        count = f"{len(names)} inputs, {', '.join(names)}" if len(names) > 1 else "one input"
        raise ModelError(f"{model.name} has {count}: there must be one file for each, not {len(files)}")
    found |= dict(zip(missing, rest, strict=True))
    paths = [found[name] for name in names]
    if list(map(str, paths)).count(STDIN) > 1:
        raise ModelError("standard input has one array: only one input may come from it")
    for path in rest:
        name, equals, _ = str(path).partition("=")
        if equals and not path.exists():
            raise ModelError(f"{path} does not exist, and {model.name} has no input {name}, only {', '.join(names)}")
    return paths
