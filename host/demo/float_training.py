"""Training of the demonstration's network in floating point with PyTorch: augmentation, optimiser, averaged weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from etchnet.host.data.fashion import SIZE, Split
from etchnet.host.demo.architecture import Stage, sizes

if TYPE_CHECKING:
    import torch

__all__ = ["build", "fit", "require_torch", "train"]

_BATCH = 128


def require_torch() -> Any:
    """Import and return PyTorch; raises ClickException with an installation command if it is missing."""
    try:
        import torch
    except ImportError as error:
        raise click.ClickException(f"training needs PyTorch: pip install 'etchnet[train]' ({error})") from None
    return torch


def _augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror a random half of uint8 images (N, 28, 28) and shift each by up to one pixel in both directions.

    Returns floats from 0 to 1 of shape (N, 1, 28, 28).
    """
    torch, reach, count = require_torch(), 1, len(images)
    padded = torch.nn.functional.pad(images, (reach,) * 4)
    moves = torch.randint(0, 2 * reach + 1, (2, count, 1), generator=generator)
    positions = torch.arange(SIZE)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, SIZE - 1 - positions, positions) + moves[1]
    rows = positions + moves[0]
    moved = padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved[:, None].float() / 255


def build(stages: Sequence[Stage], dropout: float) -> torch.nn.Sequential:
    """Create the untrained network.

    Batch normalisation and ReLU follow each convolution; dropout precedes the dense layer.
    """
    nn = require_torch().nn
    modules: list[Any] = []
    for stage, size, channels, _ in sizes(stages):
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
    return nn.Sequential(*modules).to(memory_format=require_torch().channels_last)


def fit(
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
    """Train `parameters` with AdamW on augmented images in random order, with warm-up and cosine decay of the rate.

    `forward` must return the scores of a batch of images; `after_step` is called after every step of the optimiser.
    """
    from rich.progress import track

    torch = require_torch()
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.from_numpy(split.images.copy()), torch.from_numpy(split.labels)
    # Weight decay must not apply to biases and normalisation, which have one dimension.
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


def train(
    stages: Sequence[Stage],
    split: Split,
    *,
    epochs: int,
    rate: float = 3e-3,
    decay: float = 0.02,
    dropout: float = 0.3,
    seed: int,
) -> torch.nn.Sequential:
    """Train a network and return it, with the moving average of its weights, in evaluation mode."""
    torch = require_torch()
    torch.manual_seed(seed)
    net = build(stages, dropout)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    fit(
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
    # Averaged weights give activations that vary less than those in training: recompute the normalisation's statistics.
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(0, len(split.images), (100, 2 * _BATCH), generator=generator)
    images = torch.from_numpy(split.images.copy())
    torch.optim.swa_utils.update_bn((_augment(images[indices], generator) for indices in chosen), average.module)
    return average.module.eval()
