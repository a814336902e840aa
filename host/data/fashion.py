"""Access to the demonstration's network, a small int8 classifier of Fashion-MNIST images, and to its images.

`etchnet.host.demo.training` trains the network and writes the two data files in `host/data`.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from etchnet.hdl.isa.errors import EtchnetError
from etchnet.host.network.network import Network

__all__ = ["CLASSES", "SIZE", "DataError", "Split", "held_out", "network", "quantise_image", "read_split"]

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
SIZE = 28


@dataclass(frozen=True)
class Split:
    """Labelled images: uint8 (N, 28, 28) and int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def first(self, count: int) -> Split:
        """Return the first `count` images, or all if there are fewer."""
        return Split(self.images[:count], self.labels[:count])


class DataError(EtchnetError, ValueError):
    """Error for a file of the data set that is missing, damaged or inconsistent."""


def _read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes with `ndim` dimensions; raises DataError if the file is not one."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} is missing: --data must name the folder of the Fashion-MNIST files") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a readable gzip file: {error}") from None
    header = 4 + 4 * ndim
    if len(raw) < header or raw[:4] != bytes([0, 0, 8, ndim]):
        raise DataError(f"{path} is not an IDX file of unsigned bytes with {ndim} dimensions")
    shape = tuple(int(n) for n in np.frombuffer(raw[4:header], ">u4"))
    if len(raw) - header != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path} must contain an array of shape {shape}, but contains {len(raw) - header} bytes")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def read_split(folder: Path, name: str) -> Split:
    """Read the split `train` or `t10k` from a folder with the four files that Zalando Research publishes.

    Raises
    ------
    DataError
        A file is missing or damaged, or the two files of the split do not match.
    """
    images = _read_idx(folder / f"{name}-images-idx3-ubyte.gz", 3)
    labels = _read_idx(folder / f"{name}-labels-idx1-ubyte.gz", 1)
    if images.shape != (len(labels), SIZE, SIZE):
        raise DataError(
            f"{folder}: {name} images must have shape {(len(labels), SIZE, SIZE)}, to match their labels, "
            f"not {images.shape}"
        )
    if not len(labels) or labels.max() >= len(CLASSES):
        raise DataError(f"{folder}: {name} labels must be from 0 to {len(CLASSES) - 1}, and there must be at least one")
    return Split(images, labels.astype(np.int64))


def quantise_image(images: np.ndarray) -> np.ndarray:
    """Convert images, uint8 (N, 28, 28), to inputs of the network, int8 (N, 784) with zero point -128."""
    return (images.reshape(len(images), -1).astype(np.int16) - 128).astype(np.int8)


def held_out() -> Split:
    """Return the images that come with the package: the first 400 of the test set, which training does not use."""
    with resources.files("etchnet.host.data").joinpath("fashion_held_out.npz").open("rb") as file:
        data = np.load(file, allow_pickle=False)
        return Split(data["images"], data["labels"].astype(np.int64))


def network() -> Network:
    """Return the trained network: three 3 x 3 convolutions with ReLU and a dense layer; its results are int8 scores."""
    with resources.as_file(resources.files("etchnet.host.data").joinpath("fashion_network.npz")) as path:
        return Network.load(path)
