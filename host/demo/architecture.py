"""Architecture of the demonstration's network, without weights, and the measurement of its accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.data.fashion import CLASSES, SIZE, Split, quantise_image
from etchnet.host.network.layers import Padding, same_padding
from etchnet.host.network.network import Network

__all__ = ["ARCHITECTURE", "Stage", "accuracy", "sizes"]


@dataclass(frozen=True)
class Stage:
    """One layer of the architecture.

    Parameters
    ----------
    kind
        "conv" or "dense". ReLU follows every convolution. Only the last stage is dense.
    channels
        Output channels.
    kernel, stride
        Size of a convolution's kernel and its stride, both the same in rows and columns.
    """

    kind: str
    channels: int
    kernel: int = 1
    stride: int = 1

    def size_out(self, size: int) -> int:
        """Return the rows, which equal the columns, of the output for an input of `size` x `size` pixels."""
        return ceil_div(size, self.stride) if self.kind == "conv" else 1

    def padding(self, size: int) -> Padding:
        """Return a convolution's SAME padding for an input of `size` x `size` pixels."""
        side = same_padding(size, self.kernel, self.stride)
        return side, side


ARCHITECTURE = (
    Stage("conv", 32, kernel=3, stride=2),
    Stage("conv", 64, kernel=3, stride=2),
    Stage("conv", 64, kernel=3),
    Stage("dense", len(CLASSES)),
)


def sizes(stages: Sequence[Stage]) -> Iterator[tuple[Stage, int, int, int]]:
    """Yield each stage with the rows and channels of its input and the rows of its output; images are square."""
    size, channels = SIZE, 1
    for stage in stages:
        yield stage, size, channels, stage.size_out(size)
        size, channels = stage.size_out(size), stage.channels


def accuracy(network: Network, split: Split, *, batch: int = 250) -> float:
    """Return the share of images for which the first of the highest int8 scores is that of the label.

    `batch` images at a time are computed, to limit memory.
    """
    right = 0
    for start in range(0, len(split.labels), batch):
        scores = network.reference(quantise_image(split.images[start : start + batch]))
        right += int((scores.argmax(axis=1) == split.labels[start : start + batch]).sum())
    return right / len(split.labels)
