"""The two rings by themselves, against lists of bytes."""

import random

import pytest
from support import rtl

from etchnet.hdl.serial.framing import CHECK_BYTES, UNIT
from etchnet.hdl.serial.rings import IncomingRing, OutgoingRing

SIZE = 256


class Words:
    """The machine's side of an incoming ring: takes link words, and returns their bytes."""

    def __init__(self, link_bits, rng, pace):
        self.bytes, self.rng, self.pace, self.size = b"", rng, pace, link_bits // 8

    def ready(self):
        return {"link.ready": self.rng.random() < self.pace}

    def step(self, inputs, outputs):
        if outputs["link.valid"] and inputs["link.ready"]:
            self.bytes += outputs["link.payload"].to_bytes(self.size, "little")


@pytest.mark.parametrize("latency", [1, 2])
@pytest.mark.parametrize(("link_bits", "pace"), [(32, 1.0), (64, 0.02)])
def test_the_machine_gets_the_bytes_of_committed_frames(link_bits, pace, latency):
    rng = random.Random(link_bits)
    machine, kept, refused = Words(link_bits, rng, pace), b"", 0

    def bench():
        nonlocal kept, refused

        def cycle(**inputs):
            inputs = {"put": 0, "rewind": 0, "commit": 0} | inputs | machine.ready()
            outputs = yield inputs
            machine.step(inputs, outputs)
            return outputs

        yield from cycle(rewind=1)
        for _ in range(30):
            body = rng.randbytes(rng.choice([0, 3, 40, 90]))
            for byte in body + bytes(CHECK_BYTES):
                yield from cycle(put=1, data=byte)
                yield from cycle()
            yield from cycle(rewind=1)
            wanted = rng.random() < 0.7
            # A commit is decided in the cycle in which `overflowed` is valid.
            outputs = yield from cycle()
            if outputs["overflowed"]:
                refused += 1
                continue
            if wanted:
                for byte in body + bytes(CHECK_BYTES):
                    yield from cycle(put=1, data=byte)
                    yield from cycle()
                yield from cycle(rewind=1)
                outputs = yield from cycle(commit=1)
                assert not outputs["overflowed"]
                kept += body
        machine.pace = 1.0
        for _ in range(4 * SIZE):
            outputs = yield from cycle()
        left = len(kept) % (link_bits // 8)
        # Everything that was taken is free again.
        assert outputs["free"] == SIZE // UNIT
        assert machine.bytes == kept[: len(kept) - left]

    rtl.run(IncomingRing(link_bits=link_bits, size=SIZE, latency=latency), bench(), cycles=20_000)
    assert len(kept) > SIZE // 2
    assert refused > 0 or pace == 1.0


def test_a_frame_that_does_not_fit_overflows_and_the_ring_reports_free_space():
    def bench():
        yield {"rewind": 1, "link.ready": 0}
        for size in (100, SIZE):
            for byte in range(size + CHECK_BYTES):
                yield {"rewind": 0, "commit": 0, "put": 1, "data": byte & 255}
            yield {"put": 0, "rewind": 1}
            outputs = yield {"rewind": 0, "commit": size == 100}
            assert outputs["overflowed"] == (size == SIZE)
        # Some bytes have gone into the link word that waits, and no more than one word of them.
        for _ in range(20):
            outputs = yield {"commit": 0}
        assert outputs["free"] == (SIZE - 100 + 4) // UNIT

    rtl.run(IncomingRing(link_bits=32, size=SIZE, latency=2), bench())


@pytest.mark.parametrize("latency", [1, 2])
@pytest.mark.parametrize("link_bits", [32, 96])
def test_answers_carry_the_machines_bytes_in_order_and_again_on_request(link_bits, latency):
    rng = random.Random(link_bits)
    size = link_bits // 8
    stream = rng.randbytes(size * 40)
    got, last = b"", b""

    def bench():
        nonlocal got, last
        sent, present = 0, False

        def cycle(**inputs):
            nonlocal sent, present
            present = sent < len(stream) and (present or rng.random() < 0.5)
            word = int.from_bytes(stream[sent : sent + size], "little")
            idle = dict.fromkeys(("rewind", "advance", "fetch", "step", "stop"), 0)
            outputs = yield idle | {"link.valid": present, "link.payload": word} | inputs
            if present and outputs["link.ready"]:
                sent, present = sent + size, False
            return outputs

        def read(limit):
            data = b""
            while not (outputs := (yield from cycle()))["exhausted"]:
                assert outputs["position"] == (len(got) + len(data)) % SIZE
                yield from cycle(fetch=1)
                yield from cycle()
                data += bytes([(yield from cycle())["data"]])
                yield from cycle(step=1)
            assert len(data) <= limit * UNIT
            yield from cycle(stop=1)
            return data

        for _ in range(2000):
            if len(got) + len(last) == len(stream):
                break
            limit = rng.randrange(5)
            if rng.random() < 0.3:
                yield from cycle(rewind=1)
                assert (yield from read(1 << 8)) == last
                continue
            yield from cycle(advance=1, limit=limit)
            got += last
            last = yield from read(limit)

    rtl.run(OutgoingRing(link_bits=link_bits, size=SIZE, latency=latency), bench())
    assert got + last == stream


def test_a_full_ring_keeps_the_machine_waiting():
    def bench():
        accepted = 0
        for cycle in range(3 * SIZE):
            outputs = yield {"link.valid": 1, "link.payload": cycle}
            accepted += outputs["link.ready"]
        # All its bytes are taken, and one word waits.
        assert accepted == SIZE // 4 + 1

    rtl.run(OutgoingRing(link_bits=32, size=SIZE, latency=2), bench())
