"""The UART from line to line; the bench plays the host, bit by bit, and the machine."""

import pytest
from support import rtl
from support.machines import Played, Recorder

from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.isa.config import Config
from etchnet.hdl.serial.framing import Identity, Kind
from etchnet.hdl.serial.uart import Uart
from etchnet.host.driver.frames import Deframer, Frame

DIVISOR = 4
CONFIG = Config(rows=2, columns=2, memory_latency=4)


def levels(data):
    """Return the level of the line for every bit of some bytes: a start bit, eight bits, and a stop bit each."""
    return [bit for byte in data for bit in (0, *(byte >> i & 1 for i in range(8)), 1)]


def test_frames_reach_the_machine_and_words_the_host():
    """HELLO resets the machine and is answered with its identity; DATA carries a word in each direction."""
    uart = Uart(Played(CONFIG), clock_hz=4e6)
    assert uart.divisor == DIVISOR
    resets = []

    def cycle(**inputs):
        outputs = yield inputs
        resets.append(not outputs["machine.started"])
        return outputs

    def answer(frame):
        """Send a frame, and return its answer."""
        deframer, frames, first = Deframer(), [], True
        for bit in levels(frame.encode()):
            for _ in range(DIVISOR):
                outputs = yield from cycle(rx=bit)
                assert outputs["tx"]
        while not frames:
            while outputs["tx"]:
                outputs = yield from cycle()
            # The last bytes are on the line when no more are to be sent.
            assert not (first and outputs["activity"])
            first = False
            # Bits of a byte, each in its middle, from the first cycle of its start bit on.
            bits = []
            for _ in range(10):
                for index in range(DIVISOR):
                    if index == DIVISOR // 2:
                        bits.append(outputs["tx"])
                    outputs = yield from cycle()
            assert (bits[0], bits[9]) == (0, 1)
            frames = deframer.feed(bytes([sum(bit << i for i, bit in enumerate(bits[1:9]))]))
        return frames[0]

    def bench():
        for _ in range(3):
            outputs = yield from cycle(rx=1)
        assert not outputs["activity"]
        hello = yield from answer(Frame(Kind.HELLO, 7, 0))
        identity = Identity.of(CONFIG, buffer_bytes=1024, clock_hz=4_000_000)
        assert (hello.kind, hello.sequence, hello.body) == (Kind.IDENTITY, 7, identity.encode())
        yield from cycle(**{"machine.link_out.valid": 1, "machine.link_out.payload": 0x0403_7E7D})
        yield from cycle(**{"machine.link_out.valid": 0})
        for _ in range(40):
            outputs = yield from cycle()
        assert outputs["activity"]
        data = yield from answer(Frame(Kind.DATA, 8, 1, bytes([1, 2, 0x7E, 4])))
        assert (data.kind, data.sequence, data.body) == (Kind.ACCEPTED, 8, bytes([0x7D, 0x7E, 3, 4]))
        outputs = yield from cycle()
        assert (outputs["machine.link_in.valid"], outputs["machine.link_in.payload"]) == (1, 0x047E_0201)

    rtl.run(uart, bench())
    assert resets[1:].count(True) == 1


@pytest.mark.parametrize(("memory_latency", "latency"), [(1, 1), (2, 2), (4, 2)])
def test_the_rings_are_as_late_as_the_machines_memories_up_to_two_cycles(memory_latency, latency):
    framed, platform = Uart(Played(Config(memory_latency=memory_latency)), clock_hz=4e6).framed_link, Recorder()
    for ring in (framed.incoming, framed.outgoing):
        ring.elaborate(platform)
    memories = {ram.name: ram.latency for ram in platform.found if isinstance(ram, Ram)}
    assert memories == {"frames_in": latency, "frames_out": latency}
