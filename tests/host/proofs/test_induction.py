"""Induction: what it proves, what it refuses, and what it says about a failure."""

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

pytest.importorskip("bitwuzla", reason="the package bitwuzla is not installed")

from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.blocks.semaphore import Semaphore
from etchnet.host.proofs.harness import Edit, Harness, Peek
from etchnet.host.proofs.induction import Control, prove, prove_all, violation


class SemaphoreHarness(Harness):
    """A semaphore that is used by the rules, and the count that it should have."""

    def __init__(self, *, maximum=3, start=1, edit=None):
        self.start, self.maximum = start, maximum
        super().__init__(Semaphore(initial=1, maximum=maximum), edit=edit)

    def specify(self, m):
        count = Signal(4, init=self.start)
        m.d.sync += count.eq(count + self.ports.put - self.ports.take)
        self.assume(m, "no_underflow", ~self.ports.take | (count != 0))
        self.assume(m, "no_overflow", ~self.ports.put | (count < self.maximum))
        self.keep(m, "in_range", count <= self.maximum)
        self.claim(m, "count", self.ports.count == count)
        self.claim(m, "available", self.ports.available == (count != 0))


def test_a_semaphore_counts_if_it_is_used_by_the_rules():
    proved = prove(SemaphoreHarness())
    assert proved.holds
    assert "2 claims and 1 invariants" in proved.detail


@pytest.mark.parametrize("rule", ["no_underflow", "no_overflow"])
def test_without_a_rule_a_run_from_reset_violates_a_claim(rule):
    """The shortest run is found: take twice, or put thrice, and look in the cycle after."""
    harness = SemaphoreHarness()
    assert not prove(harness, without=rule).holds
    run = violation(harness, 8, without=rule)
    cycles = {"no_underflow": 3, "no_overflow": 4}[rule]
    assert run.startswith(f"in cycle {cycles} after reset: ")
    assert f"cycle {cycles - 1}: ports_{'take' if rule == 'no_underflow' else 'put'} = 1" in run
    assert not violation(harness, cycles - 1, without=rule)
    assert not violation(harness, 8)


def test_a_claim_that_fails_at_once_fails_in_the_base():
    """The step alone would hold: the counts stay apart by the same amount."""
    assert prove(SemaphoreHarness(start=2)).detail.startswith("after reset: count")


def test_an_edit_is_rejected_and_named():
    stuck = Edit("available stays", "", "sync", lambda s: [s["available"].eq(s["available"])])
    proved = prove_all(
        "semaphore",
        "it counts",
        {"harness": SemaphoreHarness()},
        controls=[Control(stuck.name, SemaphoreHarness(edit=stuck))],
    )
    assert proved.holds
    assert proved.rejects_controls
    (control,) = proved.controls
    assert control.name == "available stays"
    assert "in cycle 2 after reset: available fails" in control.detail


class Contradiction(Harness):
    """Assumptions that nothing satisfies, or no state that is reached from reset, and a claim that is false at first.

    It would stay true if it were ever true, so that the step holds.
    """

    def __init__(self, *, is_possible):
        self._is_possible = is_possible
        super().__init__(Semaphore(initial=0, maximum=1))

    def specify(self, m):
        never, false, put = Signal(), Signal(), self.ports.put
        m.d.sync += [never.eq(never), false.eq(false)]
        self.assume(m, "never", never if self._is_possible else put & ~put)
        self.claim(m, "false", false)


@pytest.mark.parametrize("is_possible", [False, True])
def test_assumptions_that_nothing_satisfies_prove_nothing(is_possible):
    proved = prove(Contradiction(is_possible=is_possible))
    assert not proved.holds
    assert proved.detail == "after reset: nothing satisfies what is assumed"


class Wide(Harness):
    """A claim of two bits, of which only the lowest would be looked at."""

    def specify(self, m):
        self.claim(m, "wide", Cat(1, self.ports.put))


def test_a_claim_is_one_bit():
    with pytest.raises(ValueError, match="wide must be one bit, not 2"):
        prove(Wide(Semaphore(initial=0, maximum=1)))


class RamHarness(Harness):
    """A memory whose read port delivers what a further read port of the proof saw in the cycle before."""

    def __init__(self, *, late=0):
        self._late = late
        super().__init__(Ram(bits=4, depth=4, name="ram"), peeks={"word": Peek("memory", 4)})

    def specify(self, m):
        ports, seen, enabled = self.ports, Signal(4, reset_less=True), Signal()
        m.d.sync += [seen.eq(self.peek(m, "word", ports.address ^ self._late)), enabled.eq(ports.enable)]
        self.claim(m, "data", ~enabled | (ports.data == seen))


def test_a_word_is_read_as_the_proof_sees_it():
    assert prove(RamHarness()).holds
    assert "data fails" in prove(RamHarness(late=1)).detail


class Toggle(wiring.Component):
    """A bit that is inverted in every cycle, and one that follows a cycle later."""

    def __init__(self):
        super().__init__({"unused": In(1), "first": Out(1), "second": Out(1)})

    def elaborate(self, platform):
        m = Module()
        second = Signal(init=1)
        m.d.sync += [self.first.eq(~self.first), second.eq(self.first)]
        m.d.comb += self.second.eq(second)
        return m


class ToggleHarness(Harness):
    """The two bits differ: true in every cycle after the first, whatever the state was before."""

    def specify(self, m):
        self.claim(m, "differ", self.ports.first != self.ports.second)


def test_a_longer_induction_also_holds():
    assert prove(ToggleHarness(Toggle()), depth=1).holds
    assert prove(ToggleHarness(Toggle()), depth=2).holds
