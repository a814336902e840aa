"""Two runs of one design side by side: what is equal in both, whatever the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bitwuzla import Kind, Result, Term

from etchnet.host.proofs.netlist import Memory, Netlist, Register
from etchnet.host.proofs.packet_format import Observer
from etchnet.host.proofs.terms import Frame, Terms

__all__ = ["Cycle", "Solver", "Twin"]


class Solver:
    """A solver for questions that share most of their terms."""

    def __init__(self, terms: Terms) -> None:
        self._solver = terms.solver()
        self._terms = terms
        self.questions = 0

    def always(self, conditions: Iterable[Term], claim: Term) -> bool:
        """Return whether `claim` follows from `conditions`; if not, `number` gives values of a counterexample."""
        self.questions += 1
        found = self._solver.check_sat(*conditions, self._terms.negation(claim))
        if found not in (Result.SAT, Result.UNSAT):
            raise RuntimeError(f"the solver gave no answer, but {found}")
        return bool(found == Result.UNSAT)

    def number(self, term: Term) -> int:
        """Return the value of a bit-vector in the counterexample that `always` found last."""
        return int(self._solver.get_value(term).value(10))


@dataclass(frozen=True)
class Cycle:
    """One cycle of both runs."""

    frames: tuple[Frame, Frame]
    observer: Observer
    payloads: tuple[Term, Term]
    """the link word on offer, in each run"""


class Twin:
    """Two runs from states in which all bits but those of `differing` are equal, with link words that may differ.

    In every cycle the two runs have the same inputs, except that a word on the incoming link may differ where the
    observer expects data, and where `valid` is low; and except for the inputs in `data_inputs`. What drives the nets
    in `trace` is not looked at: they are equal in both runs, and arbitrary.

    Parameters
    ----------
    netlist, terms
        The design.
    differing
        Tells whether a net, a bit of a register, may differ.
    holds_data
        Tells whether the contents of a memory may differ.
    payload, valid, ready
        Nets of the incoming link of the machine.
    reset
        Returns, for a frame, whether the machine is in reset.
    data_inputs
        Names of inputs of the design that may differ.
    trace
        Nets that are equal by assumption.
    observer
        The observer of the incoming link, in the first cycle.
    start
        None: the first cycle is any cycle. Else returns the value of a register in it, or None if arbitrary.
    """

    def __init__(
        self,
        netlist: Netlist,
        terms: Terms,
        *,
        differing: Callable[[int], bool],
        holds_data: Callable[[int], bool],
        payload: Sequence[int],
        valid: int,
        ready: int,
        reset: Callable[[Frame], Term],
        data_inputs: Iterable[str],
        trace: Iterable[int],
        observer: Observer,
        start: Callable[[Register], int | None] | None = None,
    ) -> None:
        self.netlist, self.terms = netlist, terms
        self._differing, self._holds_data, self._start = differing, holds_data, start
        self._payload, self._valid, self._ready, self._reset = tuple(payload), valid, ready, reset
        self._data_inputs, self._trace = frozenset(data_inputs), tuple(trace)
        self._shared: dict[tuple[object, ...], Term] = {}
        self.assumptions: list[Term] = []
        self.cycles = [self._cycle(0, observer)]

    def extend(self) -> Cycle:
        """Add the next cycle, and return it."""
        cycle = self.cycles[-1]
        frame = cycle.frames[0]
        transferred = self.terms.all([frame.holds(self._valid), frame.holds(self._ready)])
        observer = cycle.observer.after(transferred, cycle.payloads[0], self._reset(frame))
        self.cycles.append(self._cycle(len(self.cycles), observer))
        return self.cycles[-1]

    def _variable(self, time: int, run: int | None, width: int, name: str, identity: int = 0) -> Term:
        """Return a variable of one run, or of both if `run` is None; `identity` tells apart those of the same name."""
        key = (time, run, name, identity)
        if key not in self._shared:
            self._shared[key] = self.terms.variable(width, name)
        return self._shared[key]

    def _cycle(self, time: int, observer: Observer) -> Cycle:
        terms, width = self.terms, len(self._payload)
        payloads = tuple(self._variable(time, run, width, "link word") for run in range(2))
        frames = tuple(self._frame(time, run, payloads[run]) for run in range(2))
        cycle = Cycle((frames[0], frames[1]), observer, (payloads[0], payloads[1]))
        known = terms.all([frames[0].holds(self._valid), terms.negation(observer.expects_data)])
        self.assumptions.append(terms.implies(known, terms.equal(*payloads)))
        for run in range(2):
            self.assumptions.append(terms.implies(frames[run].holds(self._valid), observer.keeps_format(payloads[run])))
        return cycle

    def _frame(self, time: int, run: int, payload: Term) -> Frame:
        terms = self.terms
        overrides = {net: terms.part(payload, bit, 1) for bit, net in enumerate(self._payload)}
        overrides |= {net: self._variable(time, None, 1, "trace", net) for net in self._trace}
        inputs = {
            name: self._variable(time, run if name in self._data_inputs else None, len(nets), name)
            for name, nets in self.netlist.inputs.items()
        }
        return Frame(
            self.netlist,
            terms,
            register=lambda register: self._register(time, run, register),
            memory=lambda memory: self._memory(time, run, memory),
            inputs=inputs,
            instance=lambda cell: self._instance(time, run, cell),
            overrides=overrides,
        )

    def _register(self, time: int, run: int, register: Register) -> Term:
        if time == 0:
            started = self._start(register) if self._start is not None else None
            if started is not None:
                return self.terms.const(started, len(register.bits))
            width, name, cell = len(register.bits), register.name, register.cell
            return self._mixed(register.bits, lambda owner: self._variable(0, owner, width, name, cell), run)
        # A bit that is equal in both runs has the value of the first in both, so that later terms are the same.
        earlier = self.cycles[time - 1].frames
        return self._mixed(
            register.bits, lambda owner: earlier[owner if owner is not None else 0].next_register(register.cell), run
        )

    def _instance(self, time: int, run: int, cell: int) -> Term:
        """Return arbitrary outputs of a primitive, equal in both runs where no data reach them."""
        bits = self.netlist.instance_outputs(cell)
        return self._mixed(bits, lambda owner: self._variable(time, owner, len(bits), "instance", cell), run)

    def _mixed(self, bits: Sequence[int], value: Callable[[int | None], Term], run: int) -> Term:
        """Join the bits that are equal in both runs and those that may differ."""
        parts: list[Term] = []
        start = 0
        while start < len(bits):
            own = self._differing(bits[start])
            stop = start + 1
            while stop < len(bits) and self._differing(bits[stop]) == own:
                stop += 1
            parts.append(self.terms.part(value(run if own else None), start, stop - start))
            start = stop
        return self.terms.concat(parts)

    def _memory(self, time: int, run: int, memory: Memory) -> Term:
        owner = run if self._holds_data(memory.cell) else None
        if time:
            return self.cycles[time - 1].frames[owner or 0].next_memory(memory.cell)
        key = (owner, memory.cell)
        if key not in self._shared:
            self._shared[key] = self.terms.array(memory.address_bits, memory.width, memory.name)
        return self._shared[key]

    # Questions

    def differing_bits(self, solver: Solver, values: tuple[Term, Term], conditions: Sequence[Term]) -> list[int]:
        """Return the bits in which two values, one of each run, can differ under the assumptions and `conditions`."""
        terms = self.terms
        width = terms.width(values[0])
        difference = terms(Kind.BV_XOR, list(values))
        found: list[int] = []
        mask = (1 << width) - 1
        while True:
            rest = terms(Kind.BV_AND, [difference, terms.const(mask, width)])
            if solver.always([*self.assumptions, *conditions], terms.equal(rest, terms.const(0, width))):
                return sorted(found)
            bits = solver.number(rest)
            found += [bit for bit in range(width) if bits >> bit & 1]
            mask &= ~bits
