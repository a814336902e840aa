"""Networks small enough for any machine."""

import numpy as np
from support.strategies import int8

from etchnet.hdl.isa.config import Config
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network


def small_network(seed=0):
    random = np.random.default_rng(seed)
    return Network(
        [
            Dense.from_scale(
                int8(random, (9, 7)),
                random.integers(-900, 900, 7),
                scale=0.01,
                low=-128,
                zero_point=-128,
                input_zero_point=3,
            ),
            Dense.from_scale(int8(random, (7, 10)), 5, scale=0.003, input_zero_point=-128),
            Dense.from_scale(int8(random, (10, 6)), -5, scale=0.004, zero_point=7),
        ]
    )


SMALL_MACHINE = Config(
    rows=4,
    columns=4,
    weight_tiles=64,
    activation_words=64,
    input_words=64,
    output_words=64,
    accumulator_rows=16,
    passes=128,
    drains=64,
    parameter_tiles=16,
)
"""a 4 x 4 machine with memories for `small_network`"""
