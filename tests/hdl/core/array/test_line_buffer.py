"""Line buffers against a list of all words so far."""

import numpy as np
import pytest
from support import rtl
from support.machines import small

from etchnet.hdl.core.array.line_buffer import LineBuffer


@pytest.mark.parametrize("line_words", [16, 32])
def test_any_delay_may_follow_any_other(line_words):
    config, random = small(line_words=line_words), np.random.default_rng(line_words)

    def bench():
        words, delay = [], None
        for cycle in range(300):
            word = int.from_bytes(random.bytes(config.rows), "little")
            seen = yield {"word": word, "delay": (now := int(random.integers(2, line_words + 1)))}
            if delay is not None and cycle >= delay:
                assert seen["delayed"] == words[cycle - delay]
            words.append(word)
            delay = now

    rtl.run(LineBuffer(config), bench())
