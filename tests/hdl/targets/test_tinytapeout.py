"""The machine through the pins of a tile, driven by the driver itself, with a host that stalls."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from support import rtl
from support.machines import Played

from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.tinytapeout import IN_READY, IN_VALID, OUT_READY, OUT_VALID, TinyTapeout
from etchnet.host.driver.driver import Accelerator
from etchnet.host.flows.processes import TILE
from etchnet.sim.engines.link import Engine, LinkTrace


class Pins(Engine):
    """An engine that sees only the pins; in each cycle it offers a byte, or takes one, with probability `chance`."""

    name = "pins"

    def __init__(self, config, chance=1.0, seed=0):
        super().__init__(config)
        self._top = TinyTapeout(Machine(config))
        self._random, self._chance = np.random.default_rng(seed), chance
        self._given, self._taken, self._wanted, self._cycle = [], [], 0, 0
        self._simulator = Simulator(self._top)
        self._simulator.add_clock(1e-8)
        self._simulator.add_testbench(self._host, background=True)

    @property
    def cycle(self):
        return self._cycle

    @property
    def record(self):
        return LinkTrace()

    async def _host(self, ctx):
        top, offering, sent = self._top, False, 0
        while True:
            await ctx.delay(2e-9)
            offering = sent < len(self._given) and (offering or self._random.random() < self._chance)
            accepting = len(self._taken) < self._wanted and self._random.random() < self._chance
            ctx.set(top.ui_in, self._given[sent] if offering else 0xA5)
            ctx.set(top.uio_in, offering << IN_VALID | accepting << OUT_READY | 0xF0)
            assert ctx.get(top.uio_oe) == 1 << IN_READY | 1 << OUT_VALID
            *_, out, byte = await ctx.tick().sample(top.uio_out, top.uo_out)
            if offering and out >> IN_READY & 1:
                sent, offering = sent + 1, False
            if accepting and out >> OUT_VALID & 1:
                self._taken.append(byte)
            self._cycle += 1

    def exchange(self, words, count):
        self._given += np.ascontiguousarray(words, "<u4").tobytes()
        self._wanted += count * self.config.link_bits // 8
        start, last = len(self._taken), self._cycle + 100_000
        while len(self._taken) < self._wanted:
            self._simulator.advance()
            assert self._cycle < last, "nothing comes back"
        return np.frombuffer(bytes(self._taken[start:]), "<u4").reshape(-1, self.config.link_bits // 32)


@pytest.mark.parametrize("chance", [1.0, 0.3])
def test_the_driver_gets_the_exact_engines_results_through_the_pins(chance):
    random = np.random.default_rng(3)
    x, w = (random.integers(-128, 128, shape).astype(np.int8) for shape in ((3, 5), (5, 3)))
    chip, exact = Accelerator(engine=Pins(TILE, chance)), Accelerator(TILE)
    for bias, scale in ((0, None), (50, 1 / 300)):
        y = chip.matmul_relu(x, w, bias=bias, scale=scale)
        assert np.array_equal(y, exact.matmul_relu(x, w, bias=bias, scale=scale))
    # Waiting for the pins adds to no counters but the link waits.
    waits = {"wait_in", "wait_out"}
    for counter, total in exact.counts.totals.items():
        if counter.name.lower() not in waits | {"cycles"}:
            assert chip.counts[counter] == total


@pytest.mark.parametrize("bits", [32, 96])
def test_bytes_become_words_and_words_bytes(bits):
    """Both directions at once, cycle by cycle; a word waits in a register until all of it has been taken."""
    random, machine, size = np.random.default_rng(bits), Played(Config(rows=2, columns=2, link_bits=bits)), bits // 8
    tile = TinyTapeout(machine)

    async def bench(ctx):
        arrived, leaving = [], []
        for _ in range(400):
            byte, offered, accepted, ready, valid = (int(n) for n in random.integers([256, 10, 10, 2, 2]))
            word = random.bytes(size)
            ctx.set(tile.ui_in, byte)
            ctx.set(tile.uio_in, int(offered < 7) | int(accepted < 7) << 3 | 0xF0)
            ctx.set(machine.link_in.ready, ready)
            ctx.set(machine.link_out.valid, valid)
            ctx.set(machine.link_out.payload, int.from_bytes(word, "little"))
            full, sending = len(arrived) == size, bool(leaving)
            assert ctx.get(tile.uio_oe) == 0b0110
            assert ctx.get(tile.uio_out) == (not full) << 1 | sending << 2
            assert (ctx.get(machine.link_in.valid), ctx.get(machine.link_out.ready)) == (full, not sending)
            if full:
                assert ctx.get(machine.link_in.payload) == int.from_bytes(bytes(arrived), "little")
                arrived = [] if ready else arrived
            elif offered < 7:
                arrived = [*arrived, byte]
            if sending:
                assert ctx.get(tile.uo_out) == leaving[0]
                leaving = leaving[1:] if accepted < 7 else leaving
            elif valid:
                leaving = [*word]
            await ctx.tick()

    rtl.simulate(tile, bench)
