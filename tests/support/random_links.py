"""Random parameters of channels, and random stalls of links."""

from __future__ import annotations

import numpy as np

from etchnet.hdl.isa import Parameters
from etchnet.sim.engines.link import LinkTrace


def random_parameters(random: np.random.Generator) -> Parameters:
    """Return the parameters of a channel: mostly such as give results of all sizes, and any others."""
    if random.random() < 0.7:
        return Parameters(
            bias=int(random.integers(-(1 << 12), 1 << 12)),
            multiplier=int(random.integers(1 << 30, 1 << 31)),
            left=int(random.integers(3)),
            right=int(random.integers(12)),
        )
    return Parameters(
        bias=int(random.choice([0, 1, -1, -(1 << 31), (1 << 31) - 1, random.integers(-(1 << 31), 1 << 31)])),
        multiplier=int(random.choice([0, 1, (1 << 31) - 1, 1 << 30, random.integers(1 << 31)])),
        left=int(random.choice([0, 1, 31, random.integers(32)])),
        right=int(random.choice([0, 1, 31, random.integers(32)])),
    )


def random_trace(random: np.random.Generator) -> LinkTrace:
    """Return a link both of whose ends stall: seldom, often, for a single cycle, or for long."""
    return LinkTrace(_stalls(random), _stalls(random))


def _stalls(random: np.random.Generator) -> np.ndarray:
    pieces = [np.zeros(0, bool)]
    for _ in range(int(random.choice([0, 1, 3, 8]))):
        size = int(random.choice([5, 60, 400, 1500]))
        match int(random.integers(5)):
            case 0:
                piece = random.random(size) < random.choice([0.05, 0.3, 0.7, 0.95])
            case 1:
                piece = np.arange(size) % int(random.integers(2, 9)) != 0
            case 2:
                piece = np.arange(size) % int(random.integers(2, 9)) == 0
            case 3:
                piece = np.zeros(min(size, 400), bool)
            case _:
                piece = np.ones(size, bool)
        pieces.append(piece)
    return np.concatenate(pieces)
