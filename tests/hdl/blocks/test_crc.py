"""The check sequence of frames."""

import zlib

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import rtl

from etchnet.hdl.blocks.crc import FrameCheck


@settings(max_examples=8)
@given(st.binary(max_size=60))
@example(b"123456789")
def test_the_check_equals_that_of_zlib(data):
    check, found = FrameCheck(), []

    async def bench(ctx):
        async def feed(data):
            for byte in data:
                ctx.set(check.data, byte)
                ctx.set(check.valid, 1)
                await ctx.tick()
            ctx.set(check.valid, 0)

        await feed(data)
        found.append(ctx.get(check.value))
        await feed(zlib.crc32(data).to_bytes(4, "little"))
        found.append(ctx.get(check.match))

    rtl.simulate(check, bench)
    assert found == [zlib.crc32(data), 1]


def test_cycles_without_a_byte_do_not_count():
    random = np.random.default_rng(0)
    frame = random.bytes(40)
    check = zlib.crc32(frame)

    def bench():
        for byte in frame:
            while random.random() < 0.3:
                yield {"valid": 0, "data": 0x55}
            yield {"valid": 1, "data": byte}
        seen = yield {"valid": 0}
        assert seen["value"] == check
        for byte in check.to_bytes(4, "little"):
            assert not seen["match"]
            seen = yield {"valid": 1, "data": byte}
        seen = yield {"valid": 0}
        assert seen["match"]

    rtl.run(FrameCheck(), bench())
