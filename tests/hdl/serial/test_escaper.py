"""The escaper by itself."""

import random

import pytest
from support import rtl

from etchnet.hdl.serial.escaper import Escaper
from etchnet.hdl.serial.framing import ESCAPE, FLAG, FLIP


@pytest.mark.parametrize("pace", [1.0, 0.4])
def test_flags_and_escapes_are_sent_as_two_bytes_and_plain_ones_as_they_are(pace):
    rng = random.Random(pace)
    sent = [(rng.choice([FLAG, ESCAPE, FLAG ^ FLIP, rng.randrange(256)]), rng.random() < 0.3) for _ in range(60)]
    line = []

    def bench():
        left, offering = list(sent), False
        for _ in range(1000):
            offering = bool(left) and (offering or rng.random() < pace)
            byte, plain = left[0] if left else (0, 0)
            ready = rng.random() < pace
            outputs = yield {
                "bytes.valid": offering,
                "bytes.payload.byte": byte,
                "bytes.payload.plain": plain,
                "tx.ready": ready,
            }
            if outputs["tx.valid"] and ready:
                line.append(outputs["tx.payload"])
            if offering and outputs["bytes.ready"]:
                left.pop(0)
                offering = False
        assert not left

    rtl.run(Escaper(), bench())
    wanted = []
    for byte, plain in sent:
        wanted += [ESCAPE, byte ^ FLIP] if byte in (FLAG, ESCAPE) and not plain else [byte]
    assert line == wanted
