"""The demonstration network: a small int8 classifier of Fashion-MNIST images, and the script that trained it.

``python -m etchnet.host.fashion --data /usr/share/datasets/fashion-mnist`` trains it anew from the four files of the
data set (Debian: dataset-fashion-mnist) with nothing but numpy, and writes the two files in `host/data`.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import click
import numpy as np

from etchnet.host.network import Dense, Network

__all__ = ["CLASSES", "Split", "held_out", "network", "quantise_image", "read_split"]

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
SIZE = 28
_HELD_OUT = 400
_WIDTHS = (SIZE * SIZE, 256, 128, len(CLASSES))


@dataclass(frozen=True)
class Split:
    """Images, uint8 (N, 28, 28), and their labels, int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray


def _read_idx(path: Path, ndim: int) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped; raises ValueError where it is not one."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: --data must name the folder of the Fashion-MNIST files") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a readable gzip file: {error}") from None
    header = 4 + 4 * ndim
    if len(raw) < header or raw[:4] != bytes([0, 0, 8, ndim]):
        raise ValueError(f"{path} is not an IDX file of unsigned bytes with {ndim} dimensions")
    shape = tuple(int(n) for n in np.frombuffer(raw[4:header], ">u4"))
    if len(raw) - header != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path} should hold {shape} bytes, but holds {len(raw) - header}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def read_split(folder: Path, name: str) -> Split:
    """`train` or `t10k` from the four files as Zalando Research publishes them."""
    images = _read_idx(folder / f"{name}-images-idx3-ubyte.gz", 3)
    labels = _read_idx(folder / f"{name}-labels-idx1-ubyte.gz", 1)
    if images.shape != (len(labels), SIZE, SIZE):
        raise ValueError(f"{folder}: {name} images have shape {images.shape}, but there are {len(labels)} labels")
    if not len(labels) or labels.max() >= len(CLASSES):
        raise ValueError(f"{folder}: {name} labels must be from 0 to {len(CLASSES) - 1}, and there must be some")
    return Split(images, labels.astype(np.int64))


def quantise_image(images: np.ndarray) -> np.ndarray:
    """uint8 (N, 28, 28) to the network's input, int8 (N, 784): value - 128, so that zero point is -128."""
    return (images.reshape(len(images), -1).astype(np.int16) - 128).astype(np.int8)


def held_out() -> Split:
    """The images that come with the package: the first of the test set, which training never saw."""
    with resources.files("etchnet.host.data").joinpath("fashion_held_out.npz").open("rb") as file:
        data = np.load(file, allow_pickle=False)
        return Split(data["images"], data["labels"].astype(np.int64))


def network() -> Network:
    """The trained network: 784 - 256 - 128 - 10, ReLU between, int8 scores out."""
    with resources.as_file(resources.files("etchnet.host.data").joinpath("fashion_network.npz")) as path:
        return Network.load(path)


# Training


@dataclass
class _Adam:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019) and an average of the weights."""

    parameters: list[np.ndarray]
    decay: float

    def __post_init__(self) -> None:
        self.first = [np.zeros_like(p) for p in self.parameters]
        self.second = [np.zeros_like(p) for p in self.parameters]
        self.average = [p.copy() for p in self.parameters]
        self.step = 0

    def update(self, gradients: list[np.ndarray], rate: float) -> None:
        self.step += 1
        correction = rate * np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
        blend = min(0.999, self.step / (self.step + 10))
        for p, g, m, v, a in zip(self.parameters, gradients, self.first, self.second, self.average, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            if p.ndim == 2:
                p *= 1 - rate * self.decay
            p -= correction * m / (np.sqrt(v) + 1e-8)
            a += (1 - blend) * (p - a)


def _augment(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Mirror half of the images and move each by up to one pixel."""
    flipped = np.where(random.random((len(images), 1, 1)) < 0.5, images[:, :, ::-1], images)
    padded = np.pad(flipped, ((0, 0), (1, 1), (1, 1)))
    moved = np.empty_like(images)
    places = random.integers(0, 3, (len(images), 2))
    for y in range(3):
        for x in range(3):
            chosen = (places == (y, x)).all(axis=1)
            moved[chosen] = padded[chosen, y : y + SIZE, x : x + SIZE]
    return moved


