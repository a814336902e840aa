"""A network that uses every kind of memory, and the smallest memories of a machine for it."""

import numpy as np

from etchnet.host.network.layers import Conv, Dense
from etchnet.host.network.network import Network

TINY = {
    "weight_tiles": 32,
    "activation_words": 32,
    "input_words": 32,
    "output_words": 32,
    "accumulator_rows": 16,
    "passes": 32,
    "drains": 16,
    "parameter_tiles": 16,
    "residual_words": 0,
    "depthwise": 0,
}


def small_network(random):
    """Return a convolution and a dense layer, with scales that use the whole range of results."""
    weights = random.integers(-128, 128, (3, 3, 2, 4)).astype(np.int8)
    dense = random.integers(-128, 128, (4 * 4 * 4, 5)).astype(np.int8)
    first = Conv.from_scale(weights, scale=0.003, padding=((0, 0), (0, 0)))
    return Network([first, Dense.from_scale(dense, scale=0.002)], input_shapes=(6, 6, 2))
