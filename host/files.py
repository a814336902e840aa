"""Models and inputs from files, by what their names end with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etchnet.host import fashion
from etchnet.host.model import Model, ModelError, Quantisation
from etchnet.host.network import Network
from etchnet.host.onnx import load_onnx
from etchnet.host.tflite import load_tflite

__all__ = ["load_input", "load_model"]

_LARGEST_INPUT = 1 << 30


def load_model(name: str) -> Model:
    """A model by file name (.tflite, .onnx, or .npz of `Network.save`), or ``demo``.

    Raises
    ------
    ModelError, NetworkError
        The file cannot be taken.
    """
    path = Path(name)
    if name == "demo":
        return _plain("demo", fashion.network(), Quantisation(1.0, -128))
    if path.suffix == ".tflite":
        return load_tflite(path)
    if path.suffix == ".onnx":
        return load_onnx(path)
    if path.suffix == ".npz":
        network = Network.load(path)
        return _plain(path.name, network, Quantisation(1.0, network.layers[0].input_zero_point))
    raise ModelError(f"{name} must be a .tflite, an .onnx or an .npz file, or demo")


def _plain(name: str, network: Network, ends: Quantisation) -> Model:
    last = network.layers[-1]
    return Model(
        name=name,
        network=network,
        names=[f"layer {i}" for i in range(len(network.layers))],
        input=ends,
        output=Quantisation(1.0, last.zero_point),
        input_shape=(network.inputs,),
        output_shape=(network.outputs,),
    )


def load_input(path: Path, model: Model) -> np.ndarray:
    """The network's input, int8 (M, inputs), from a file.

    ``.npy``: int8 as it is, floats quantised. ``.txt`` and ``.csv``: an input per line, numbers separated by white
    space or commas; quantised. Pictures (with Pillow installed): grey or colour by what the model takes, scaled to
    [0, 1] and quantised.

    Raises
    ------
    ModelError
        The file cannot be read, or does not hold inputs of the model.
    """
    try:
        if path.stat().st_size > _LARGEST_INPUT:
            raise ModelError(f"{path} has {path.stat().st_size} bytes; at most {_LARGEST_INPUT} are read")
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        elif path.suffix in (".txt", ".csv"):
            text = path.read_text().replace(",", " ")
            lines = [line.split() for line in text.splitlines()]
            values = np.array([[float(number) for number in line] for line in lines if line])
        else:
            values = _picture(path, model)
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} is not a readable {path.suffix or 'input'} file: {error}") from None
    try:
        return model.prepare(values)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _picture(path: Path, model: Model) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError:
        raise ModelError(
            f"{path}: .npy, .txt and .csv are read; for pictures, pip install 'etchnet[pictures]'"
        ) from None
    shape = model.input_shape
    colour = len(shape) == 3 and shape[0 if model.input_channels_first else 2] == 3
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB" if colour else "L"), np.float32) / 255
    if pixels.size != model.network.inputs:
        raise ModelError(f"{path} has {pixels.size} values; the model takes {model.network.inputs}")
    if model.input_channels_first:
        pixels = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
    return pixels.reshape(1, -1)
