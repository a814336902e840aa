"""im2col on the host: unfolds the taps of a first layer with few channels, so that they fill memory words."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from etchnet.host.network.layers import Conv
from etchnet.host.network.network import INPUT, Network

__all__ = ["Im2col", "im2col_variants"]


@dataclass(frozen=True, eq=False)
class Im2col:
    """How the host unfolds inputs, and the network that takes unfolded inputs.

    Attributes
    ----------
    name
        `none`: no unfolding; `row`: the taps of a kernel row become channels of one pixel; `whole`: all taps do.
    network
        The network with its first layer rewritten.
    layer
        The layer that reads the input, before it was rewritten; None for `none`.
    source
        The input that is unfolded, by its number in `Network.sources`.
    """

    name: str
    network: Network
    layer: Conv | None = None
    source: int = INPUT

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Unfold the input `source`, int8 (M, H, W, C), to int8 (M, H', W', C').

        Pixels outside the image have the value of the layer's zero point. C' is in the order (kernel y, kernel x, C).
        """
        layer = self.layer
        if layer is None:
            return x
        unfolded = layer if self.name == "whole" else _rows_only(layer)
        windows = unfolded.windows(x)  # (M, H', W', C, kernel y, kernel x)
        return windows.transpose(0, 1, 2, 4, 5, 3).reshape(*windows.shape[:3], -1)


def _rows_only(layer: Conv) -> Conv:
    """Return a convolution of every line with the taps of one kernel row."""
    return dataclasses.replace(
        layer,
        weights=layer.weights[:1],
        stride=(1, layer.stride[1]),
        dilation=(1, layer.dilation[1]),
        padding=((0, 0), layer.padding[1]),
    )


def _unfolded_layer(layer: Conv, name: str) -> Conv:
    """Return the convolution that takes unfolded inputs: 1 x 1 for `whole`, kernel y x 1 for `row`."""
    kernel_y, kernel_x, channels, _ = layer.weights.shape
    if name == "whole":
        return dataclasses.replace(
            layer,
            weights=layer.weights.reshape(1, 1, kernel_y * kernel_x * channels, -1),
            stride=(1, 1),
            dilation=(1, 1),
            padding=((0, 0), (0, 0)),
        )
    return dataclasses.replace(
        layer,
        weights=layer.weights.reshape(kernel_y, 1, kernel_x * channels, -1),
        stride=(layer.stride[0], 1),
        dilation=(layer.dilation[0], 1),
        padding=(layer.padding[0], (0, 0)),
    )


def im2col_variants(network: Network, rows: int) -> list[Im2col]:
    """Return the network without im2col, and the unfolded variants that may fill words of `rows` channels better.

    There are such variants if the only reader of an input is a convolution with more than one tap and fewer than
    `rows` input channels. Of several such inputs, the first is unfolded.
    """
    found = [Im2col("none", network)]
    for number, before in enumerate(network.input_shapes):
        readers = network.readers(INPUT - number)
        if len(readers) != 1 or not isinstance(layer := network.layers[readers[0]], Conv):
            continue
        kernel_y, kernel_x, channels, _ = layer.weights.shape
        if channels >= rows or kernel_y * kernel_x == 1:
            continue
        for name in ("row", "whole") if kernel_x > 1 else ("whole",):
            plain = Im2col(name, network, layer, INPUT - number)
            shapes = list(network.input_shapes)
            height, width, unfolded = plain.apply(np.zeros((1, *before), np.int8)).shape[1:]
            shapes[number] = height, width, unfolded
            layers = list(network.layers)
            layers[readers[0]] = _unfolded_layer(layer, name)
            rewritten = Network(layers, shapes, network.sources, network.contract, network.outputs)
            found.append(dataclasses.replace(plain, network=rewritten))
        break
    return found
