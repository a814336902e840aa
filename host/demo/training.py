"""Trains the demonstration network: a small int8 convolutional classifier of Fashion-MNIST images.

``python -m etchnet.host.demo.training --data /usr/share/datasets/fashion-mnist`` trains it anew from the four files
of the data set (Debian: dataset-fashion-mnist) with PyTorch (the `train` extra), writes the two files in `host/data`
and says how the integer network does on the test set, which nothing before that looks at.

Quantisation is TensorFlow Lite's: int8 weights symmetric about 0 with a scale per output channel, int8 activations
with a scale and a zero point per tensor, int32 biases. The result is a `Network`, which rounds by `tflite-double`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.targets.files import replacing
from etchnet.host.compiler.compile import compile_network
from etchnet.host.data.fashion import CLASSES, SIZE, Split, quantise_image, read_split
from etchnet.host.network.layers import Conv, Dense, Layer, Padding, same_padding
from etchnet.host.network.network import Network

if TYPE_CHECKING:
    import torch

__all__ = ["ARCHITECTURE", "Stage", "accuracy"]

_HELD_OUT = 400
_VALIDATION = 5_000
_BATCH = 128


# What the network is


@dataclass(frozen=True)
class Stage:
    """One layer of the architecture, before it has weights.

    Parameters
    ----------
    kind
        "conv" or "dense". ReLU follows every convolution; the last stage, and only it, is dense.
    channels
        Output channels.
    kernel, stride
        Of convolutions.
    """

    kind: str
    channels: int
    kernel: int = 1
    stride: int = 1

    def size_out(self, size: int) -> int:
        """Rows, and columns, of the output for an input of `size`."""
        return ceil_div(size, self.stride) if self.kind == "conv" else 1

    def padding(self, size: int) -> Padding:
        """SAME padding of a convolution for an input of `size` rows and columns."""
        side = same_padding(size, self.kernel, self.stride)
        return side, side


ARCHITECTURE = (
    Stage("conv", 32, kernel=3, stride=2),
    Stage("conv", 64, kernel=3, stride=2),
    Stage("conv", 64, kernel=3),
    Stage("dense", len(CLASSES)),
)


def _shapes(stages: Sequence[Stage]) -> Iterator[tuple[Stage, int, int, int]]:
    """Each stage with the rows (and columns) and channels of its input, and the rows of its output."""
    size, channels = SIZE, 1
    for stage in stages:
        yield stage, size, channels, stage.size_out(size)
        size, channels = stage.size_out(size), stage.channels


def accuracy(network: Network, split: Split, *, batch: int = 250) -> float:
    """Share of the images whose first highest score, in whole numbers, is that of their label."""
    right = 0
    for start in range(0, len(split.labels), batch):
        scores = network.reference(quantise_image(split.images[start : start + batch]))
        right += int((scores.argmax(axis=1) == split.labels[start : start + batch]).sum())
    return right / len(split.labels)


# Training, in floating point


def _torch() -> Any:
    """PyTorch, or one line that says what to install."""
    try:
        import torch
    except ImportError as error:
        raise click.ClickException(f"training needs PyTorch: pip install 'etchnet[train]' ({error})") from None
    return torch


def _augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images, uint8 (N, 28, 28), and move each by up to one pixel; float (N, 1, 28, 28), 0 to 1."""
    torch, reach, count = _torch(), 1, len(images)
    padded = torch.nn.functional.pad(images, (reach,) * 4)
    moves = torch.randint(0, 2 * reach + 1, (2, count, 1), generator=generator)
    places = torch.arange(SIZE)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, SIZE - 1 - places, places) + moves[1]
    rows = places + moves[0]
    moved = padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved[:, None].float() / 255


def _build(stages: Sequence[Stage], dropout: float) -> torch.nn.Sequential:
    """The float network: batch normalisation behind each convolution, ReLU behind that, dropout before dense layers."""
    nn = _torch().nn
    modules: list[Any] = []
    for stage, size, channels, _ in _shapes(stages):
        if stage.kind == "conv":
            (top, bottom), (left, right) = stage.padding(size)
            modules += [
                nn.ZeroPad2d((left, right, top, bottom)),
                nn.Conv2d(channels, stage.channels, stage.kernel, stage.stride, bias=False),
                nn.BatchNorm2d(stage.channels),
                nn.ReLU(),
            ]
        else:
            modules += [nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels * size * size, stage.channels)]
    return nn.Sequential(*modules).to(memory_format=_torch().channels_last)


