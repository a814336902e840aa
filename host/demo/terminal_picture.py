"""Drawing of images with characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["side_by_side", "sketch"]

_SHADES = {True: " ░▒▓█", False: " .:*#"}


def sketch(image: np.ndarray, *, unicode: bool = True) -> list[str]:
    """Draw a uint8 image (H, W) as lines of text; each character covers one column and two rows of pixels.

    Brighter pixels use denser characters: block characters with `unicode`, otherwise ASCII.
    """
    if len(image) % 2:
        image = np.concatenate([image, image[-1:]])
    shades = _SHADES[unicode]
    cells = (image[0::2].astype(int) + image[1::2]) // 2
    return ["".join(shades[value * len(shades) // 256] for value in row) for row in cells]


def side_by_side(pictures: Sequence[Sequence[str]], captions: Sequence[str], *, gap: int = 3) -> list[str]:
    """Return the lines of pictures of equal height side by side, `gap` characters apart, with captions below."""
    width = max(len(line) for picture in pictures for line in picture)
    width = max([width, *map(len, captions)])
    rows = [*zip(*pictures, strict=True), tuple(captions)]
    return [(" " * gap).join(cell.ljust(width) for cell in row).rstrip() for row in rows]
