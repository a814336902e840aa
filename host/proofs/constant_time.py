"""Constant time: the proof that neither data nor results can change when anything happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

from bitwuzla import Term

from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.blocks.technology import PORTABLE, Technology
from etchnet.hdl.core.control.loader import Loader
from etchnet.hdl.core.control.packet_reader import PacketState
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import Target
from etchnet.host.proofs.boundaries import BOUNDARIES, Boundary
from etchnet.host.proofs.flow import DataFlow
from etchnet.host.proofs.netlist import Memory, Netlist, Register, write_lanes
from etchnet.host.proofs.packet_format import Observer
from etchnet.host.proofs.result import Proof
from etchnet.host.proofs.terms import TOOL, Frame, Terms
from etchnet.host.proofs.twin import Cycle, Solver, Twin

__all__ = ["Findings", "analyse", "prove_constant_time"]


@dataclass
class Findings:
    """Everything that the proof found out about one design."""

    registers: dict[str, tuple[int, int]] = field(default_factory=dict)
    """for each block of the machine: register bits that are equal in both runs, and those that may differ"""
    data_memories: list[str] = field(default_factory=list)
    """memories whose contents may differ"""
    other_memories: list[str] = field(default_factory=list)
    """memories whose contents are equal: those of the program"""
    failures: list[str] = field(default_factory=list)
    """all that depends on data and must not, with the way from the data"""
    questions: int = 0
    """questions put to the solver"""

    @property
    def equal_bits(self) -> int:
        """Register bits that are equal in both runs."""
        return sum(equal for equal, _ in self.registers.values())

    @property
    def data_bits(self) -> int:
        """Register bits that may differ."""
        return sum(differing for _, differing in self.registers.values())


class _Analysis:
    """The largest set of registers and memories that are equal in both runs, found by removing what may differ.

    All bits are equal at first. Bits that data reach, and bits that the solver shows to take over a link word that may
    differ, are removed until no more are found. What remains is an invariant of two runs: if it holds in one cycle, it
    holds in the next.
    """

    def __init__(self, machine: Machine, boundary: Boundary, technology: Technology) -> None:
        self.config, self.boundary, self.machine = machine.config, boundary, machine
        self.top = boundary.wrap(machine)
        self.netlist = Netlist(self.top, platform=SimpleNamespace(technology=technology))
        self.terms = Terms()
        self.solver = Solver(self.terms)
        nets = self.netlist.nets
        self.payload = nets(machine.link_in.payload)
        self.valid, self.ready = nets(machine.link_in.valid)[0], nets(machine.link_in.ready)[0]
        self.trace = boundary.trace(self.netlist, self.top)
        self.flow = DataFlow(self.netlist, barriers=(*self.payload, *self.trace))
        self.by_payload = self.flow.within_cycle(self.payload)
        self.findings = Findings()

    # The two runs

    def twin(self, begins: str = "") -> Twin:
        """Return two runs that agree in all that has not been removed.

        The first cycle is one in which the machine's packet reader agrees with the observer; or, if `begins` is
        ``reset``, a cycle of reset in any state; or, if it is ``power-up``, that with the initial values.
        """
        observer = Observer.arbitrary(self.config, self.terms)
        result = Twin(
            self.netlist,
            self.terms,
            differing=self.flow.is_reached,
            holds_data=lambda memory: memory in self.flow.memories,
            payload=self.payload,
            valid=self.valid,
            ready=self.ready,
            reset=lambda frame: self.boundary.reset(frame, self.top),
            data_inputs=self.boundary.data_inputs,
            trace=self.trace,
            observer=observer,
            start=(lambda register: register.init) if begins == "power-up" else None,
        )
        frame = result.cycles[0].frames[0]
        if begins == "power-up":
            result.assumptions.append(observer.expects_header)
        elif begins == "reset":
            result.assumptions.append(self.boundary.reset(frame, self.top))
        else:
            result.assumptions.append(self.follows(frame, observer))
        return result

    def reader(self, name: str) -> tuple[int, ...]:
        """Return the nets of a signal of the machine's packet reader."""
        path = ".".join(part for part in (self.boundary.path, "loader.packets") if part)
        return self.netlist.find(path, name)

    def follows(self, frame: Frame, observer: Observer) -> Term:
        """Return whether the machine's packet reader and the observer agree on what comes next."""
        terms = self.terms
        state, header = frame.value(self.reader("state")), frame.value(self.reader("header"))

        def in_state(*states: Any) -> Term:
            return terms.any(terms.equal(state, terms.const(each.value, terms.width(state))) for each in states)

        remaining = frame.value(self.reader("remaining"))
        chunk = terms.extend(frame.value(self.reader("chunk")), Observer.chunk_bits(self.config))
        same_words = [
            terms.equal(remaining, observer.remaining),
            terms.equal(chunk, observer.chunk),
            observer.is_within_word,
        ]
        same_target = [terms.equal(observer.target_in(header), observer.target), observer.has_target(*Target)]
        return terms.all(
            [
                terms.equal(in_state(PacketState.HEADER, PacketState.COUNTERS), observer.expects_header),
                terms.equal(in_state(PacketState.COUNT), observer.expects_count),
                terms.equal(in_state(PacketState.DATA), observer.expects_words),
                terms.implies(terms.negation(observer.expects_header), terms.all(same_target)),
                terms.implies(observer.expects_words, terms.all(same_words)),
            ]
        )

    # Steps

    def run(self) -> Findings:
        """Find the invariant, check what must not depend on data, and return the findings."""
        self._check_reader()
        sources = [net for name in self.boundary.data_inputs for net in self.netlist.inputs[name]]
        self.flow.reach(net for net in sources if net not in set(self.payload))
        for cell in self.netlist.instances:  # what a primitive makes of a link word is not known
            if not self.by_payload.isdisjoint(self.netlist.cell(cell).input_nets()):
                self.flow.reach(self.netlist.instance_outputs(cell))
        while self._remove_registers() or self._remove_memories():
            pass
        self._check_claims()
        self._summarise()
        return self.findings

    def _check_reader(self) -> None:
        """Show that packet reader and observer never disagree: at first, and from any cycle to the next.

        The premise of the step must allow link words that differ, since otherwise everything would follow.
        """
        first, reset, step = self.twin("power-up"), self.twin("reset"), self.twin()
        for twin, when in ((first, "after power-up"), (reset, "after reset"), (step, "in every cycle")):
            cycle = twin.cycles[0] if twin is first else twin.extend()
            if not self.solver.always(twin.assumptions, self.follows(cycle.frames[0], cycle.observer)):
                self.findings.failures.append(f"the machine does not follow the format of packets {when}")
        cycle = step.cycles[-1]
        known = [*step.assumptions, cycle.frames[0].holds(self.valid)]
        if self.solver.always(known, self.terms.equal(*cycle.payloads)):
            self.findings.failures.append("no link words with different data satisfy what is assumed")

    def _remove_registers(self) -> bool:
        """Remove register bits that take over a part of a link word that may differ."""
        found: list[int] = []
        twin = self.twin()
        for register in self.netlist.registers.values():
            raw = self.netlist.cell(register.cell)
            nets = raw.data if register.memory is None else (*raw.addr, raw.en)
            bits = {bit for bit in register.bits if not self.flow.is_reached(bit)} - self.flow.barriers
            if bits and not self.by_payload.isdisjoint(nets):
                values = self._values(twin.cycles[0], partial(Frame.next_register, cell=register.cell))
                differing = twin.differing_bits(self.solver, values, [])
                found += bits.intersection(register.bits[bit] for bit in differing)
        self.flow.reach(found)
        return bool(found)

    def _remove_memories(self) -> bool:
        """Remove memories that store words that may differ."""
        found = [
            memory.cell
            for memory in self.netlist.memories.values()
            if memory.cell not in self.flow.memories and not self._stores_equal_words(memory)
        ]
        for memory in found:
            self.flow.hold_data(memory)
        return bool(found)

    def _stores_equal_words(self, memory: Memory) -> bool:
        """Return whether every write stores the same word at the same address in both runs, lane by lane."""
        for port in memory.writes:
            raw = self.netlist.cell(port)
            if any(self._may_differ(net) for net in (*raw.addr, *raw.en)):
                return False
            if any(self._may_differ(net) for net in raw.data) and not self._writes_agree(raw):
                return False
        return True

    def _may_differ(self, net: int) -> bool:
        return self.flow.is_reached(net) or int(net) in self.by_payload

    def _writes_agree(self, port: Any) -> bool:
        """Return whether enabled lanes have equal data in every cycle.

        A word of a packet takes `depth` cycles from the link to a memory's write port. So the claim is shown for the
        cycle that follows any `depth` cycles, and for the first cycles after power-up and after reset.
        """
        depth = Loader.latency(self.config) + Ram.waits_of(self.config.memory_latency)
        later, reset, first = self.twin(), self.twin("reset"), self.twin("power-up")
        for _ in range(depth):
            for twin in (later, reset, first):
                twin.extend()
        claimed = ((later, later.cycles[-1:]), (reset, reset.cycles[1:]), (first, first.cycles[:-1]))
        return all(
            self.solver.always(twin.assumptions, self._lanes_agree(cycle, port))
            for twin, cycles in claimed
            for cycle in cycles
        )

    def _lanes_agree(self, cycle: Cycle, port: Any) -> Term:
        terms = self.terms
        claims = []
        for enable, start, stop in write_lanes(port):
            values = self._values(cycle, partial(Frame.value, nets=port.data[start:stop]))
            claims.append(terms.implies(cycle.frames[0].holds(enable), terms.equal(*values)))
        return terms.all(claims)

    @staticmethod
    def _values(cycle: Cycle, value: Callable[[Frame], Term]) -> tuple[Term, Term]:
        return value(cycle.frames[0]), value(cycle.frames[1])

    # Claims

    def _check_claims(self) -> None:
        """Check outputs, addresses and enables of the machine's memories, and the answers to COUNTERS packets."""
        machine, nets = self.machine, self.netlist.nets
        status: Any = machine.status
        claims: dict[tuple[int, ...], str] = {
            bits: name for name, bits in self.netlist.outputs.items() if name not in self.boundary.data_outputs
        }
        claims[nets(machine.link_in.ready)] = "link_in.ready"
        claims[nets(machine.link_out.valid)] = "link_out.valid"
        claims[nets(status.as_value())] = "status"
        for memory in self.netlist.memories.values():
            if memory.name.startswith(self.boundary.path):
                bits = tuple(
                    net
                    for port in map(self.netlist.cell, (*memory.reads, *memory.writes))
                    for net in (*port.addr, *_enables(port))
                )
                claims[bits] = f"an address or enable of {memory.name}"
        twin = self.twin()
        for bits, name in claims.items():
            self._check_equal(twin, name, bits)
        self._check_answers(twin)

    def _check_equal(self, twin: Twin, name: str, bits: Sequence[int]) -> None:
        reached = [bit for bit in bits if self.flow.is_reached(bit)]
        if reached:
            self.findings.failures.append(f"{name} depends on data: {self.flow.explain(reached[0])}")
            return
        if self.by_payload.isdisjoint(bits):
            return
        values = self._values(twin.cycles[0], partial(Frame.value, nets=bits))
        if differing := twin.differing_bits(self.solver, values, []):
            self.findings.failures.append(f"{name} depends on the link word in bits {differing}")

    def _check_answers(self, twin: Twin) -> None:
        """Check that the words of the counters are equal."""
        frame = twin.cycles[0].frames[0]
        nets = self.netlist.nets
        answering = [
            frame.holds(nets(self.machine.sender.counters)[0]),
            frame.holds(nets(self.machine.link_out.valid)[0]),
        ]
        values = self._values(twin.cycles[0], partial(Frame.value, nets=nets(self.machine.link_out.payload)))
        if twin.differing_bits(self.solver, values, answering):
            self.findings.failures.append("the counters on link_out depend on data")

    def _summarise(self) -> None:
        findings, prefix = self.findings, self.boundary.path
        for register in self.netlist.registers.values():
            block = self._block(register, prefix)
            equal, differing = findings.registers.get(block, (0, 0))
            reached = sum(self.flow.is_reached(bit) for bit in register.bits)
            findings.registers[block] = (equal + len(register.bits) - reached, differing + reached)
        for memory in self.netlist.memories.values():
            if memory.name.startswith(prefix):
                holds = memory.cell in self.flow.memories
                (findings.data_memories if holds else findings.other_memories).append(memory.name)
        findings.questions = self.solver.questions

    @staticmethod
    def _block(register: Register, prefix: str) -> str:
        name = register.name.removeprefix(f"{prefix}.") if prefix else register.name
        return name.split(".", maxsplit=1)[0]


