"""Tokens, elements, instruction memories and the sender: proved, and their controls rejected."""

import itertools

import numpy as np
import pytest
from amaranth.sim import Simulator
from support.programs import input_packet, load, run

pytest.importorskip("bitwuzla", reason="the package bitwuzla is not installed")

from etchnet.hdl.core.control.tokens import WEIGHT_TOKENS
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import Destination, Drain, Pass, Target, TileKind, packet
from etchnet.hdl.isa.config import Config
from etchnet.host.proofs import fetch as fetching
from etchnet.host.proofs import sender as sending
from etchnet.host.proofs.array import ArrayHarness, array
from etchnet.host.proofs.element import element
from etchnet.host.proofs.fetch import FetchHarness, fetch
from etchnet.host.proofs.induction import prove, violation
from etchnet.host.proofs.sender import SenderHarness, sender
from etchnet.host.proofs.tokens import RULES, SMALL, TokensHarness, tokens
from etchnet.sim.timing import schedule

SIZES = SMALL.to_dict()


def machine(**changes):
    """Return the small machine of the controls, changed."""
    return Config(**{**SIZES, "requantisers": None, **changes})


def test_tokens_keep_within_their_limits_because_of_every_rule():
    """One netlist: the proof, and the proof without each rule; of one rule, the run from reset that breaks a claim."""
    harness = TokensHarness(SMALL)
    proved = prove(harness)
    assert proved.holds, proved.detail
    assert set(harness.assumptions) == {rule.name for rule in RULES}
    for rule in RULES:
        assert not prove(harness, without=rule.name).holds, rule
    assert violation(harness, 4, without="input_commit").startswith("in cycle 4 after reset: input_halves")


def counts(packets, name, cycles):
    """Send packets to the small machine in Amaranth's simulator; return every value that a token's count takes."""
    dut, found, words = Machine(SMALL, status=True), [], np.concatenate(packets)[:, 0].tolist()

    async def testbench(ctx):
        ctx.set(dut.link_out.ready, 1)
        for cycle in range(cycles):
            if cycle == 0 or (ctx.get(dut.link_in.valid) and ctx.get(dut.link_in.ready)):
                await ctx.tick()
                ctx.set(dut.link_in.valid, bool(words))
                ctx.set(dut.link_in.payload, words.pop(0) if words else 0)
            else:
                await ctx.tick()
            found.append(ctx.get(dut.status[name]))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return [value for value, _ in itertools.groupby(found)]


@pytest.mark.campaign
def test_the_rules_for_weights_are_necessary_too():
    """A run of 256 events is too long for the solver to find: here the counts go from 255 to 0."""
    weights = packet(Target.WEIGHTS, np.zeros((1, 1, 1), np.uint32), SMALL, commit=True)
    committed = counts([weights] * (WEIGHT_TOKENS + 1), "weights_full", 4 * WEIGHT_TOKENS)
    assert committed == [*range(WEIGHT_TOKENS + 1), 0]

    # The one input is never released, so that every repeat reads it.
    waits = {"wait_input": True, "wait_output": True}
    passes = [Pass(kind=TileKind.IDENTITY, **waits, release=True, release_weights=True)]
    passes, drains = schedule(passes, [Drain(destination=Destination.OUTPUT, commit=True)], SMALL)
    packets = [*load(SMALL, passes, drains), input_packet(SMALL, np.zeros((1, 2), np.int8))]
    packets.append(run(SMALL, passes, drains, 1, repeats=WEIGHT_TOKENS + 1))
    permitted = counts(packets, "weights_free", 60 * WEIGHT_TOKENS)
    assert permitted == [*range(WEIGHT_TOKENS + 1), 0]


@pytest.mark.parametrize("latency", [1, 3])
def test_elements_follow_their_recurrence(latency):
    proved = element(machine(multiplier_latency=latency))
    assert proved.holds, proved.detail
    assert len(proved.controls) == 4
    assert proved.rejects_controls


def test_an_array_multiplies_vectors_by_tiles():
    proved = prove(ArrayHarness(machine(multiplier_latency=2)))
    assert proved.holds, proved.detail


@pytest.mark.parametrize("latency", [1, 2])
def test_drains_are_fetched_in_order(latency):
    config = machine(memory_latency=latency)
    harness = FetchHarness(Drain, config)
    proved = prove(harness)
    assert proved.holds, proved.detail
    assert set(harness.assumptions) == set(fetching.ASSUMPTIONS)
    ready = next(edit for edit in fetching.edits(config) if "until it is taken" in edit.name)
    assert not prove(FetchHarness(Drain, config, edit=ready)).holds


def test_halves_and_counters_are_sent_in_order():
    harness = SenderHarness(SMALL)
    proved = prove(harness)
    assert proved.holds, proved.detail
    assert set(harness.assumptions) == set(sending.ASSUMPTIONS)
    assert violation(SenderHarness(SMALL, edit=sending.EDITS[0]), 3)


MACHINES = {
    "small": {},
    "latencies": {"memory_latency": 4, "multiplier_latency": 8, "product_latency": 5},
    "registers_before_memories": {"memory_latency": 3, "multiplier_latency": 2},
    "queue": {"memory_latency": 2},
    "depthwise": {"rows": 9, "columns": 9, "depthwise": 3, "line_words": 16, "residual_words": 16},
    "wide_array": {"rows": 2, "columns": 8, "requantisers": 2},
    "tall_array": {"rows": 8, "columns": 2, "weight_rows": 4},
    "wide_link": {"rows": 16, "columns": 2, "link_bits": 64},
    "onnx": {"contract": "onnx-float"},
}


@pytest.mark.campaign
@pytest.mark.parametrize("theorem", [tokens, element, array, fetch, sender], ids=lambda t: t.__name__)
@pytest.mark.parametrize("changes", MACHINES.values(), ids=MACHINES)
def test_every_theorem_of_every_kind_of_machine(theorem, changes):
    proved = theorem(machine(**changes))
    assert proved.holds, proved.detail
    assert proved.controls
    assert proved.rejects_controls, [control.name for control in proved.controls if control.holds]
