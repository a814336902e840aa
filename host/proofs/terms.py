"""The logic of a netlist as terms of an SMT solver: one cycle of the component, word by word."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import bitwuzla
from bitwuzla import Bitwuzla, Kind, Option, Options, Sort, Term, TermManager

from etchnet.hdl.blocks.amaranth_internals import cells
from etchnet.host.proofs.netlist import Memory, Netlist, Register, write_lanes

__all__ = ["TOOL", "Frame", "Terms"]

TOOL = f"bitwuzla {bitwuzla.version()}"
"""the solver, with its version"""

_BINARY = {
    "+": Kind.BV_ADD,
    "-": Kind.BV_SUB,
    "*": Kind.BV_MUL,
    "&": Kind.BV_AND,
    "|": Kind.BV_OR,
    "^": Kind.BV_XOR,
}
_COMPARISONS = {
    "==": Kind.EQUAL,
    "!=": Kind.DISTINCT,
    "u<": Kind.BV_ULT,
    "s<": Kind.BV_SLT,
    "u>": Kind.BV_UGT,
    "s>": Kind.BV_SGT,
    "u<=": Kind.BV_ULE,
    "s<=": Kind.BV_SLE,
    "u>=": Kind.BV_UGE,
    "s>=": Kind.BV_SGE,
}
_SHIFTS = {"<<": Kind.BV_SHL, "u>>": Kind.BV_SHR, "s>>": Kind.BV_ASHR}
_REDUCTIONS = {"r&": Kind.BV_REDAND, "r|": Kind.BV_REDOR, "r^": Kind.BV_REDXOR, "b": Kind.BV_REDOR}


class Terms:
    """Bit-vector terms, with the few operations that netlists need."""

    def __init__(self) -> None:
        self.manager = TermManager()
        self.true, self.false = self.manager.mk_true(), self.manager.mk_false()

    def __call__(self, kind: Kind, operands: Sequence[Term], indices: Sequence[int] = ()) -> Term:
        """Return an operator applied to operands."""
        return self.manager.mk_term(kind, list(operands), list(indices))

    def solver(self) -> Bitwuzla:
        """Return a solver that can give counterexamples."""
        options = Options()
        options.set(Option.PRODUCE_MODELS, True)
        return Bitwuzla(self.manager, options)

    def sort(self, width: int) -> Sort:
        """Return the sort of bit-vectors of a width."""
        return self.manager.mk_bv_sort(width)

    def const(self, value: int, width: int) -> Term:
        """Return a constant bit-vector; `value` is taken modulo 2^`width`."""
        return self.manager.mk_bv_value(self.sort(width), value & (1 << width) - 1)

    def variable(self, width: int, name: str) -> Term:
        """Return a new, arbitrary bit-vector."""
        return self.manager.mk_const(self.sort(width), name)

    def array(self, address: int, width: int, name: str) -> Term:
        """Return new, arbitrary contents of a memory: an array from `address` bits to `width` bits."""
        return self.manager.mk_const(self.manager.mk_array_sort(self.sort(address), self.sort(width)), name)

    def width(self, term: Term) -> int:
        """Return the width of a bit-vector."""
        size: int = term.sort().bv_size()
        return size

    def part(self, term: Term, low: int, width: int) -> Term:
        """Return `width` bits of a bit-vector from bit `low` on."""
        if low == 0 and width == self.width(term):
            return term
        return self(Kind.BV_EXTRACT, [term], [low + width - 1, low])

    def concat(self, parts: Sequence[Term]) -> Term:
        """Join bit-vectors, the lowest bits first."""
        return parts[0] if len(parts) == 1 else self(Kind.BV_CONCAT, list(reversed(parts)))

    def extend(self, term: Term, width: int, *, signed: bool = False) -> Term:
        """Extend a bit-vector to a width."""
        more = width - self.width(term)
        if more == 0:
            return term
        return self(Kind.BV_SIGN_EXTEND if signed else Kind.BV_ZERO_EXTEND, [term], [more])

    def bit(self, condition: Term) -> Term:
        """Return a Boolean as one bit."""
        return self(Kind.ITE, [condition, self.const(1, 1), self.const(0, 1)])

    def holds(self, bit: Term) -> Term:
        """Return one bit as a Boolean."""
        return self(Kind.EQUAL, [bit, self.const(1, 1)])

    def equal(self, one: Term, other: Term) -> Term:
        """Return whether two terms are equal."""
        return self(Kind.EQUAL, [one, other])

    def all(self, conditions: Iterable[Term]) -> Term:
        """Return whether all Booleans hold."""
        found = list(conditions)
        return self.true if not found else found[0] if len(found) == 1 else self(Kind.AND, found)

    def any(self, conditions: Iterable[Term]) -> Term:
        """Return whether any of some Booleans holds."""
        found = list(conditions)
        return self.false if not found else found[0] if len(found) == 1 else self(Kind.OR, found)

    def negation(self, condition: Term) -> Term:
        """Return whether a Boolean does not hold."""
        return self(Kind.NOT, [condition])

    def implies(self, one: Term, other: Term) -> Term:
        """Return whether one Boolean implies another."""
        return self(Kind.IMPLIES, [one, other])

    def choose(self, bit: Term, one: Term, other: Term) -> Term:
        """Return `one` if `bit` is 1, else `other`."""
        return self(Kind.ITE, [self.holds(bit), one, other])


class Frame:
    """The values of all nets of a netlist in one cycle, and the next values of its registers and memories.

    Parameters
    ----------
    netlist, terms
        The netlist, and where its terms are made.
    register
        Returns the value of a register in this cycle, as wide as the register.
    memory
        Returns the contents of a memory in this cycle: an array from `Memory.address_bits` bits to words.
    inputs
        Values of the inputs by name.
    instance
        Returns the outputs of an `Instance`, by its cell; without it, a design with instances is refused.
    overrides
        Nets that have a given value (one bit) in this cycle, whatever drives them.
    """

    def __init__(
        self,
        netlist: Netlist,
        terms: Terms,
        *,
        register: Callable[[Register], Term],
        memory: Callable[[Memory], Term],
        inputs: Mapping[str, Term],
        instance: Callable[[int], Term] | None = None,
        overrides: Mapping[int, Term] | None = None,
    ) -> None:
        self.netlist, self.terms = netlist, terms
        self._register, self._memory, self._inputs, self._instance = register, memory, inputs, instance
        self._overrides = dict(overrides or {})
        self._words: dict[tuple[int, int], Term] = {}
        self._contents: dict[int, Term] = {}
        self._edges_of: dict[int, list[int]] = {}
        starts = netlist.raw.top.ports_i
        self._input_of = {start + bit: (name, bit) for name, (start, width) in starts.items() for bit in range(width)}

    # Values

    def value(self, nets: Sequence[int]) -> Term:
        """Return the value of some nets, lowest bit first, as one bit-vector."""
        self._evaluate(nets)
        parts: list[Term] = []
        position = 0
        while position < len(nets):
            first = nets[position]
            count = 1
            if first > 1 and first not in self._overrides:
                unit = self._unit(first)
                while position + count < len(nets):
                    following = nets[position + count]
                    if following != first + count or following in self._overrides or self._unit(following) != unit:
                        break
                    count += 1
            parts.append(self._piece(first, count))
            position += count
        return self.terms.concat(parts)

    def holds(self, net: int) -> Term:
        """Return whether a net is 1."""
        return self.terms.holds(self.value((net,)))

    def contents(self, memory: int) -> Term:
        """Return the contents of a memory in this cycle."""
        if memory not in self._contents:
            self._contents[memory] = self._memory(self.netlist.memories[memory])
        return self._contents[memory]

    # Next values

    def next_register(self, cell: int) -> Term:
        """Return the value of a register in the next cycle."""
        raw = self.netlist.cell(cell)
        if isinstance(raw, cells.FlipFlop):
            return self.value(raw.data)
        held = self.value(self.netlist.registers[cell].bits)
        return self.terms.choose(self.value((raw.en,)), self._read(raw), held)

    def next_memory(self, memory: int) -> Term:
        """Return the contents of a memory in the next cycle."""
        terms, contents = self.terms, self.contents(memory)
        for port in self.netlist.memories[memory].writes:
            raw = self.netlist.cell(port)
            address = terms.extend(self.value(raw.addr), self.netlist.memories[memory].address_bits)
            data, old = self.value(raw.data), terms(Kind.ARRAY_SELECT, [contents, address])
            word = terms.concat(
                [
                    terms.choose(
                        self.value((enable,)), *(terms.part(each, first, stop - first) for each in (data, old))
                    )
                    for enable, first, stop in write_lanes(raw)
                ]
            )
            contents = terms(Kind.ARRAY_STORE, [contents, address, word])
        return contents

    def _read(self, port: Any) -> Term:
        address = self.terms.extend(self.value(port.addr), self.netlist.memories[port.memory].address_bits)
        return self.terms(Kind.ARRAY_SELECT, [self.contents(port.memory), address])

    # Evaluation: cells in the order of their dependences, without recursion, as logic can be deep

    def _unit(self, net: int) -> tuple[int, int]:
        """Return what is computed at once to give a net: a cell, and for assignments the bits assigned together."""
        cell, bit = self.netlist.driver(net)
        raw = self.netlist.cell(cell)
        if cell == 0:
            return 0, self._start(bit)
        if isinstance(raw, cells.AssignmentList):
            edges = self._edges(cell, raw)
            return cell, edges[bisect.bisect_right(edges, bit) - 1]
        return cell, 0

    def _edges(self, cell: int, raw: Any) -> list[int]:
        """Return the bits at which a part of an assigned signal begins or ends."""
        if cell not in self._edges_of:
            edges = {0, len(raw.default)}
            for a in raw.assignments:
                edges |= {a.start, a.start + len(a.value)}
            self._edges_of[cell] = sorted(edges)
        return self._edges_of[cell]

    def _start(self, bit: int) -> int:
        if bit not in self._input_of:
            return bit
        name, _ = self._input_of[bit]
        start: int = self.netlist.raw.top.ports_i[name][0]
        return start

    def _piece(self, net: int, count: int) -> Term:
        if net in self._overrides:
            return self._overrides[net]
        if net <= 1:
            return self.terms.const(net, 1)
        unit = self._unit(net)
        _, bit = self.netlist.driver(net)
        return self.terms.part(self._words[unit], bit - unit[1], count)

    def _evaluate(self, nets: Iterable[int]) -> None:
        stack = list({self._unit(net) for net in nets if net > 1 and net not in self._overrides})
        opened: set[tuple[int, int]] = set()
        while stack:
            unit = stack[-1]
            if unit in self._words:
                stack.pop()
                continue
            needed = {self._unit(n) for n in self._operands(unit) if n > 1 and n not in self._overrides}
            missing = [other for other in needed if other not in self._words]
            if not missing:
                self._words[unit] = self._compute(unit)
                stack.pop()
            elif unit in opened:
                raise ValueError(f"the logic of {self.netlist.path(unit[0])} depends on itself, word by word")
            else:
                opened.add(unit)
                stack += missing

    def _operands(self, unit: tuple[int, int]) -> Iterable[int]:
        cell, start = unit
        raw = self.netlist.cell(cell)
        if cell == 0 or isinstance(raw, cells.FlipFlop | cells.SyncReadPort | cells.Instance):
            return ()
        if isinstance(raw, cells.AssignmentList):
            stop = self._stop(cell, raw, start)
            nets = list(raw.default[start:stop])
            for a in raw.assignments:
                if a.start <= start and stop <= a.start + len(a.value):
                    nets += [a.cond, *a.value[start - a.start : stop - a.start]]
            return nets
        found: Iterable[int] = raw.input_nets()
        return found

    def _stop(self, cell: int, raw: Any, start: int) -> int:
        edges = self._edges(cell, raw)
        return edges[edges.index(start) + 1]

    def _compute(self, unit: tuple[int, int]) -> Term:
        cell, start = unit
        terms, raw = self.terms, self.netlist.cell(cell)
        match raw:
            case cells.Top():
                name, _ = self._input_of[start]
                return self._inputs[name]
            case cells.FlipFlop() | cells.SyncReadPort():
                return self._register(self.netlist.registers[cell])
            case cells.Instance() if self._instance is not None:
                return self._instance(cell)
            case cells.AsyncReadPort():
                return self._read(raw)
            case cells.AssignmentList():
                return self._assign(cell, raw, start)
            case cells.Operator():
                return self._operate(raw)
            case cells.Part():
                return self._part(raw)
            case cells.Matches():
                value = self.value(raw.value)
                return terms.bit(self._matches(value, raw.patterns))
            case cells.PriorityMatch():
                return self._priority(raw)
            case _:
                raise ValueError(f"a {type(raw).__name__} in {self.netlist.path(cell)} cannot be proved about")

    def _assign(self, cell: int, raw: Any, start: int) -> Term:
        stop = self._stop(cell, raw, start)
        value = self.value(raw.default[start:stop])
        for a in raw.assignments:
            if a.start <= start and stop <= a.start + len(a.value):
                assigned = self.value(a.value[start - a.start : stop - a.start])
                value = self.terms.choose(self.value((a.cond,)), assigned, value)
        return value

    def _operate(self, raw: Any) -> Term:
        terms, operator = self.terms, raw.operator
        operands = [self.value(nets) for nets in raw.inputs]
        if operator == "m":
            return terms.choose(*operands)
        if operator in _REDUCTIONS:
            return terms(_REDUCTIONS[operator], operands)
        if len(operands) == 1:
            return terms(Kind.BV_NOT if operator == "~" else Kind.BV_NEG, operands)
        if operator in _BINARY:
            return terms(_BINARY[operator], operands)
        if operator in _COMPARISONS:
            return terms.bit(terms(_COMPARISONS[operator], operands))
        if operator in _SHIFTS:
            width = terms.width(operands[0])
            common = max(map(terms.width, operands))
            value = terms.extend(operands[0], common, signed=operator == "s>>")
            return terms.part(terms(_SHIFTS[operator], [value, terms.extend(operands[1], common)]), 0, width)
        raise ValueError(f"the operator {operator} cannot be proved about")

    def _part(self, raw: Any) -> Term:
        terms = self.terms
        width = max(len(raw.value), raw.width, len(raw.offset) + raw.stride.bit_length())
        value = terms.extend(self.value(raw.value), width, signed=raw.value_signed)
        offset = terms.extend(self.value(raw.offset), width)
        amount = terms(Kind.BV_MUL, [offset, terms.const(raw.stride, width)])
        shift = Kind.BV_ASHR if raw.value_signed else Kind.BV_SHR
        return terms.part(terms(shift, [value, amount]), 0, raw.width)

    def _matches(self, value: Term, patterns: Sequence[str]) -> Term:
        terms, width = self.terms, self.terms.width(value)
        conditions = []
        for pattern in patterns:
            mask = int(pattern.replace("0", "1").replace("-", "0"), 2)
            wanted = terms.const(int(pattern.replace("-", "0"), 2), width)
            conditions.append(terms.equal(terms(Kind.BV_AND, [value, terms.const(mask, width)]), wanted))
        return terms.any(conditions)

    def _priority(self, raw: Any) -> Term:
        terms = self.terms
        enable = self.value((raw.en,))
        outputs = []
        for net in raw.inputs:
            bit = self.value((net,))
            outputs.append(terms(Kind.BV_AND, [enable, bit]))
            enable = terms(Kind.BV_AND, [enable, terms(Kind.BV_NOT, [bit])])
        return terms.concat(outputs)