def _enables(port: Any) -> tuple[int, ...]:
    """Return the nets that enable a port of a memory; an asynchronous read port has none."""
    enable = getattr(port, "en", ())
    return tuple(enable) if isinstance(enable, tuple) else (enable,)


ASSUMPTIONS = (
    "both runs begin at power-up or after a reset, with equal registers except those that hold data, and with equal "
    "contents of the program memories, whatever these are",
    "packets differ only in the memory words of PARAMETERS, WEIGHTS and INPUT packets, and the target of every header "
    "exists",
    "link_in.valid, link_out.ready, the reset and all other inputs are equal",
)
"""what the proof assumes of two runs"""


STATEMENT = (
    "In two runs with different parameters, weights and inputs, the handshakes of both links, all counters and tokens, "
    "and the addresses and enables of all memories are equal in every cycle."
)


def analyse(machine: Machine, *, top: str = "link", technology: Technology = PORTABLE) -> Findings:
    """Return which registers, memories and outputs of a machine can depend on data.

    Parameters
    ----------
    machine
        The machine, with its port `status`.
    top
        One of `BOUNDARIES`: the interface to put around it.
    technology
        Primitives for multipliers and registers. What a primitive delivers is taken to depend on all its inputs.
    """
    return _Analysis(machine, BOUNDARIES[top], technology).run()


def prove_constant_time(
    machine: Machine, *, top: str = "link", technology: Technology = PORTABLE, name: str = ""
) -> Proof:
    """Prove that the time of a machine never depends on data, for any program and any number of cycles.

    Parameters
    ----------
    machine, top, technology
        See `analyse`.
    name
        Name of the proof; by default that of the top.
    """
    start = time.monotonic()
    boundary = BOUNDARIES[top]
    findings = analyse(machine, top=top, technology=technology)
    detail = (
        f"{findings.equal_bits:,} register bits are equal, {findings.data_bits:,} hold data, as do "
        f"{len(findings.data_memories)} of {len(findings.data_memories) + len(findings.other_memories)} memories; "
        f"{findings.questions} questions to the solver"
    )
    return Proof(
        name=name or f"constant time, {boundary.title}",
        statement=STATEMENT,
        holds=not findings.failures,
        tool=TOOL,
        seconds=time.monotonic() - start,
        assumptions=ASSUMPTIONS + ((boundary.caveat,) if boundary.caveat else ()),
        detail="; ".join(findings.failures) or detail,
    )
