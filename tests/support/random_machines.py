"""Small machines from a seed: every field of `Config` takes every value of a list, in random combinations."""

from __future__ import annotations

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.contracts import CONTRACTS

SQUARE = [(1, 1), (2, 2), (3, 3), (4, 4), (4, 4), (5, 5), (6, 6), (8, 8), (9, 9), (4, 4)]
TALL = [(4, 1), (6, 3), (8, 2), (6, 2), (5, 2), (7, 3), (8, 4), (3, 2), (10, 2), (9, 3)]
FLAT = [(2, 6), (3, 5), (1, 4), (2, 7), (4, 8), (1, 3), (3, 9), (5, 8), (2, 5), (4, 6)]
SHAPES = [shape for three in zip(SQUARE, TALL, FLAT, strict=True) for shape in three]
"""(rows, columns): as many of each kind: square, with more rows than columns, and with more columns than rows"""

VALUES: dict[str, list[int | str]] = {
    "weight_tiles": [3, 8, 17, 40],
    "activation_words": [4, 13, 32, 100],
    "input_words": [2, 8, 16, 64],
    "output_words": [4, 16, 64, 128],
    "accumulator_rows": [4, 7, 16, 33, 64],
    "passes": [5, 16, 33, 64],
    "drains": [4, 16, 21, 48],
    "parameter_tiles": [1, 3, 8, 20],
    "residual_words": [0, 5, 16, 64],
    "line_words": [16, 32, 64],
    "link_bits": [32, 64, 96, 32, 128, 160, 256, 512],
    "multiplier_latency": [1, 2, 3, 4, 5, 6, 7, 8],
    "memory_latency": [1, 2, 3, 4],
    "product_latency": [1, 2, 3, 4, 5],
    "contract": [*CONTRACTS],
}
"""the values of every field that does not follow from the shape"""


def _divisors(whole: int) -> list[int]:
    return [d for d in range(1, whole + 1) if whole % d == 0]


def _dealt(random: np.random.Generator, values: list, count: int) -> list:
    """Return `count` values, shuffled, each as often as any other."""
    cards = [values[i % len(values)] for i in range(count)]
    return [cards[i] for i in random.permutation(count)]


def random_machines(random: np.random.Generator, count: int) -> list[Config]:
    """Return `count` machines, which have every value of `VALUES`, and every shape, if they are enough."""
    hands = {name: _dealt(random, values, count) for name, values in VALUES.items()}
    shapes = [SHAPES[i % len(SHAPES)] for i in range(count)]
    found = []
    for i in range(count):
        rows, columns = shapes[i]
        options = {name: hand[i] for name, hand in hands.items()}
        taps = [0]
        if rows == columns:
            # Squares that may have depthwise passes mostly do.
            taps = [k for k in (2, 3) if k * k <= rows] * 3 + [0]
        else:
            options["residual_words"] = 0
        # One row of int8 results must fit the output memory.
        least = -(-columns // rows)
        options["output_words"] = max(options["output_words"], 1 << least.bit_length())
        found.append(
            Config(
                rows=rows,
                columns=columns,
                weight_rows=int(random.choice(_divisors(rows))),
                requantisers=int(random.choice(_divisors(columns))),
                depthwise=int(random.choice(taps)),
                **options,
            )
        )
    return found
