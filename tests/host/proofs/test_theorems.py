"""Tokens, elements, instruction memories and the sender: proved, and their controls rejected."""

import pytest

pytest.importorskip("bitwuzla", reason="the package bitwuzla is not installed")

from etchnet.hdl.isa import Drain
from etchnet.hdl.isa.config import Config
from etchnet.host.proofs import fetch as fetching
from etchnet.host.proofs import sender as sending
from etchnet.host.proofs.array import ArrayHarness, array
from etchnet.host.proofs.element import element
from etchnet.host.proofs.fetch import FetchHarness, fetch
from etchnet.host.proofs.induction import prove, violation
from etchnet.host.proofs.sender import SenderHarness, sender
from etchnet.host.proofs.tokens import RULES, SMALL, TokensHarness, tokens

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
    assert violation(harness, 4, without="input_commit").startswith("4 cycles after reset: input_halves")


@pytest.mark.parametrize("latency", [1, 3])
def test_elements_follow_their_recurrence(latency):
    proved = element(machine(multiplier_latency=latency))
    assert proved.holds, proved.detail
    assert len(proved.controls) == 3
    assert proved.rejects_controls


def test_an_array_multiplies_vectors_by_tiles():
    proved = prove(ArrayHarness(machine(multiplier_latency=2)))
    assert proved.holds, proved.detail


@pytest.mark.parametrize("latency", [1, 2])
def test_drains_are_fetched_in_order(latency):
    config = machine(memory_latency=latency)
    proved = prove(FetchHarness(Drain, config))
    assert proved.holds, proved.detail
    ready = next(edit for edit in fetching.edits(config) if "until it is taken" in edit.name)
    assert not prove(FetchHarness(Drain, config, edit=ready)).holds


def test_halves_and_counters_are_sent_in_order():
    proved = prove(SenderHarness(SMALL))
    assert proved.holds, proved.detail
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
