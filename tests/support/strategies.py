"""What the property tests draw from: machines, operands, link traces."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.link import LinkTrace


def _divisors(whole: int) -> list[int]:
    return [d for d in range(1, whole + 1) if whole % d == 0]


@st.composite
def configs(draw: st.DrawFn, *, largest: int = 9) -> Config:
    """Small machines of every shape, with memories small enough that products have to be cut."""
    rows, columns = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    return Config(
        rows=rows,
        columns=columns,
        weight_rows=draw(st.sampled_from(_divisors(rows))),
        requantisers=draw(st.sampled_from(_divisors(columns))),
        weight_tiles=draw(st.sampled_from([12, 40, 200])),
        activation_words=256,
        input_words=draw(st.sampled_from([16, 64, 256])),
        output_words=draw(st.sampled_from([64, 256])),
        accumulator_rows=draw(st.sampled_from([4, 16, 33])),
        passes=256,
        drains=64,
        parameter_tiles=80,
        link_bits=draw(st.sampled_from([32, 64, 96])),
        multiplier_latency=draw(st.sampled_from([1, 1, 2, 3])),
        memory_latency=draw(st.sampled_from([1, 1, 2, 3, 4])),
        product_latency=draw(st.sampled_from([1, 1, 2, 3, 4, 5])),
    )


def randoms() -> st.SearchStrategy[np.random.Generator]:
    """Numpy generators; hypothesis shrinks the seed."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def int8(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Full-range int8, or, one time in four, only the extremes."""
    if random.random() < 0.25:
        return random.choice(np.array([-128, -127, 127], np.int8), shape)
    return random.integers(-128, 128, shape).astype(np.int8)


def traces(random: np.random.Generator, cycles: int = 4000) -> LinkTrace:
    """A link that stalls at random on both ends."""
    rates = random.choice([0.3, 0.7, 1.0], 2)
    return LinkTrace(random.random(cycles) < rates[0], random.random(cycles) < rates[1])