def _train(split: Split, *, epochs: int, seed: int) -> list[np.ndarray]:
    """Float weights and biases by turns, from images scaled to [0, 1]."""
    from rich.progress import track

    random = np.random.default_rng(seed)
    layers = list(zip(_WIDTHS, _WIDTHS[1:], strict=False))
    parameters: list[np.ndarray] = []
    for fan_in, fan_out in layers:
        parameters += [
            (random.standard_normal((fan_in, fan_out)) * np.sqrt(2 / fan_in)).astype(np.float32),
            np.zeros(fan_out, np.float32),
        ]
    adam = _Adam(parameters, decay=0.02)
    images = split.images.astype(np.float32) / 255
    batch, keep = 128, 0.8
    steps = epochs * (len(images) // batch)
    for epoch in track(range(epochs), "training"):
        order = random.permutation(len(images))[: len(images) // batch * batch].reshape(-1, batch)
        for index, chosen in enumerate(order):
            done = (epoch * len(order) + index) / steps
            rate = 2e-3 * min(1.0, 20 * done + 0.01) * 0.5 * (1 + np.cos(np.pi * done))
            x = _augment(images[chosen], random).reshape(batch, -1)
            inputs, masks = [], []
            for i in range(len(layers)):
                inputs.append(x)
                x = x @ parameters[2 * i] + parameters[2 * i + 1]
                if i < len(layers) - 1:
                    mask = (x > 0) * (random.random(x.shape, dtype=np.float32) < keep).astype(np.float32) / keep
                    masks.append(mask)
                    x = x * mask
            scores = np.exp(x - x.max(axis=1, keepdims=True))
            gradient = scores / scores.sum(axis=1, keepdims=True)
            gradient -= 0.05 / len(CLASSES)
            gradient[np.arange(batch), split.labels[chosen]] -= 0.95
            gradient /= batch
            gradients: list[np.ndarray] = []
            for i in reversed(range(len(layers))):
                gradients[:0] = [inputs[i].T @ gradient, gradient.sum(axis=0)]
                if i:
                    gradient = gradient @ parameters[2 * i].T * masks[i - 1]
            adam.update(gradients, float(rate))
    return adam.average


def _quantise(parameters: list[np.ndarray], split: Split) -> Network:
    """Per-channel symmetric int8 weights, int8 activations scaled to the largest value seen in `split`."""
    x = split.images.reshape(len(split.images), -1).astype(np.float32) / 255
    scale_in = 1 / 255
    layers = []
    last = len(parameters) // 2 - 1
    for i in range(last + 1):
        weights, bias = parameters[2 * i], parameters[2 * i + 1]
        x = x @ weights + bias
        if i < last:
            x = np.maximum(x, 0)
            scale_out = float(np.percentile(x, 99.97)) / 255
        else:
            scale_out = float(np.abs(x).max()) / 127
        scale = np.abs(weights).max(axis=0).astype(np.float64) / 127
        layers.append(
            Dense.from_scale(
                np.rint(weights / scale).astype(np.int8),
                np.rint(bias / (scale * scale_in)).astype(np.int64),
                scale=scale * scale_in / scale_out,
                input_zero_point=-128,
                zero_point=-128 if i < last else 0,
            )
        )
        scale_in = scale_out
    return Network(layers)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), required=True, help="The data set's folder.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Where to write; default host/data.")
@click.option("--epochs", type=click.IntRange(1), default=60, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
def _main(data: Path, output: Path | None, epochs: int, seed: int) -> None:
    """Train the demonstration network and write it with its held-out images."""
    output = output or Path(str(resources.files("etchnet.host.data")))
    training, test = read_split(data, "train"), read_split(data, "t10k")
    _quantise(_train(training, epochs=epochs, seed=seed), training).save(output / "fashion_network.npz")
    np.savez_compressed(
        output / "fashion_held_out.npz",
        images=test.images[:_HELD_OUT],
        labels=test.labels[:_HELD_OUT].astype(np.uint8),
    )
    click.echo(f"wrote fashion_network.npz and fashion_held_out.npz to {output}")


if __name__ == "__main__":
    _main()
