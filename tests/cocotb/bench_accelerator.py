"""Test bench of the generated Verilog: the driver, unchanged, at the pins of the machine.

Runs inside the simulator, in the folder that `test_verilog_cocotb` fills: `setup.json`, `network.npz`, `inputs.npy` and
the generated files.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import FallingEdge, ReadOnly

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.compile import compile_network
from etchnet.host.compiler.program import Program
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.network import Network
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import Engine, LinkError, LinkTrace

WAITS = [Counter.WAIT_IN, Counter.WAIT_OUT]

STALLS = 60_000
"""Cycles since reset after which links stall no more."""

PATIENCE = 20_000
"""Cycles without a word moved that no trace of these tests has."""


class ResetError(Exception):
    """The machine was reset before everything had moved."""


class Pins(Engine):
    """Both links, a clock cycle at a time.

    Everything is driven at the falling edge and looked at when all signals have settled: what is seen then is what
    the next rising edge acts on. All of it, the checks too, happens in the one coroutine that the driver waits for, so
    that whatever is raised ends the test.
    """

    name = "pins"

    def __init__(self, dut: Any, config: Config, *, trace: LinkTrace | None = None) -> None:
        super().__init__(config, trace=trace)
        self._dut = dut
        self._sent: list[int] = []
        self._received: list[int] = []
        self._cycle = 0
        self._waiting: int | None = None
        self.reset_at: int | None = None
        """The cycle whose rising edge resets the machine, in the middle of an exchange."""
        self.refused = 0
        """Cycles in which a word was offered and not taken."""

    @property
    def cycle(self) -> int:
        return self._cycle

    @property
    def record(self) -> LinkTrace:
        return LinkTrace.recorded(self._sent, self._received)

    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        payloads = [int.from_bytes(row.tobytes(), "little") for row in np.ascontiguousarray(words, dtype="<u4")]
        received = resume(self._exchange)(payloads, count)
        size = self.config.link_bits // 8
        raw = b"".join(word.to_bytes(size, "little") for word in received)
        return np.frombuffer(raw, dtype="<u4").reshape(count, size // 4)

    async def _exchange(self, payloads: list[int], count: int) -> list[int]:
        received: list[int] = []
        taken, offering, last_moved = 0, False, self._cycle
        while taken < len(payloads) or len(received) < count:
            offering = taken < len(payloads) and (offering or _willing(self.trace.offers, self._cycle))
            cycle, resets = self._cycle, self._cycle == self.reset_at
            moved, word = await self._step(
                payloads[taken] if offering else None, accept=_willing(self.trace.accepts, cycle), reset=resets
            )
            if resets:
                self.was_reset()
                raise ResetError
            if moved:
                self._sent.append(cycle)
                taken, offering, last_moved = taken + 1, False, cycle
            if word is not None:
                assert len(received) < count, f"a word came that nobody had asked for: {word:#x}"
                self._received.append(cycle)
                received.append(word)
                last_moved = cycle
            if self._cycle - last_moved > PATIENCE:
                raise LinkError(
                    f"nothing moved for {PATIENCE} cycles: {taken}/{len(payloads)}, {len(received)}/{count}"
                )
        return received

    async def _step(self, payload: int | None, *, accept: bool, reset: bool = False) -> tuple[bool, int | None]:
        """One cycle: whether the offered word was taken, and the word that came."""
        dut = self._dut
        await FallingEdge(dut.clk)
        dut.rst.value = reset
        dut.link_in_valid.value = payload is not None
        # Without `valid`, the other wires must not matter.
        dut.link_in_payload.value = (1 << self.config.link_bits) - 1 if payload is None else payload
        dut.link_out_ready.value = accept
        await ReadOnly()
        self._cycle += 1
        valid = bool(dut.link_out_valid.value)
        word = dut.link_out_payload.value.to_unsigned() if valid else None
        if reset:
            self._waiting = None
            return False, None
        if self._waiting is not None:
            assert word == self._waiting, "a word that was not taken went away"
        self._waiting = None if accept else word
        taken = payload is not None and bool(dut.link_in_ready.value)
        self.refused += payload is not None and not taken
        return taken, word if accept else None

    async def reset(self) -> None:
        """One cycle of reset; words that were on their way are lost."""
        await self._step(None, accept=False, reset=True)

    async def stay_silent(self, cycles: int) -> None:
        """Nothing must come unasked."""
        for _ in range(cycles):
            _, word = await self._step(None, accept=True)
            assert word is None, f"a word came that nobody had asked for: {word:#x}"


def _willing(pattern: Any, cycle: int) -> bool:
    return cycle >= len(pattern) or bool(pattern[cycle])


@dataclass(frozen=True)
class Setup:
    """The starting point of every test: a machine, a program, inputs, and what to expect."""

    config: Config
    program: Program
    inputs: np.ndarray

    @classmethod
    def read(cls) -> Setup:
        setup = json.loads(Path("setup.json").read_text())
        config = Config.from_dict(setup["config"])
        program = compile_network(Network.load(Path("network.npz")), config, batch=setup["batch"])
        return cls(config, program, np.load("inputs.npy"))

    @property
    def repeats(self) -> int:
        return ceil_div(len(self.inputs), self.program.batch)

    def load_and_run(self, engine: Engine) -> Accelerator:
        """Load the network, run all inputs, check the results; the driver, for its counters."""
        accelerator = Accelerator(self.config, engine=engine)
        accelerator.load(self.program.network, batch=self.program.batch)
        self.check_results(accelerator.run(self.inputs))
        return accelerator

    def check_results(self, results: np.ndarray) -> None:
        expected = self.program.network.reference(self.inputs)
        assert results.dtype == expected.dtype
        assert np.array_equal(results, expected), f"{results.tolist()} is not {expected.tolist()}"

    def check_counters(self, totals: dict[Counter, int], waits: Collection[Counter] = ()) -> None:
        """Check that counters are those of a run that never waits, except that `waits` add to the cycles."""
        expected = self.program.counts(self.repeats)
        assert [c for c in (Counter.WAIT_IN, Counter.WAIT_OUT) if totals[c]] == list(waits), totals
        for counter in waits:
            expected[counter] += totals[counter]
            expected[Counter.CYCLES] += totals[counter]
        assert totals == expected

    def check_against_exact_engine(self, totals: dict[Counter, int], pins: Pins) -> None:
        """Check the waits of each link against the exact engine, on a link that moves in the same cycles."""
        exact = self.load_and_run(ExactEngine(self.config, trace=pins.record))
        assert totals == exact.counts.totals


def stalling(offers: float, accepts: float) -> LinkTrace:
    """Return a link whose ends are willing in about these shares of the cycles, now in bursts and now hardly ever."""
    random = np.random.default_rng(21)

    def end(share: float) -> np.ndarray:
        return random.random(STALLS) < np.repeat(random.random(STALLS // 50) * 2 * share, 50)

    return LinkTrace(end(offers), end(accepts))


def start_clock(dut: Any) -> None:
    Clock(dut.clk, 10, unit="ns").start()


@cocotb.test()
async def network_from_initial_contents(dut: Any) -> None:
    """Comes before the tests that load the network, which overwrite these contents."""
    setup = Setup.read()
    start_clock(dut)
    pins = Pins(dut, setup.config)
    await pins.reset()

    def run() -> Accelerator:
        # Inputs and a run, and no packet before them.
        accelerator = Accelerator(setup.config, engine=pins)
        accelerator.load_program(setup.program, built_in=True)
        setup.check_results(accelerator.run(setup.inputs))
        return accelerator

    setup.check_counters((await bridge(run)()).counts.totals)
    await pins.stay_silent(100)
    # A reset leaves memories as they are.
    for moment in (40, 123, 321):
        pins.reset_at = pins.cycle + moment
        try:
            await bridge(run)()
        except ResetError:
            assert dut.sequencer.running.value
        else:
            raise AssertionError(f"no reset after {moment} cycles")
        setup.check_counters((await bridge(run)()).counts.totals)
    await pins.stay_silent(100)


@cocotb.test()
async def outputs_and_counters_when_links_are_always_ready(dut: Any) -> None:
    setup = Setup.read()
    start_clock(dut)
    pins = Pins(dut, setup.config)
    # From whatever state registers woke up in, one cycle of reset must be enough.
    await pins.reset()
    accelerator = await bridge(setup.load_and_run)(pins)
    setup.check_counters(accelerator.counts.totals)
    # Reading the counters cleared them; the network is still there.
    setup.check_results(await bridge(accelerator.run)(setup.inputs))
    setup.check_counters(accelerator.counts.totals)
    await pins.stay_silent(100)


@cocotb.test()
async def outputs_and_counters_under_back_pressure(dut: Any) -> None:
    setup = Setup.read()
    start_clock(dut)
    for offers, accepts, waits in (
        # Links that stall and are fast enough: the array does not notice.
        (0.5, 0.5, []),
        (0.05, 1.0, [Counter.WAIT_IN]),
        (1.0, 0.05, [Counter.WAIT_OUT]),
        (0.1, 0.05, WAITS),
    ):
        pins = Pins(dut, setup.config, trace=stalling(offers, accepts))
        await pins.reset()
        totals = (await bridge(setup.load_and_run)(pins)).counts.totals
        assert pins.cycle < STALLS, "the links stopped stalling before the end"
        setup.check_counters(totals, waits)
        setup.check_against_exact_engine(totals, pins)
        await pins.stay_silent(100)


@cocotb.test()
async def nothing_is_lost_while_the_outgoing_link_waits(dut: Any) -> None:
    setup = Setup.read()
    start_clock(dut)
    pins = Pins(dut, setup.config, trace=LinkTrace(accepts=np.zeros(10_000, bool)))
    await pins.reset()
    totals = (await bridge(setup.load_and_run)(pins)).counts.totals
    # Both halves of the output memory filled, then both of the input memory, and the incoming link had to wait too.
    assert totals[Counter.WAIT_OUT] > 5_000, totals
    assert pins.refused > 5_000
    setup.check_counters(totals, [Counter.WAIT_OUT])
    setup.check_against_exact_engine(totals, pins)
    await pins.stay_silent(100)


@cocotb.test()
async def reset_in_mid_run(dut: Any) -> None:
    setup = Setup.read()
    start_clock(dut)
    for moments, trace in ((12, LinkTrace()), (4, stalling(0.2, 0.1))):
        pins = Pins(dut, setup.config, trace=trace)
        await pins.reset()
        await bridge(setup.load_and_run)(pins)
        cycles, running = pins.cycle, 0
        for moment in range(moments):
            pins = Pins(dut, setup.config, trace=trace)
            pins.reset_at = 1 + moment * (cycles - 1) // moments
            try:
                await bridge(setup.load_and_run)(pins)
            except ResetError:
                running += bool(dut.sequencer.running.value)
            else:
                raise AssertionError(f"no reset in cycle {pins.reset_at}")
            # The driver starts over; nothing of what was under way may come back.
            pins = Pins(dut, setup.config, trace=trace)
            accelerator = await bridge(setup.load_and_run)(pins)
            setup.check_against_exact_engine(accelerator.counts.totals, pins)
            await pins.stay_silent(20)
            await pins.reset()
        assert running >= moments // 4, f"only {running} of {moments} resets hit the machine at work"
