"""The largest values of a model's outputs, as real numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etchnet.host.network.model import OutputPort

__all__ = ["Answer", "best", "scores"]


@dataclass(frozen=True)
class Answer:
    """One value of an output."""

    index: tuple[int, ...]
    """position in the output's shape, without axes of size 1"""
    score: float
    """the real number that the value represents"""

    def __str__(self) -> str:
        """Return position and score, such as ``6 (0.9961)``; of the only value, the score."""
        if not self.index:
            return f"{self.score:.4g}"
        where = str(self.index[0]) if len(self.index) == 1 else str(self.index)
        return f"{where} ({self.score:.4g})"


def scores(port: OutputPort, y: np.ndarray) -> np.ndarray:
    """Return the real numbers that values of an output represent; indices, int32 and int64 are themselves."""
    if port.dtype in ("float32", "int32", "int64"):
        return y
    return port.quantisation.dequantise(y)


def best(port: OutputPort, y: np.ndarray, *, most: int = 3) -> list[list[Answer]]:
    """Return the largest values of each of M outputs (M, *shape), at most `most`, largest first.

    Of equal values, the one with the smallest position comes first, as in argmax. Indices (int64, and the results of an
    ArgMax) are compared like other values.
    """
    flat = scores(port, y).reshape(len(y), -1)
    shape = tuple(size for size in port.shape if size != 1)
    order = np.argsort(-flat.astype(np.float64), axis=1, kind="stable")[:, :most]
    return [
        [Answer(tuple(int(i) for i in np.unravel_index(at, shape)), float(row[at])) for at in chosen]
        for row, chosen in zip(flat, order, strict=True)
    ]
