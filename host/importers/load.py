"""Models and inputs from files; the suffix of a file's name gives its format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from etchnet.host.data import fashion
from etchnet.host.importers.arrays import STDIN, TEXT, read_array, reading
from etchnet.host.importers.onnx.importer import load_onnx
from etchnet.host.importers.tflite.importer import load_tflite
from etchnet.host.network.layers import Shape
from etchnet.host.network.model import InputPort, Model, ModelError, OutputPort, Quantisation
from etchnet.host.network.network import INPUT, Network
from etchnet.host.tools.printable import printable

__all__ = ["load_input", "load_model", "plain_model"]


def load_model(name: str | Path) -> Model:
    """Load a model file (.tflite, .onnx, or .npz of `Network.save`), or the model ``demo``.

    Names have escapes for characters that are not printable.

    Raises
    ------
    ModelError, NetworkError
        The file cannot be read, is damaged, or uses an unsupported feature.
    """
    model = _loaded(name)
    return replace(model, name=printable(model.name), names=[printable(layer) for layer in model.names])


def _loaded(name: str | Path) -> Model:
    path = Path(name)
    if str(name) == "demo":
        # Pixels are from 0 to 1, as `load_input` reads pictures.
        model = plain_model("demo", fashion.network())
        return replace(model, inputs=[replace(model.inputs[0], quantisation=Quantisation(1 / 255, -128))])
    if path.suffix == ".tflite":
        return load_tflite(path)
    if path.suffix == ".onnx":
        return load_onnx(path)
    if path.suffix == ".npz":
        return plain_model(path.name, Network.load(path))
    raise ModelError(f"{name} must be a .tflite, an .onnx or an .npz file, or demo")


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


def load_input(path: Path, model: Model) -> np.ndarray:
    """Load inputs of a model from a file, as int8 (M, inputs) of its network.

    ``.npy`` files, and standard input if `path` is ``-``, hold int8, which is kept, or floats, which are quantised.
    ``.txt`` and ``.csv`` files hold one input per line, as numbers separated by white space or commas, which are
    quantised. Pictures (with Pillow installed) must have the model's size; they are converted to colour if the model
    has three channels and else to grey, scaled to [0, 1] and quantised.

    Raises
    ------
    ModelError
        The file cannot be read, or does not hold inputs of the model.
    """
    if str(path) == STDIN or path.suffix == ".npy":
        values = read_array(path)
    elif path.suffix in TEXT:
        values = read_array(path).astype(np.float64)
    else:
        with reading(path):
            values = _picture(path, model)
    try:
        return model.prepare(values)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _picture(path: Path, model: Model) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError:
        raise ModelError(
            f"{path}: an input must be .npy, .txt or .csv; for pictures, pip install 'etchnet[pictures]'"
        ) from None
    port, shape = model.inputs[0], model.network.input_shape
    colour = shape[2] == 3
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB" if colour else "L"), np.float32) / 255
    if pixels.size != model.network.input_size:
        raise ModelError(f"{path} has {pixels.size} values; the model needs {model.network.input_size}")
    if min(shape[:2]) > 1 and pixels.shape[:2] != shape[:2]:
        height, width = pixels.shape[:2]
        raise ModelError(f"{path} has {height} x {width} pixels; the model needs {shape[0]} x {shape[1]}")
    return port.order.to_file(pixels.reshape(1, -1))
