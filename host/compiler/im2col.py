"""First layers with few channels: taps that the host lays side by side, so that a memory word is full of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from etchnet.host.network.layers import Conv
from etchnet.host.network.network import INPUT, Network

__all__ = ["Im2col", "im2col_variants"]


@dataclass(frozen=True, eq=False)
class Im2col:
    """How the host rearranges inputs, and the network that takes them so.

    Attributes
    ----------
    name
        `none`, `row` (the taps of a kernel's row in one pixel) or `whole` (all taps).
    network
        The network with its first layer rewritten.
    """

    name: str
    network: Network
    layer: Conv | None = None

    def apply(self, x: np.ndarray) -> np.ndarray:
        """int8 (M, H, W, C) to int8 (M, H', W', C'), pixels outside the image being the layer's zero point."""
        layer = self.layer
        if layer is None:
            return x
        columns = layer if self.name == "whole" else _rows_only(layer)
        windows = columns.windows(x)  # (M, H', W', C, kernel y, kernel x)
        return windows.transpose(0, 1, 2, 4, 5, 3).reshape(*windows.shape[:3], -1)


def _rows_only(layer: Conv) -> Conv:
    """A convolution that takes the same taps of one row: every line, the layer's own columns."""
    return dataclasses.replace(
        layer,
        weights=layer.weights[:1],
        stride=(1, layer.stride[1]),
        dilation=(1, layer.dilation[1]),
        padding=((0, 0), layer.padding[1]),
    )


def im2col_variants(network: Network, rows: int) -> list[Im2col]:
    """The network as it is; and, where only a convolution of fewer channels than rows reads the input, packed."""
    plain = [Im2col("none", network)]
    readers = network.readers(INPUT)
    if len(readers) != 1 or not isinstance(layer := network.layers[readers[0]], Conv):
        return plain
    kernel_y, kernel_x, channels, _ = layer.weights.shape
    if channels >= rows or kernel_y * kernel_x == 1:
        return plain
    found = []
    for name in ("row", "whole"):
        if name == "row":
            if kernel_x == 1:
                continue
            weights = layer.weights.reshape(kernel_y, 1, kernel_x * channels, -1)
            changes = {
                "stride": (layer.stride[0], 1),
                "dilation": (layer.dilation[0], 1),
                "padding": (layer.padding[0], (0, 0)),
            }
        else:
            weights = layer.weights.reshape(1, 1, kernel_y * kernel_x * channels, -1)
            changes = {"stride": (1, 1), "dilation": (1, 1), "padding": ((0, 0), (0, 0))}
        packed = dataclasses.replace(layer, weights=weights, **changes)  # type: ignore[arg-type]
        im2col = Im2col(name, network, layer)
        shape = im2col.apply(np.zeros((1, *network.input_shape), np.int8)).shape[1:]
        layers = [packed if i == readers[0] else other for i, other in enumerate(network.layers)]
        rewritten = Network(layers, shape, network.sources, network.contract)
        found.append(dataclasses.replace(im2col, network=rewritten))
    return plain + found
