"""The values that property tests draw: machines, operands, link traces."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.link import LinkTrace


def _divisors(whole: int) -> list[int]:
    return [d for d in range(1, whole + 1) if whole % d == 0]


CHOICES = {
    "weight_tiles": [12, 40, 200],
    "input_words": [16, 64, 256],
    "output_words": [64, 256],
    "accumulator_rows": [4, 16, 33],
    "link_bits": [32, 64, 96],
    "multiplier_latency": [1, 2, 3],
    "memory_latency": [1, 2, 3, 4],
    "product_latency": [1, 2, 3, 4, 5],
}
"""values that machines are drawn with: memories so small that products have to be cut, and every latency"""


@st.composite
def configs(draw: st.DrawFn, *, largest: int = 9) -> Config:
    """Return small machines of every shape."""
    rows, columns = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    return Config(
        rows=rows,
        columns=columns,
        weight_rows=draw(st.sampled_from(_divisors(rows))),
        requantisers=draw(st.sampled_from(_divisors(columns))),
        activation_words=256,
        passes=256,
        drains=64,
        parameter_tiles=80,
        **{name: draw(st.sampled_from(values)) for name, values in CHOICES.items()},
    )


def _machine(rows: int, columns: int, weight_rows: int, requantisers: int, **options: int) -> Config:
    sizes = {"activation_words": 256, "passes": 256, "drains": 64, "parameter_tiles": 80, "output_words": 256}
    return Config(
        rows=rows, columns=columns, weight_rows=weight_rows, requantisers=requantisers, **{**sizes, **options}
    )


MACHINES = [
    _machine(1, 1, 1, 1, weight_tiles=40, input_words=16, accumulator_rows=4, output_words=64, product_latency=3),
    _machine(
        4,
        4,
        2,
        2,
        weight_tiles=12,
        input_words=64,
        accumulator_rows=16,
        multiplier_latency=2,
        memory_latency=2,
        product_latency=2,
    ),
    _machine(2, 6, 1, 6, weight_tiles=40, input_words=16, accumulator_rows=33, link_bits=64, product_latency=4),
    _machine(6, 3, 6, 1, weight_tiles=12, input_words=256, accumulator_rows=4, memory_latency=3, multiplier_latency=3),
    _machine(3, 5, 3, 5, weight_tiles=200, input_words=64, accumulator_rows=16, link_bits=96, memory_latency=4),
    _machine(5, 2, 1, 2, weight_tiles=40, input_words=64, accumulator_rows=33, output_words=64, product_latency=5),
]
"""machines that between them have every value of `CHOICES`: a single element, columns that divide rows and rows that
divide columns, one weight row per cycle, some or all, one requantiser, some or all"""


def machines(count: int = len(MACHINES)) -> st.SearchStrategy[Config]:
    """Return one of the first `count` of `MACHINES`: few, since each has to be elaborated."""
    return st.sampled_from(MACHINES[:count])


def randoms() -> st.SearchStrategy[np.random.Generator]:
    """Return numpy generators; hypothesis shrinks the seed."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def int8(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return full-range int8, or, one time in four, only the extremes."""
    if random.random() < 0.25:
        return random.choice(np.array([-128, -127, 127], np.int8), shape)
    return random.integers(-128, 128, shape).astype(np.int8)


def traces(random: np.random.Generator, cycles: int = 4000) -> LinkTrace:
    """Return a link that stalls at random on both ends."""
    rates = random.choice([0.3, 0.7, 1.0], 2)
    return LinkTrace(random.random(cycles) < rates[0], random.random(cycles) < rates[1])
