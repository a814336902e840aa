"""Where tensors lie in the machine's memories, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.network.layers import Shape

__all__ = ["CapacityError", "Lifetime", "Place", "allocate", "channel_places", "words_per_pixel"]


class CapacityError(EtchnetError, ValueError):
    """A network that does not fit its machine; the message names the memory, what is needed and what there is."""

    def __init__(self, message: str, *, memory: str = "", needed: int = 0) -> None:
        super().__init__(message)
        self.memory, self.needed = memory, needed

    @classmethod
    def of(cls, memory: str, needed: int, config: Config, inputs: int) -> CapacityError:
        """The error of one memory: a parameter of `Config` that would have to be larger."""
        available = getattr(config, memory)
        enough = 1 << (needed - 1).bit_length() if memory in ("input_words", "output_words") else needed
        return cls(
            f"{memory}: {needed} needed for {inputs} input{'s'[: inputs != 1]} at once, but the machine has "
            f"{available}; {memory} = {enough} would do",
            memory=memory,
            needed=needed,
        )


def words_per_pixel(channels: int, config: Config, *, wide: bool = False) -> int:
    """Memory words that the output stage fills with `channels` results of one pixel."""
    tiles = ceil_div(channels, config.columns)
    if wide:
        return tiles * config.words_per_pixel(wide=True)
    return ceil_div(tiles, config.tiles_per_word) * config.words_per_pixel()


def channel_places(channels: int, config: Config) -> np.ndarray:
    """Where the output stage puts each int8 channel of a pixel: word * rows + lane."""
    channel = np.arange(channels)
    if config.tiles_per_word > 1:
        return channel
    tile, column = channel // config.columns, channel % config.columns
    return tile * config.words_per_pixel() * config.rows + column


@dataclass(frozen=True, eq=False)
class Place:
    """A tensor in a memory: image after image, pixel after pixel, `words` memory words for each.

    Attributes
    ----------
    channels
        Where each channel of a pixel lies: word * rows + lane.
    base
        The first word.
    """

    shape: Shape
    images: int
    words: int
    channels: np.ndarray
    base: int = 0

    @classmethod
    def packed(cls, shape: Shape, images: int, config: Config) -> Place:
        """As the host packs inputs: `rows` channels to a word."""
        return cls(shape, images, ceil_div(shape[2], config.rows), np.arange(shape[2]))

    @classmethod
    def written(cls, shape: Shape, images: int, config: Config, *, wide: bool = False) -> Place:
        """As the output stage writes results."""
        places = np.zeros(0, np.int64) if wide else channel_places(shape[2], config)
        return cls(shape, images, words_per_pixel(shape[2], config, wide=wide), places)

    @property
    def pixels(self) -> int:
        """Pixels of one image."""
        return self.shape[0] * self.shape[1]

    @property
    def size(self) -> int:
        """Words of all images."""
        return self.images * self.pixels * self.words


@dataclass(frozen=True)
class Lifetime:
    """A tensor's size in words, and the first and last step of the program in which it must be in memory."""

    size: int
    first: int
    last: int


def allocate(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """First words such that no two tensors that live at once overlap, and the words in use at most.

    The largest tensors are placed first, each into the lowest gap that takes it.
    """
    places = [0] * len(lifetimes)
    placed: list[int] = []
    for index in sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].size, i)):
        tensor = lifetimes[index]
        near = sorted(
            (places[other], places[other] + lifetimes[other].size)
            for other in placed
            if lifetimes[other].first <= tensor.last and tensor.first <= lifetimes[other].last
        )
        at = 0
        for begin, end in near:
            if at + tensor.size <= begin:
                break
            at = max(at, end)
        places[index] = at
        placed.append(index)
    return places, max((p + t.size for p, t in zip(places, lifetimes, strict=True)), default=0)
