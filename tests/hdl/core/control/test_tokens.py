"""The six semaphores between the links and the sequencer."""

import numpy as np
from support import rtl

from etchnet.hdl.core.control import tokens
from etchnet.hdl.core.control.tokens import Tokens

MOST_WEIGHTS = 255
TOKENS = {
    "input_free": (2, 2),
    "input_full": (0, 2),
    "output_free": (2, 2),
    "output_full": (0, 2),
    "weights_free": (0, MOST_WEIGHTS),
    "weights_full": (0, MOST_WEIGHTS),
}
"""count after reset, and maximum: both halves of both memories are free, no weights are permitted, nothing is full"""


def test_the_table_of_tokens():
    assert tokens.TOKENS == TOKENS


def test_every_token_is_counted_by_itself():
    random = np.random.default_rng(0)

    def bench():
        counts = {name: initial for name, (initial, _) in TOKENS.items()}
        for _ in range(300):
            inputs = {}
            for name, (_, maximum) in TOKENS.items():
                inputs[f"{name}.take"] = int(counts[name] > 0 and random.random() < 0.4)
                inputs[f"{name}.put"] = int(counts[name] < maximum and random.random() < 0.5)
            seen = yield inputs
            for name in TOKENS:
                assert seen[f"{name}.count"] == counts[name]
                assert seen[f"{name}.available"] == (counts[name] > 0)
                counts[name] += inputs[f"{name}.put"] - inputs[f"{name}.take"]

    rtl.run(Tokens(), bench())


def test_weights_tokens_reach_their_maximum():
    def bench():
        for _ in range(MOST_WEIGHTS):
            yield {"weights_full.put": 1}
        seen = yield {"weights_full.put": 0}
        assert seen["weights_full.count"] == MOST_WEIGHTS
        assert seen["weights_free.count"] == 0

    rtl.run(Tokens(), bench())
