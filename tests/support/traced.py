"""A network and a machine for the tests of traces."""

from support.strategies import int8

from etchnet.hdl.isa.config import Config
from etchnet.host.network.layers import Conv, Depthwise
from etchnet.host.network.network import INPUT, Network

CONFIG = Config(
    rows=9,
    columns=9,
    requantisers=3,
    accumulator_rows=16,
    weight_tiles=64,
    activation_words=64,
    input_words=64,
    output_words=64,
    passes=128,
    drains=64,
    parameter_tiles=16,
    residual_words=32,
    line_words=16,
)


def network(random, channels=6):
    options = {"zero_point": -3, "low": -3}
    return Network(
        [
            Conv(int8(random, (1, 1, 3, channels)), 5, 1 << 30, -5, **options),
            Depthwise(
                int8(random, (3, 3, channels, 1)),
                7,
                1 << 30,
                -4,
                padding=((1, 1), (1, 1)),
                input_zero_point=-3,
                **options,
            ),
            Conv(int8(random, (1, 1, channels, 4)), 0, 1 << 30, -6, input_zero_point=-3),
        ],
        (3, 4, 3),
        [[INPUT], [0], [1]],
    )
