"""The check sequence of frames."""

import zlib

from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.rtl import simulate

from etchnet.hdl.blocks.crc import FrameCheck


@settings(max_examples=8)
@given(st.binary(max_size=60))
@example(b"123456789")
def test_the_check_is_that_of_zlib(data):
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

    simulate(check, bench)
    assert found == [zlib.crc32(data), 1]
