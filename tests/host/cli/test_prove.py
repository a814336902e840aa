"""`etchnet prove`: what it prints, its exit status, and its errors."""

import json
import signal
import sys

import pytest
from support.command_line import run

pytest.importorskip("bitwuzla")

from etchnet.host.proofs import theorems
from etchnet.host.proofs.result import Proof

MACHINE = ("--rows", "1", "--cols", "1")


def stub(*proofs):
    """Return a theorem that gives these proofs."""
    return theorems.Theorem("", lambda config, tops, report: iter(proofs))


def proof(**changes):
    return Proof(
        **{"name": "sums", "statement": "2 + 2 = 4.", "holds": True, "tool": "abacus 1", "seconds": 0.5} | changes
    )


def test_a_theorem_of_a_machine(capsys):
    status, out, err = run(capsys, "prove", "element", *MACHINE)
    assert status == 0
    assert "proved: element (bitwuzla" in out
    assert "1 x 1 array" in out
    assert "rejected: 4 of 4 controls" in out
    assert not err


def test_json_is_one_object(capsys):
    found = json.loads(run(capsys, "prove", "element", *MACHINE, "--json")[1])
    assert found["machine"]["rows"] == 1
    [element] = found["proofs"]
    assert element["holds"]
    assert [control["holds"] for control in element["controls"]] == [False] * 4


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"holds": False, "detail": "2 = 3"}, "NOT PROVED: sums"),
        ({"controls": (proof(name="1 = 2"),)}, "NOT REJECTED: 1 = 2"),
    ],
)
def test_a_proof_that_fails_or_accepts_a_control_gives_status_1(capsys, monkeypatch, changes, verdict):
    monkeypatch.setattr(theorems, "THEOREMS", {"sums": stub(proof(**changes))})
    status, out, _ = run(capsys, "prove", "sums", *MACHINE)
    assert status == 1
    assert verdict in out


def test_sentences_that_proofs_share_are_printed_once(capsys, monkeypatch):
    first, second = proof(assumptions=("abacus is whole",)), proof(name="more", assumptions=("abacus is whole",))
    monkeypatch.setattr(theorems, "THEOREMS", {"sums": stub(first, second)})
    out = run(capsys, "prove", "sums", *MACHINE)[1]
    assert out.count("2 + 2 = 4.") == out.count("abacus is whole") == 1
    assert "proved: more" in out


def test_help_and_the_names_of_tops_need_no_solver(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("bitwuzla", "etchnet.host.proofs"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "bitwuzla", None)
    assert "[link|axi|tinytapeout|uart]" in run(capsys, "prove", "--help")[1]
    status, _, err = run(capsys, "prove", "--top", "axi", *MACHINE)
    assert status == 2
    assert err == "etchnet: proofs need the package bitwuzla: pip install 'etchnet[prove]'\n"


def test_an_unknown_theorem_is_refused(capsys):
    status, _, err = run(capsys, "prove", "fermat", *MACHINE)
    assert status == 2
    assert "THEOREM must be one of constant-time" in err
    assert "'fermat'" in err


def test_a_top_is_refused_where_it_means_nothing(capsys):
    status, _, err = run(capsys, "prove", "two-copies", "--top", "axi", *MACHINE)
    assert status == 2
    assert err == "etchnet: --top is for constant-time alone, not for two-copies\n"


def test_an_interrupt_that_a_proof_drops_ends_the_command(capsys, monkeypatch):
    def dropping(config, tops, report):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            report("the next step")
        yield proof()

    monkeypatch.setattr(theorems, "THEOREMS", {"sums": theorems.Theorem("", dropping)})
    status, out, err = run(capsys, "prove", "sums", *MACHINE)
    assert status == 130
    assert "proved" not in out
    assert "interrupted" in err
