"""Quantisation of the trained network to int8: scales, fine-tuning under simulated rounding, and export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from etchnet.host.data.fashion import SIZE, Split
from etchnet.host.demo.architecture import Stage, sizes
from etchnet.host.demo.float_training import fit, require_torch
from etchnet.host.network.layers import Conv, Dense, Layer
from etchnet.host.network.network import Network

if TYPE_CHECKING:
    import torch

__all__ = ["SimulatedNetwork", "quantise"]


def _rounded(x: torch.Tensor) -> torch.Tensor:
    """Round to the nearest integer; gradients pass unchanged (straight-through estimator)."""
    return x + (x.round() - x).detach()


def _weight_scale(weights: torch.Tensor) -> torch.Tensor:
    """Return the scale per output channel (the first dimension) that maps its largest weight to 127; 1 if all are 0."""
    largest = weights.detach().flatten(1).abs().amax(dim=1).double()
    return require_torch().where(largest > 0, largest / 127, 1.0)


class SimulatedNetwork:
    """Network in floating point whose values are rounded to those of int8, with normalisation folded into the weights.

    Weights and activations are rounded to their int8 grids. Biases are not, because their grid is much finer.
    Activations are rounded only after `calibrate` has set their scales.
    """

    def __init__(self, stages: Sequence[Stage], net: torch.nn.Sequential) -> None:
        nn, self.stages = require_torch().nn, stages
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
        """Weights and biases for fine-tuning."""
        return [*self.weights, *self.biases]

    def calibrate(self, images: np.ndarray, percentile: float = 99.97) -> None:
        """Set the scales of activations from their distribution for uint8 `images` (N, 28, 28).

        Activations above the percentile saturate; scores keep their full range.
        """
        torch = require_torch()
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
        """Return the unrounded scores (N, classes) of images (N, 1, 28, 28), whose values are from 0 to 1."""
        return self._run(x, lambda x: None)

    def _run(self, x: torch.Tensor, observe: Callable[[torch.Tensor], None]) -> torch.Tensor:
        functional = require_torch().nn.functional
        for index, (stage, size, _, _) in enumerate(sizes(self.stages)):
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
        """Return the int8 network."""
        layers: list[Layer] = []
        scale, zero_point = 1 / 255, -128
        for index, (stage, size, channels, _) in enumerate(sizes(self.stages)):
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
                # PyTorch flattens images as (channel, y, x), Etchnet as (y, x, channel).
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
        return Network(layers, [(SIZE, SIZE, 1)])


def quantise(
    stages: Sequence[Stage], net: torch.nn.Sequential, split: Split, *, epochs: int, rate: float = 2e-4, seed: int
) -> Network:
    """Fine-tune a trained network with rounded weights and activations, and return it as an int8 network."""
    simulated = SimulatedNetwork(stages, net)
    sample = split.images[:2_000]
    simulated.calibrate(sample)
    if epochs:
        fit(
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
        with require_torch().no_grad():
            scores = simulated(require_torch().from_numpy(sample[:, None].astype(np.float32) / 255))
        simulated.score_range = float(scores.min()), float(scores.max())
    return simulated.export()
