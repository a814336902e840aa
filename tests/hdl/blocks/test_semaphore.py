"""Semaphores against a counter in Python."""

import numpy as np
import pytest
from support import rtl

from etchnet.hdl.blocks.semaphore import Semaphore


@pytest.mark.parametrize(("initial", "maximum"), [(2, 2), (0, 1), (0, 2), (1, 5), (0, 255)])
def test_tokens_are_counted(initial, maximum):
    random = np.random.default_rng(maximum)

    def bench():
        tokens, reached = initial, set()
        for cycle in range(600):
            # Phases of mostly putting and mostly taking, so that both limits are reached.
            take = tokens > 0 and random.random() < (0.2 if cycle // 300 % 2 == 0 else 0.8)
            put = tokens < maximum and random.random() < 0.6
            seen = yield {"put": put, "take": take}
            assert (seen["count"], seen["available"]) == (tokens, tokens > 0)
            tokens += put - take
            reached.add(tokens)
        return reached

    reached = rtl.run(Semaphore(initial=initial, maximum=maximum), bench())
    assert {0, min(maximum, 20)} <= reached


def test_a_token_may_be_put_and_taken_in_the_same_cycle():
    def bench():
        seen = yield {"put": 1, "take": 1}
        seen = yield {"put": 0, "take": 1}
        assert seen["available"] == 1
        seen = yield {"take": 0}
        assert (seen["count"], seen["available"]) == (0, 0)

    rtl.run(Semaphore(initial=1, maximum=2), bench())
