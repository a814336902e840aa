"""Test bench of the machine on AXI buses: the unchanged driver, on the masters and the sink of cocotbext-axi.

Runs inside the simulator, in the folder that `test_axi` fills: `setup.json`, `network.npz`, `inputs.npy` and the
generated files.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from axi_masters import PERIOD, Watched, answers, start
from bench_accelerator import WAITS, ResetError, Setup
from cocotb.task import bridge
from cocotb.triggers import RisingEdge, Timer
from cocotbext.axi import (
    AxiResp,
    AxiStreamFrame,
)

from etchnet.hdl.buses.register import ADDRESS_BITS, Access, Source
from etchnet.hdl.buses.registers import BY_NAME, REGISTERS
from etchnet.hdl.isa import Counter, chunks
from etchnet.host.driver.axi import AxiEngine
from etchnet.host.driver.driver import Accelerator


def check_counters(setup: Setup, totals: dict[Counter, int], *, waits: bool) -> None:
    """Check that counters are those of a run that never waits, except that waits add to the cycles."""
    expected = setup.program.counts(setup.repeats)
    for counter in WAITS if waits else ():
        expected[counter] += totals[counter]
        expected[Counter.CYCLES] += totals[counter]
    assert totals == expected


@cocotb.test()
async def network_over_the_streams(dut: Any) -> None:
    setup, masters = await start(dut)
    frame = setup.program.output_words * chunks(8 * setup.config.rows, setup.config)
    waited = dict.fromkeys(WAITS, 0)
    for seed in (None, 1, 2, 3):
        masters.pause(seed)
        if seed == 3:
            masters.pause_streams(seed)
        masters.frames.clear()
        engine = await bridge(Watched)(masters, setup.config)
        assert engine.config == setup.config
        totals = (await bridge(setup.load_and_run)(engine)).counts.totals
        check_counters(setup, totals, waits=seed is not None)
        assert engine.seen == totals, "the registers and the link disagree"
        # The link's answer cleared the counters.
        assert not any((await bridge(engine.registers.counters)()).values())
        assert masters.frames == [frame] * setup.repeats + [2 * len(Counter)]
        for counter in WAITS:
            waited[counter] += totals[counter]
    assert any(waited.values()), "no pause ever stopped the machine"


@cocotb.test()
async def counters_while_a_run_goes_on(dut: Any) -> None:
    """Check that the halves of a counter, and all counters, are of the same cycle."""
    setup, masters = await start(dut)
    engine = await bridge(AxiEngine)(masters)
    masters.pause_streams(5)
    # The counters are cleared where the driver reads them; before that, they only grow.
    run = cocotb.start_soon(bridge(setup.load_and_run)(engine))
    seen, running = [], 0
    while not run.done():
        seen.append(await bridge(engine.registers.counters)())
        running += BY_NAME["STATUS"]["RUNNING"].of(await masters.register("STATUS"))
    assert running > 5, running
    assert len({counters[Counter.CYCLES] for counters in seen}) > 5
    for counters in seen:
        classes = [c for c in Counter if c not in (Counter.CYCLES, Counter.USEFUL)]
        assert counters[Counter.CYCLES] == sum(counters[c] for c in classes)
    assert BY_NAME["STATUS"]["RUNNING"].of(await masters.register("STATUS")) == 0


@cocotb.test()
async def every_address(dut: Any) -> None:
    setup, masters = await start(dut)
    by_offset = {r.offset: r for r in REGISTERS}
    # One access after another, each as soon as the one before is answered.
    channels = (("s_axi_aw", "s_axi_w"), "s_axi_bvalid"), (("s_axi_ar",), "s_axi_rvalid")
    watches = [cocotb.start_soon(answers(dut, *channel, latency=2)) for channel in channels]
    for seed in (None, 6):
        masters.pause(seed)
        for offset in range(0, 1 << ADDRESS_BITS, 4):
            register = by_offset.get(offset)
            if register is None and offset > REGISTERS[-1].offset + 16 and offset % 252:
                continue
            answer = await masters.lite.read(offset, 4)
            readable = register is not None and register.access is not Access.WRITE_ONLY
            assert answer.resp == (AxiResp.OKAY if readable else AxiResp.SLVERR), hex(offset)
            if register is not None and all(f.source is not Source.STATUS for f in register.fields):
                assert int.from_bytes(answer.data, "little") == register.reset(setup.config), register.name
            if register is None or register.access is Access.READ_ONLY:
                assert (await masters.lite.write(offset, b"\xff" * 4)).resp == AxiResp.SLVERR, hex(offset)
                assert (await masters.lite.read(offset, 4)).data == answer.data, hex(offset)
    for watch in watches:
        watch.cancel()
    status = BY_NAME["STATUS"]
    word = await masters.register("STATUS")
    assert {f.name: f.of(word) for f in status.fields if f.of(word)} == {"INPUT_FREE": 2, "OUTPUT_FREE": 2}


@cocotb.test()
async def strobes(dut: Any) -> None:
    _, masters = await start(dut)
    frame, enable, control = (BY_NAME[name].offset for name in ("FRAME", "INTERRUPT_ENABLE", "CONTROL"))
    for seed in (None, 7):
        masters.pause(seed)
        await masters.write(frame, 0xFFFF1234)
        assert await masters.read(frame) == 0x1234, "bits that no field has are zero"
        for place, value, expected in ((0, 0xAB, 0x12AB), (1, 0xCD, 0xCDAB), (2, 0xFF, 0xCDAB), (3, 0xFF, 0xCDAB)):
            await masters.write(frame + place, value, size=1)
            assert await masters.read(frame) == expected
        # No strobe at all: an access of no bytes is not in the master's repertoire, that of other bytes is.
        await masters.write(enable + 1, 0xFFFFFF, size=3)
        assert await masters.read(enable) == 0
        await masters.write(control + 1, 0xFF, size=1)
        assert await masters.read(control) == 0
        # The lowest two bits of an address mean nothing to a read.
        assert [int.from_bytes((await masters.lite.read(frame + i, 1)).data, "little") for i in range(4)] == [
            0xAB,
            0xCD,
            0,
            0,
        ]
        await masters.write(frame, 1)


@cocotb.test()
async def reads_and_writes_at_once(dut: Any) -> None:
    _, masters = await start(dut)
    frame, enable = (BY_NAME[name].offset for name in ("FRAME", "INTERRUPT_ENABLE"))
    source = random.Random(8)
    for seed in (None, 9, 10, 11):
        masters.pause(seed)
        # Everything is on its way before the first answer comes. Each write but the last may be seen or not.
        values = [source.randrange(1 << 16) for _ in range(24)]
        events = []
        for value in values:
            events.append(masters.lite.init_write(frame, value.to_bytes(4, "little")))
            events.append(masters.lite.init_write(BY_NAME["ID"].offset, b"\0\0\0\0"))
            events.append(masters.lite.init_write(enable, (value & 3).to_bytes(4, "little")))
        reads = [masters.lite.init_read(offset, 4) for offset in (frame, enable, BY_NAME["ID"].offset, 0xFFC) * 12]
        begin = cocotb.utils.get_sim_time("ns")
        for index, event in enumerate(reads):
            await event.wait()
            answer = event.data
            word = int.from_bytes(answer.data, "little")
            expected = AxiResp.SLVERR if index % 4 == 3 else AxiResp.OKAY
            assert answer.resp == expected
            if index % 4 == 0:
                assert word in [*values, 1] or seed is not None
            elif index % 4 == 1:
                assert word < 4
            elif index % 4 == 2:
                assert word == BY_NAME["ID"].reset(Setup.read().config)
        took = (cocotb.utils.get_sim_time("ns") - begin) / PERIOD
        for index, event in enumerate(events):
            await event.wait()
            assert event.data.resp == (AxiResp.SLVERR if index % 3 == 1 else AxiResp.OKAY)
        if seed is None:
            # One every two cycles, and writes went on meanwhile.
            assert took <= 2 * len(reads) + 4, took
            assert (cocotb.utils.get_sim_time("ns") - begin) / PERIOD <= 2 * len(events) + 6
        assert await masters.read(frame) == values[-1]
        assert await masters.read(enable) == values[-1] & 3
        await masters.write(enable, 0)


@cocotb.test()
async def interrupts(dut: Any) -> None:
    setup, masters = await start(dut)
    events, enable = BY_NAME["INTERRUPT_STATUS"], BY_NAME["INTERRUPT_ENABLE"]
    done, partial = events["RUN_DONE"].mask, events["PARTIAL"].mask
    engine = await bridge(AxiEngine)(masters)
    await masters.write(enable.offset, done)
    assert not dut.irq.value
    masters.pause_streams(16)
    run, running = cocotb.start_soon(bridge(setup.load_and_run)(engine)), 0
    while not run.done():
        happened = await masters.read(events.offset)
        if BY_NAME["STATUS"]["RUNNING"].of(await masters.register("STATUS")):
            assert not happened, "the end of a repeat is not that of the run"
            running += 1
    assert running > 10, running
    assert dut.irq.value
    assert await masters.read(events.offset) == done
    masters.pause(None)
    await masters.write(events.offset, partial)
    assert await masters.read(events.offset) == done, "a zero clears nothing"
    await masters.write(enable.offset, 0)
    await RisingEdge(dut.aclk)
    assert not dut.irq.value
    assert await masters.read(events.offset) == done
    await masters.write(events.offset, done)
    assert await masters.read(events.offset) == 0

    # A frame that is no whole number of link words; it is dropped, since the machine is in reset.
    await masters.write(enable.offset, partial)
    await masters.write(BY_NAME["CONTROL"].offset, 1)
    await masters.source.send(AxiStreamFrame(b"\1" * (setup.config.link_bits // 8 * 2 - 1)))
    await masters.source.wait()
    await RisingEdge(dut.aclk)
    assert await masters.read(events.offset) == partial
    assert dut.irq.value
    await masters.write(events.offset, partial)
    await masters.write(BY_NAME["CONTROL"].offset, 0)
    assert not dut.irq.value
    await bridge(setup.load_and_run)(engine)


@cocotb.test()
async def frames_of_several_halves(dut: Any) -> None:
    setup, masters = await start(dut)
    frame = setup.program.output_words * chunks(8 * setup.config.rows, setup.config)
    engine = await bridge(AxiEngine)(masters)
    for halves, seed in ((0, None), (2, None), (setup.repeats, 12)):
        masters.pause(seed)
        masters.frames.clear()
        # Only whole frames come out of the sink: as many repeats as make some.
        repeats = setup.repeats // max(1, halves) * max(1, halves)
        await bridge(engine.registers.write)("FRAME", HALVES=halves)

        def run(inputs: np.ndarray = setup.inputs[: repeats * setup.program.batch]) -> np.ndarray:
            accelerator = Accelerator(setup.config, engine=engine)
            accelerator.load_program(setup.program)
            return accelerator.run(inputs)

        results = await bridge(run)()
        assert np.array_equal(results, setup.program.network.reference(setup.inputs[: len(results)]))
        each = max(1, halves)
        assert masters.frames == [each * frame] * (repeats // each) + [2 * len(Counter)]


async def ends(setup: Setup, engine: AxiEngine) -> bool:
    """Load and run; whether it ended, and no reset came before."""
    try:
        await bridge(setup.load_and_run)(engine)
    except ResetError:
        return False
    return True


@cocotb.test()
async def reset_in_the_middle_of_a_transfer(dut: Any) -> None:
    setup, masters = await start(dut)
    engine = await bridge(AxiEngine)(masters)
    begin = cocotb.utils.get_sim_time("ns")
    await bridge(setup.load_and_run)(engine)
    cycles = (cocotb.utils.get_sim_time("ns") - begin) / PERIOD
    source, running = random.Random(13), 0
    frame = setup.program.output_words * chunks(8 * setup.config.rows, setup.config)
    moments = 8
    for moment in range(moments):
        # A reset in the middle of a frame also forgets how many halves there were.
        await masters.write(BY_NAME["FRAME"].offset, 2)
        masters.pause(moment if moment % 3 == 2 else None, most=0.6)
        run = cocotb.start_soon(ends(setup, engine))
        await Timer(PERIOD * int((moment + source.random()) / moments * cycles), "ns")
        running += BY_NAME["STATUS"]["RUNNING"].of(await masters.register("STATUS"))
        if moment % 2:
            # By the register: what was on its way in is dropped; nothing but what is on offer comes out.
            await bridge(engine.registers.write)("CONTROL", RESET=1)
            await masters.source.wait()
            masters.given_up = True
            masters.pause(None)
            for _ in range(10):
                await RisingEdge(dut.aclk)
            assert not dut.m_axis_tvalid.value
            masters.forget()
            await bridge(engine.registers.write)("CONTROL", RESET=0)
        else:
            await masters.reset()
            masters.given_up = True
        assert not await run, f"the run before reset {moment} ended"
        engine.was_reset()
        # The driver starts over; nothing of what was under way comes back.
        status = BY_NAME["STATUS"]
        word = await masters.register("STATUS")
        assert {f.name: f.of(word) for f in status.fields if f.of(word)} == {"INPUT_FREE": 2, "OUTPUT_FREE": 2}
        masters.pause(None)
        await masters.write(BY_NAME["FRAME"].offset, 2)
        totals = (await bridge(setup.load_and_run)(engine)).counts.totals
        check_counters(setup, totals, waits=False)
        assert masters.frames == [2 * frame] * (setup.repeats // 2) + [2 * len(Counter)]
        for _ in range(20):
            await RisingEdge(dut.aclk)
            assert not dut.m_axis_tvalid.value
    assert running >= moments // 4, f"only {running} of {moments} resets hit the machine at work"
