"""Proofs by induction over cycles: what a harness claims holds for all time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitwuzla import Bitwuzla, Kind, Result, Term

from etchnet.host.proofs.harness import Harness
from etchnet.host.proofs.netlist import Memory, Netlist, Register
from etchnet.host.proofs.result import Proof
from etchnet.host.proofs.terms import TOOL, Frame, Terms

__all__ = ["Control", "Outcome", "prove", "prove_all", "violation"]

_MOST_LINES = 60


@dataclass(frozen=True)
class Control:
    """A statement that is false and must not be proved."""

    name: str
    """what is wrong, in a few words"""
    harness: Harness
    without: str = ""
    """name of an assumption that is left out"""


@dataclass(frozen=True)
class Outcome:
    """Whether everything that a harness claims was proved."""

    holds: bool
    detail: str
    """how much was proved; or what fails, in which step, and a counterexample: signals by name"""
    seconds: float


class _Inputs(Mapping[str, Term]):
    """The inputs of a frame: arbitrary, except the reset and the words that a harness peeks at."""

    def __init__(self, harness: Harness, netlist: Netlist, terms: Terms, label: str, *, reset: bool) -> None:
        self._harness, self._netlist, self._terms, self._label = harness, netlist, terms, label
        self.frame: Frame | None = None
        self.made: dict[str, Term] = {}
        if "rst" in netlist.inputs:
            self.made["rst"] = terms.const(int(reset), 1)

    def __getitem__(self, name: str) -> Term:
        if name not in self.made:
            peeked = name.removeprefix("peek_")
            if name != peeked and peeked in self._harness.peeks:
                self.made[name] = self._peek(peeked)
            else:
                self.made[name] = self._terms.variable(len(self._netlist.inputs[name]), f"{self._label} {name}")
        return self.made[name]

    def _peek(self, name: str) -> Term:
        assert self.frame is not None
        terms, frame = self._terms, self.frame
        path = f"dut.{self._harness.peeks[name].memory}"
        (memory,) = (i for i, m in self._netlist.memories.items() if f"{m.name}.{self._netlist.cell(i).name}" == path)
        address = frame.value(self._netlist.nets(self._harness.addresses[name]))
        width = self._netlist.memories[memory].address_bits
        address = terms.extend(terms.part(address, 0, min(width, terms.width(address))), width)
        return terms(Kind.ARRAY_SELECT, [frame.contents(memory), address])

    def __iter__(self) -> Iterator[str]:
        return iter(self._netlist.inputs)

    def __len__(self) -> int:
        return len(self._netlist.inputs)


class _Run:
    """Consecutive cycles of a harness."""

    def __init__(self, harness: Harness, without: str = "", *, initial: bool = False) -> None:
        self.harness, self.netlist, self.terms = harness, harness.netlist, Terms()
        self.assumptions = [signal for name, signal in harness.assumptions.items() if name != without]
        self.frames: list[Frame] = []
        self.inputs: list[_Inputs] = []
        self.registers: dict[int, Term] = {}
        self.memories: dict[int, Term] = {}
        self._initial = initial

    def add(self, *, reset: bool = False) -> Frame:
        """Add a cycle, with the reset high or low."""
        number = len(self.frames)
        inputs = _Inputs(self.harness, self.netlist, self.terms, f"{number}", reset=reset)
        before = self.frames[-1] if self.frames else None
        frame = Frame(
            self.netlist,
            self.terms,
            register=(lambda r: before.next_register(r.cell)) if before else self._register,
            memory=(lambda m: before.next_memory(m.cell)) if before else self._memory,
            inputs=inputs,
        )
        inputs.frame = frame
        self.frames.append(frame)
        self.inputs.append(inputs)
        return frame

    def _register(self, register: Register) -> Term:
        width = len(register.bits)
        if register.cell not in self.registers:
            if self._initial and register.init is not None:
                return self.terms.const(register.init, width)
            self.registers[register.cell] = self.terms.variable(width, register.name)
        return self.registers[register.cell]

    def _memory(self, memory: Memory) -> Term:
        if memory.cell not in self.memories:
            self.memories[memory.cell] = self.terms.array(memory.address_bits, memory.width, memory.name)
        return self.memories[memory.cell]

    def bit(self, frame: int, signal: Any) -> Term:
        """Return whether a bit of the harness is 1 in a cycle."""
        return self.terms.holds(self.frames[frame].value(self.netlist.nets(signal)))


def prove(harness: Harness, *, without: str = "", depth: int = 1) -> Outcome:
    """Prove by induction that the invariants and claims of a harness hold in every cycle.

    Base: in the first `depth` cycles after one cycle of reset from any state, and after power-up, which gives every
    register its initial value, except the output registers of memories; memories may hold anything. Step: if they hold
    in `depth` consecutive cycles, whatever the state, they hold in the next one. What is assumed is assumed in all
    these cycles, except `without`, the name of an assumption. What is assumed must be possible in the first cycles, and
    the premise of the step satisfiable.
    """
    start = time.perf_counter()
    failure = _base(harness, without, depth, initial=False) or _base(harness, without, depth, initial=True)
    failure, bits = (failure, 0) if failure else _step(harness, without, depth)
    detail = failure or (
        f"{len(harness.claims)} claims and {len(harness.invariants)} invariants, over {bits} bits of registers"
    )
    return Outcome(not failure, detail, time.perf_counter() - start)


def violation(harness: Harness, cycles: int, *, without: str = "") -> str:
    """Look for a run of at most `cycles` cycles after reset in which a claim fails while the assumptions hold.

    `without` is the name of an assumption that need not hold.

    Returns the shortest such run as text: the claim, and the state and inputs by name; or nothing if there is none.
    """
    run = _Run(harness, without)
    run.add(reset=True)
    solver = run.terms.solver()
    for number in range(1, cycles + 1):
        run.add()
        _assume(run, solver, number)
        step = f"in cycle {number} after reset"
        if found := _refute(run, solver, number, harness.claims, step=step):
            return found
    return ""


def _goals(harness: Harness) -> dict[str, Any]:
    return {**harness.claims, **{f"invariant {name}": signal for name, signal in harness.invariants.items()}}


def _assume(run: _Run, solver: Bitwuzla, frame: int) -> None:
    for signal in run.assumptions:
        solver.assert_formula(run.bit(frame, signal))


def _refute(run: _Run, solver: Bitwuzla, frame: int, signals: Mapping[str, Any], *, step: str) -> str:
    """Look for a goal that fails in a cycle; return the counterexample, or nothing if there is none."""
    terms = run.terms
    goals = {name: run.bit(frame, signal) for name, signal in signals.items()}
    solver.push()
    solver.assert_formula(terms.negation(terms.all(goals.values())))
    result = solver.check_sat()
    found = ""
    if result == Result.SAT:
        failing = [name for name, goal in goals.items() if solver.get_value(goal).is_false()]
        verb = "fails" if len(failing) == 1 else "fail"
        found = "\n".join([f"{step}: {', '.join(failing)} {verb}", *_values(run, solver)])
    elif result != Result.UNSAT:
        found = f"{step}: the solver gave up"
    solver.pop()
    return found


def _values(run: _Run, solver: Bitwuzla) -> list[str]:
    """Return the state of the first cycle, and the inputs of every cycle, as lines of text; zeros are left out."""
    lines = []
    for cell, term in run.registers.items():
        if number := int(solver.get_value(term).value(10)):
            lines.append(f"  {run.netlist.registers[cell].name} = {number}")
    for cycle, inputs in enumerate(run.inputs):
        for name, term in inputs.made.items():
            if number := int(solver.get_value(term).value(10)):
                lines.append(f"  cycle {cycle}: {name} = {number}")
    return lines[:_MOST_LINES]


def _base(harness: Harness, without: str, depth: int, *, initial: bool) -> str:
    run = _Run(harness, without, initial=initial)
    if not initial:
        run.add(reset=True)
    solver = run.terms.solver()
    first, step = len(run.frames), "after power-up" if initial else "after reset"
    for number in range(first, first + depth):
        run.add()
        _assume(run, solver, number)
        if solver.check_sat() != Result.SAT:
            return f"{step}: nothing satisfies what is assumed"
        if found := _refute(run, solver, number, _goals(harness), step=step):
            return found
    return ""


def _step(harness: Harness, without: str, depth: int) -> tuple[str, int]:
    run = _Run(harness, without)
    solver = run.terms.solver()
    for number in range(depth):
        run.add()
        _assume(run, solver, number)
        for signal in _goals(harness).values():
            solver.assert_formula(run.bit(number, signal))
    run.add()
    _assume(run, solver, depth)
    if solver.check_sat() != Result.SAT:
        return "step: nothing satisfies what is assumed", 0
    found = _refute(run, solver, depth, _goals(harness), step="step")
    return found, sum(len(run.netlist.registers[cell].bits) for cell in run.registers)


def prove_all(
    name: str,
    statement: str,
    harnesses: Mapping[str, Harness],
    *,
    assumptions: tuple[str, ...] = (),
    controls: Sequence[Control] = (),
    depth: int = 1,
    cycles: int = 12,
) -> Proof:
    """Prove a statement that several harnesses claim together, and show that every control fails.

    A control fails by a run of at most `cycles` cycles from reset in which a claim does not hold; or, if there is none,
    because the induction does not succeed.

    Parameters
    ----------
    name, statement, assumptions
        As in `Proof`.
    harnesses
        What must hold, by a name of its own.
    controls
        What must not.
    depth
        As in `prove`.
    """
    parts = {label: prove(harness, depth=depth) for label, harness in harnesses.items()}
    broken = []
    for control in controls:
        start = time.perf_counter()
        run = violation(control.harness, cycles, without=control.without)
        outcome = Outcome(False, run, 0.0) if run else prove(control.harness, without=control.without, depth=depth)
        broken.append(
            Proof(
                name=control.name,
                statement=f"{statement}, although: {control.name}",
                holds=outcome.holds,
                tool=TOOL,
                seconds=time.perf_counter() - start,
                assumptions=assumptions,
                detail=outcome.detail,
            )
        )
    return Proof(
        name=name,
        statement=statement,
        holds=all(outcome.holds for outcome in parts.values()),
        tool=TOOL,
        seconds=sum(outcome.seconds for outcome in parts.values()),
        assumptions=assumptions,
        detail="\n".join(f"{label}: {outcome.detail}" for label, outcome in parts.items()),
        controls=tuple(broken),
    )
