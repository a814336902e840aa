"""The AXI4-Lite slave by itself, in front of registers whose values are a function of their addresses."""

import random

import pytest
from amaranth.hdl import Elaboratable, Module
from support import rtl

from etchnet.hdl.buses.axi_lite import AxiLite, Response

REFUSED = 3
"""a word address that the registers refuse"""


class Slave(Elaboratable):
    """The slave, and registers that hold three times their word address."""

    def __init__(self):
        self.lite = AxiLite()

    def elaborate(self, platform):
        m = Module()
        m.submodules.lite = lite = self.lite
        m.d.comb += [
            lite.read_data.eq(3 * lite.read_address),
            lite.read_error.eq(lite.read_address == REFUSED),
            lite.write_error.eq(lite.write.address == REFUSED),
        ]
        return m


class Channel:
    """One channel of a master: offers one item after the other, each until it is accepted."""

    def __init__(self, items, rng, pace):
        self.items, self.rng, self.pace = list(items), rng, pace
        self.offering = False
        self.accepted = []

    def offer(self):
        self.offering = bool(self.items) and (self.offering or self.rng.random() < self.pace)
        return self.offering

    @property
    def item(self):
        return self.items[0] if self.items else (0, 0)

    def step(self, ready, cycle):
        if self.offering and ready:
            self.items.pop(0)
            self.offering = False
            self.accepted.append(cycle)


def transfer(writes, reads, *, seed=0, pace=1.0):
    """Write (word, data, strobes) and read words with random waits on every channel."""
    rng = random.Random(seed)
    aw = Channel([(word, 0) for word, _, _ in writes], rng, pace)
    w = Channel([(data, strobes) for _, data, strobes in writes], rng, pace)
    ar = Channel([(word, 0) for word in reads], rng, pace)
    written, responses, values = [], [], []
    rises = {"bvalid": [], "rvalid": []}

    def bench():
        cycle, before = 0, {"bvalid": 0, "rvalid": 0}
        while len(responses) < len(writes) or len(values) < len(reads):
            inputs = {
                "lite.awvalid": aw.offer(),
                "lite.awaddr": 4 * aw.item[0] + rng.randrange(4),
                "lite.wvalid": w.offer(),
                "lite.wdata": w.item[0],
                "lite.wstrb": w.item[1],
                "lite.arvalid": ar.offer(),
                "lite.araddr": 4 * ar.item[0] + rng.randrange(4),
                "lite.bready": rng.random() < pace,
                "lite.rready": rng.random() < pace,
            }
            outputs = yield inputs
            if outputs["lite.write.valid"]:
                written.append(tuple(outputs[f"lite.write.{n}"] for n in ("address", "data", "strobes")))
            for channel, name in ((aw, "aw"), (w, "w"), (ar, "ar")):
                channel.step(outputs[f"lite.{name}ready"], cycle)
            for name in rises:
                if outputs[f"lite.{name}"] and not before[name]:
                    rises[name].append(cycle)
                before[name] = outputs[f"lite.{name}"] and not inputs[f"lite.{name[0]}ready"]
            if outputs["lite.bvalid"] and inputs["lite.bready"]:
                responses.append(outputs["lite.bresp"])
            if outputs["lite.rvalid"] and inputs["lite.rready"]:
                values.append((outputs["lite.rdata"], outputs["lite.rresp"]))
            cycle += 1
            assert cycle < 1000

    rtl.run(Slave(), bench())
    return written, responses, values, {"aw": aw.accepted, "w": w.accepted, "ar": ar.accepted, **rises}


def response(word):
    return (Response.SLVERR if word == REFUSED else Response.OKAY).value


@pytest.mark.parametrize("pace", [1.0, 0.6, 0.2])
def test_every_transfer_has_its_response_in_order(pace):
    rng = random.Random(pace)
    writes = [(rng.randrange(6), rng.getrandbits(32), rng.getrandbits(4)) for _ in range(20)]
    reads = [rng.randrange(6) for _ in range(20)]
    written, responses, values, _ = transfer(writes, reads, seed=1, pace=pace)
    assert written == writes
    assert responses == [response(word) for word, _, _ in writes]
    assert values == [(3 * word, response(word)) for word in reads]


def test_a_transfer_every_two_cycles_each_answered_after_two():
    *_, cycles = transfer([(1, 2, 15)] * 5, [1] * 5)
    for channel in ("aw", "w", "ar"):
        assert cycles[channel] == [0, 2, 4, 6, 8]
    assert cycles["bvalid"] == cycles["rvalid"] == [2, 4, 6, 8, 10]