def _fit(
    forward: Callable[[torch.Tensor], torch.Tensor],
    parameters: Sequence[torch.Tensor],
    split: Split,
    *,
    epochs: int,
    rate: float,
    decay: float,
    seed: int,
    after_step: Callable[[], None],
    title: str,
) -> None:
    """Train `parameters` with AdamW under a warm-up and a cosine, on augmented images in random order."""
    from rich.progress import track

    torch = _torch()
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.from_numpy(split.images.copy()), torch.from_numpy(split.labels)
    # Only weights of several dimensions decay: biases and normalisation do not.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=rate)
    steps = epochs * (len(images) // _BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, 10 * (step + 1) / steps) * 0.5 * (1 + np.cos(np.pi * step / steps))
    )
    for _ in track(range(epochs), title):
        order = torch.randperm(len(images), generator=generator)[: len(images) // _BATCH * _BATCH]
        for chosen in order.reshape(-1, _BATCH):
            scores = forward(_augment(images[chosen], generator))
            loss = torch.nn.functional.cross_entropy(scores, labels[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            after_step()


def _train(
    stages: Sequence[Stage],
    split: Split,
    *,
    epochs: int,
    rate: float = 3e-3,
    decay: float = 0.02,
    dropout: float = 0.3,
    seed: int,
) -> torch.nn.Sequential:
    """The float network with the moving average of its weights, in evaluation mode."""
    torch = _torch()
    torch.manual_seed(seed)
    net = _build(stages, dropout)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    _fit(
        net,
        list(net.parameters()),
        split,
        epochs=epochs,
        rate=rate,
        decay=decay,
        seed=seed,
        after_step=lambda: average.update_parameters(net),
        title="training",
    )
    # Averaged weights give activations of a smaller variance than the normalisation saw: measure it again.
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(0, len(split.images), (100, 2 * _BATCH), generator=generator)
    images = torch.from_numpy(split.images.copy())
    torch.optim.swa_utils.update_bn((_augment(images[indices], generator) for indices in chosen), average.module)
    return average.module.eval()


# From floating point to whole numbers


def _rounded(x: torch.Tensor) -> torch.Tensor:
    """`x` to the nearest whole number; the gradient passes as if it were not rounded."""
    return x + (x.round() - x).detach()


def _weight_scale(weights: torch.Tensor) -> torch.Tensor:
    """Scale per output channel (the first dimension) that takes the largest weight to 127; 1 where all are 0."""
    largest = weights.detach().flatten(1).abs().amax(dim=1).double()
    return _torch().where(largest > 0, largest / 127, 1.0)


class _Simulated:
    """The network with its normalisation folded into weights and biases, computed in floats that int8 can express.

    Weights and activations are rounded to their int8 grids, biases are not: theirs are much finer. Scales of
    activations are fixed by `calibrate`; before it, activations are not rounded.
    """

    def __init__(self, stages: Sequence[Stage], net: torch.nn.Sequential) -> None:
        nn, self.stages = _torch().nn, stages
        self.weights: list[torch.Tensor] = []
        self.biases: list[torch.Tensor] = []
        self.output_scales: list[float] = []
        self.score_range = (0.0, 0.0)
        for module in net:
            if isinstance(module, nn.BatchNorm2d):
                factor = module.weight / (module.running_var + module.eps).sqrt()
                self.weights[-1] = self.weights[-1] * factor[:, None, None, None]
                self.biases.append(module.bias - module.running_mean * factor)
            elif isinstance(module, nn.Conv2d):
                self.weights.append(module.weight)
            elif isinstance(module, nn.Linear):
                self.weights.append(module.weight)
                self.biases.append(module.bias)
        self.weights = [w.detach().clone().requires_grad_() for w in self.weights]
        self.biases = [b.detach().clone().requires_grad_() for b in self.biases]

    @property
    def parameters(self) -> list[torch.Tensor]:
        """What fine-tuning changes."""
        return [*self.weights, *self.biases]

    def calibrate(self, images: np.ndarray, percentile: float = 99.97) -> None:
        """Fix the scales of activations by what uint8 `images` (N, 28, 28) give; the scores keep their whole range."""
        torch = _torch()
        self.output_scales = []
        seen: list[float] = []
        with torch.no_grad():
            scores = self._run(
                torch.from_numpy(images[:, None].astype(np.float32) / 255),
                lambda x: seen.append(float(np.percentile(x.numpy(), percentile))),
            )
        self.output_scales = [largest / 255 for largest in seen]
        self.score_range = float(scores.min()), float(scores.max())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Scores, (N, classes), of images (N, 1, 28, 28) from 0 to 1; scores are not rounded."""
        return self._run(x, lambda x: None)

    def _run(self, x: torch.Tensor, observe: Callable[[torch.Tensor], None]) -> torch.Tensor:
        functional = _torch().nn.functional
        for index, (stage, size, _, _) in enumerate(_shapes(self.stages)):
            weights, bias = self.weights[index], self.biases[index]
            step = _weight_scale(weights).float().reshape(-1, *[1] * (weights.ndim - 1))
            weights = _rounded(weights / step) * step
            if stage.kind == "dense":
                x = functional.linear(x.flatten(1), weights, bias)
                continue
            (top, bottom), (left, right) = stage.padding(size)
            x = functional.conv2d(functional.pad(x, (left, right, top, bottom)), weights, bias, stage.stride)
            x = functional.relu(x)
            observe(x)
            if self.output_scales:
                x = _rounded((x / self.output_scales[index]).clamp(max=255)) * self.output_scales[index]
        return x

    def export(self) -> Network:
        """The network in whole numbers."""
        layers: list[Layer] = []
        scale, zero_point = 1 / 255, -128
        for index, (stage, size, channels, _) in enumerate(_shapes(self.stages)):
            weights = self.weights[index].detach().numpy()
            steps = _weight_scale(self.weights[index]).numpy()
            whole = np.rint(weights / steps.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.int8)
            bias = np.rint(self.biases[index].detach().numpy() / (scale * steps)).astype(np.int64)
            if stage.kind == "conv":
                scale_out, zero_point_out = self.output_scales[index], -128
                layers.append(
                    Conv.from_scale(
                        whole.transpose(2, 3, 1, 0),
                        bias,
                        scale=scale * steps / scale_out,
                        input_zero_point=zero_point,
                        zero_point=zero_point_out,
                        stride=(stage.stride, stage.stride),
                        padding=stage.padding(size),
                    )
                )
            else:
                smallest, largest = self.score_range
                scale_out = (largest - smallest) / 255
                zero_point_out = int(np.clip(np.rint(-128 - smallest / scale_out), -128, 127))
                # From the order (channel, y, x) of the values to (y, x, channel).
                whole = whole.reshape(stage.channels, channels, size, size).transpose(2, 3, 1, 0)
                layers.append(
                    Dense.from_scale(
                        whole.reshape(-1, stage.channels),
                        bias,
                        scale=scale * steps / scale_out,
                        input_zero_point=zero_point,
                        zero_point=zero_point_out,
                    )
                )
            scale, zero_point = scale_out, zero_point_out
        return Network(layers, (SIZE, SIZE, 1))


def _quantise(
    stages: Sequence[Stage], net: torch.nn.Sequential, split: Split, *, epochs: int, rate: float = 2e-4, seed: int
) -> Network:
    """The network in whole numbers, fine-tuned for them: rounded forwards, as if not rounded backwards."""
    simulated = _Simulated(stages, net)
    sample = split.images[:2_000]
    simulated.calibrate(sample)
    if epochs:
        _fit(
            simulated,
            simulated.parameters,
            split,
            epochs=epochs,
            rate=rate,
            decay=0.0,
            seed=seed + 1,
            after_step=lambda: None,
            title="fine-tuning",
        )
        with _torch().no_grad():
            scores = simulated(_torch().from_numpy(sample[:, None].astype(np.float32) / 255))
        simulated.score_range = float(scores.min()), float(scores.max())
    return simulated.export()


def _summary(network: Network, path: Path, test: Split) -> str:
    cycles = compile_network(network, Config()).counts()[Counter.CYCLES]
    first = Split(test.images[:_HELD_OUT], test.labels[:_HELD_OUT])
    return (
        f"{path.stat().st_size} bytes; per image {network.multiplications} multiplications, and {cycles} cycles on the "
        f"default machine\nright in whole numbers: {accuracy(network, test):.2%} of {len(test.labels)} test images, "
        f"{accuracy(network, first):.2%} of the first {_HELD_OUT}"
    )


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), required=True, help="The data set's folder.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Where to write; default host/data.")
@click.option("--epochs", type=click.IntRange(1), default=12, show_default=True)
@click.option("--fine-epochs", type=click.IntRange(0), default=2, show_default=True, help="Epochs with rounding.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Results depend on it slightly.")
def _main(data: Path, output: Path | None, epochs: int, fine_epochs: int, seed: int, threads: int) -> None:
    """Train the demonstration network and write it with its held-out images."""
    torch = _torch()
    torch.set_num_threads(threads)
    output = output or Path(str(resources.files("etchnet.host.data")))
    try:
        everything, test = read_split(data, "train"), read_split(data, "t10k")
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    training = Split(everything.images[:-_VALIDATION], everything.labels[:-_VALIDATION])
    validation = Split(everything.images[-_VALIDATION:], everything.labels[-_VALIDATION:])
    start = time.perf_counter()
    net = _train(ARCHITECTURE, training, epochs=epochs, seed=seed)
    network = _quantise(ARCHITECTURE, net, training, epochs=fine_epochs, seed=seed)
    click.echo(f"trained in {(time.perf_counter() - start) / 60:.0f} minutes")
    path = output / "fashion_network.npz"
    network.save(path)
    with replacing(output / "fashion_held_out.npz") as partial:
        images, labels = test.images[:_HELD_OUT], test.labels[:_HELD_OUT].astype(np.uint8)
        np.savez_compressed(partial, images=images, labels=labels)
    click.echo(f"wrote fashion_network.npz and fashion_held_out.npz to {output}")
    network = Network.load(path)
    click.echo(
        f"right in whole numbers: {accuracy(network, validation):.2%} of {_VALIDATION} images held out of training"
    )
    click.echo(_summary(network, path, test))


if __name__ == "__main__":
    _main()
