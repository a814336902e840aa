"""Constant time through the generated Verilog: two copies of a machine with different data, by Yosys and Yices.

This shares nothing with the proofs on Amaranth's netlist but the source of the gateware: the translation, the solver
and the argument are others. The copies get different data, and the same of everything else; `PROPERTIES` must then be
equal. Two checks say so:

- `prove_two_copies`, for any program and all time, by induction over cycles. Yosys has removed what cannot influence
  the properties.
- `play_two_copies`, for one run with all data, cycle by cycle from power-up, with the whole machine and without
  invariants. It shows that results differ while the properties do not, and finds counterexamples.

A parser of packets, which sees nothing but the handshake and the word, says which link words are data.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from etchnet.hdl.core.loadable_memory import load_bus
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import Header
from etchnet.hdl.isa.config import Config
from etchnet.host.proofs.leaks import Leak
from etchnet.host.proofs.miter import PROPERTIES, smt_model
from etchnet.host.proofs.result import Proof
from etchnet.host.proofs.tiny_run import tiny_run
from etchnet.host.proofs.yices import YICES, System, ask
from etchnet.host.tools.yosys import yosys_version

__all__ = ["TwoCopies", "play_two_copies", "prove_two_copies"]

_A, _B = "c.a.", "c.b."
_BUS = "loader.bus"
_LATE, _LATE_LANES = ".late_write_data", ".late_write_lanes"
_PROGRAMS = ("passes.", "drains.")

_ASSUMPTIONS = (
    "there is a reset in the first cycle; registers power up with any values, the same in both copies",
    "both copies get the same resets, handshakes and packets, except for the data words of packets of parameters, "
    "weights and inputs",
)
_ANY_PROGRAM = (
    "memories of programs have any contents at first, the same in both copies; other memories have any contents"
)
_ONE_PROGRAM = (
    "the memories hold one program at first, and no write is under way at power-up; one sequence of packets is sent, "
    "with any data in both copies"
)


@dataclass(frozen=True, kw_only=True)
class TwoCopies(Proof):
    """The outcome of a check of two copies.

    Attributes
    ----------
    machine
        The machine.
    cycles
        Cycles from power-up that the check covers; None for all.
    cycle
        The first cycle of the counterexample in which the copies differ; None if there is no counterexample.
    signals
        The signals that differ in that cycle.
    """

    machine: Config
    cycles: int | None
    cycle: int | None = None
    signals: tuple[str, ...] = ()


def prove_two_copies(
    config: Config,
    *,
    machine: type[Machine] = Machine,
    controls: Sequence[Leak] = (),
    report: Callable[[str], None] = lambda text: None,
) -> TwoCopies:
    """Prove that the timing of a machine depends on no data, for any program and all time.

    The statement follows by induction: after a reset, and after every cycle in which it is so, all registers are the
    same in both copies, except for link words on their way to a memory; these are the same too while they are written
    to a program memory. The induction does not hold for a machine that leaks, but gives no counterexample.

    Parameters
    ----------
    config
        The machine. It should be small, because every word of a memory is a register here.
    machine
        The class of the machine.
    controls
        Leaky machines that must be rejected.
    report
        Function that is called with the name of every step.

    Raises
    ------
    MissingPackageError
        Yosys or Yices is not installed.
    ToolError
        Yosys or Yices failed.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        system = System.parse(smt_model(config, Path(folder), machine=machine))
    pairs = _pairs(system)
    report("Yices: the cycle after a reset")
    broken = _induction(system, pairs, config, after_reset=True)
    if broken is None:
        report("Yices: every other cycle")
        broken = _induction(system, pairs, config, after_reset=False)
    return TwoCopies(
        name="two copies, any program",
        statement="two copies of the machine with different data have the same timing, for any program and all time",
        holds=broken is None,
        tool=_tool(),
        seconds=time.monotonic() - began,
        assumptions=(*_ASSUMPTIONS, _ANY_PROGRAM),
        detail=f"induction over {len(pairs)} registers of each copy, which are all that can influence timing"
        if broken is None
        else f"no proof: the induction does not hold for {', '.join(broken[:3])}",
        controls=tuple(
            _control(leak, prove_two_copies(config, machine=leak.machine, report=_about(leak, report)))
            for leak in controls
        ),
        machine=config,
        cycles=None,
    )


def play_two_copies(
    config: Config,
    *,
    machine: type[Machine] = Machine,
    controls: Sequence[Leak] = (),
    report: Callable[[str], None] = lambda text: None,
) -> TwoCopies:
    """Check two copies of a machine during one run, for all data, cycle by cycle from power-up.

    The run is `tiny_run`: data are loaded, a program of two passes and a drain runs, results and then the counters are
    sent. The check holds if no data make the copies differ, and some data make their results differ.

    Parameters and errors are those of `prove_two_copies`; `config` must have at least as many rows as columns.
    """
    began = time.monotonic()
    run = tiny_run(config)
    with tempfile.TemporaryDirectory() as folder:
        text = smt_model(config, Path(folder), machine=machine, init=run.init, words=run.words)
    system = System.parse(text)
    states = [f"cycle_{k}" for k in range(run.cycles)]
    declared, claims = _unrolled(system, states)
    equal = {f"{k} {name}": system.value(name, state) for k, state in enumerate(states) for name in PROPERTIES}
    report(f"Yices: {run.cycles} cycles")
    cycle, signals = _first_difference(ask(system, declared, [*claims, f"(not {_all(equal)})"], facts=equal))
    results: list[int] = []
    if signals:
        detail = f"in cycle {cycle} the copies differ in {', '.join(signals)}"
    else:
        report("Yices: data with which results differ")
        results = _different_results(system, states, declared, claims)
        detail = f"{run.cycles} cycles; with some data results differ, in cycles {', '.join(map(str, results))}"
    if not signals and not results:
        detail = f"in {run.cycles} cycles there is no run that sends different results and then the counters"
    return TwoCopies(
        name="two copies, one run",
        statement=f"two copies of the machine have the same timing in {run.cycles} cycles with any different data, "
        "while their results differ",
        holds=bool(results),
        tool=_tool(),
        seconds=time.monotonic() - began,
        assumptions=(*_ASSUMPTIONS, _ONE_PROGRAM),
        detail=detail,
        controls=tuple(
            _control(leak, play_two_copies(config, machine=leak.machine, report=_about(leak, report)))
            for leak in controls
        ),
        machine=config,
        cycles=run.cycles,
        cycle=cycle,
        signals=signals,
    )


def _about(leak: Leak, report: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that reports steps of the check of a leaky machine."""
    return lambda text: report(f"leak {leak.name}: {text}")


def _control(leak: Leak, outcome: TwoCopies) -> TwoCopies:
    """Return the outcome of the check of a leaky machine, named after the leak."""
    return replace(outcome, name=leak.name, statement=f"{outcome.statement}, although {leak.description}")


def _tool() -> str:
    """Return the tools with their versions."""
    return f"{yosys_version()}, {YICES.version()}"


def _pairs(system: System) -> list[str]:
    """Return the registers that both copies have, without the prefix of the copy.

    Nothing is assumed of a register that only one copy has, if Yosys ever keeps one.
    """
    first, second = ({r.removeprefix(copy) for r in system.registers if r.startswith(copy)} for copy in (_A, _B))
    return sorted(first & second)


def _equal(system: System, register: str, state: str) -> str:
    """Return the term that a register is the same in both copies."""
    return f"(= {system.value(_A + register, state)} {system.value(_B + register, state)})"


def _is_zero(system: System, register: str, state: str) -> str:
    """Return the term that a register is 0."""
    value, bits = system.value(register, state), system.registers[register]
    return f"(= {value} #b{0:0{bits}b})" if bits > 1 else f"(not {value})"


def _is_data_word(register: str) -> bool:
    """Return whether a register is a word of a memory of data; the other memories hold a program."""
    return ".words[" in register and not register.startswith(_PROGRAMS)


def _passing(pairs: Sequence[str]) -> list[str]:
    """Return the registers that hold a link word on its way to a program memory, or data on their way elsewhere."""
    # Memories of latency 3 and 4 have registers in front of them.
    return [r for r in pairs if r == _BUS or (r.startswith(_PROGRAMS) and r.endswith(_LATE))]


def _induction(system: System, pairs: Sequence[str], config: Config, *, after_reset: bool) -> list[str] | None:
    """Return None if the statement and the invariants follow for a cycle and the one after it.

    It is assumed of the first cycle that it has the state at power-up and a reset, or that the invariants hold in it.
    If they do not follow, return what differs in an example.
    """
    now, later = "now", "later"
    passing = _passing(pairs)
    twins = [r for r in pairs if not (_is_data_word(r) if after_reset else r in passing)]
    known = [system.value("rst", now)] if after_reset else list(_invariants(system, pairs, config, now).values())
    goals = {words: system.value(name, now) for name, words in PROPERTIES.items()}
    goals |= {r: _equal(system, r, later) for r in pairs if r not in passing}
    goals |= _invariants(system, pairs, config, later)
    declared = [*system.twin_state(now, {_B + r: _A + r for r in twins}), *system.any_state(later)]
    claims = [*known, *(_equal(system, r, now) for r in twins), system.step(now, later)]
    example = ask(system, declared, [*claims, f"(not {_all(goals)})"], facts=goals)
    if example is not None:
        return [name for name, holds in example.items() if not holds]
    # Claims that exclude each other would prove anything: they must be possible, with different data after a cycle
    # without a reset.
    different = "true" if after_reset else f"(not {_equal(system, _BUS, later)})"
    return ["different data"] if ask(system, declared, [*claims, different], facts={}) is None else None


def _invariants(system: System, pairs: Sequence[str], config: Config, state: str) -> dict[str, str]:
    """Return what holds in every state in addition to the equality of registers, by what it says in words.

    The parser agrees with the loader of the first copy, as far as it has something to say. Link words that are written
    to a program memory, and the place of every link word, are the same in both copies.
    """

    def value(register: str) -> str:
        return system.value(register, state)

    def bus(copy: str, bits: int) -> str:
        return f"((_ extract {bits - 1} 0) {value(copy + _BUS)})"

    reader, layout = f"{_A}loader.packets.", load_bus(config)
    header, parsing, reading = Header.layout(config)["target"], value("c.state"), value(reader + "state")
    target = f"((_ extract {header.offset + header.width - 1} {header.offset}) {value(reader + 'header')})"
    in_words = f"(= {parsing} #b10)"
    strobes = " ".join(value(f"{_A}loader.write_{name}") for name in ("passes", "drains"))
    late = {}
    for register in _passing(pairs):
        if register != _BUS:
            unused = _is_zero(system, _A + register.removesuffix(_LATE) + _LATE_LANES, state)
            late[f"a late link word ({register})"] = f"(or {unused} {_equal(system, register, state)})"
    return late | {
        # The states of the loader are header, count, data and, for the parser the next header, waiting for counters.
        "the parser's state": f"(= {parsing} (ite (= {reading} #b11) #b00 {reading}))",
        "the parser's target": f"(or (= {parsing} #b00) (= {value('c.target')} {target}))",
        "the parser's count": f"(=> {in_words} (= {value('c.left')} {value(reader + 'remaining')}))",
        "the parser's chunk": f"(=> {in_words} (= {value('c.chunk')} {value(reader + 'chunk')}))",
        "the place of a link word": f"(= {bus(_A, layout['data'].offset)} {bus(_B, layout['data'].offset)})",
        "a link word of a program": f"(=> (or {strobes}) (= {value(_A + _BUS)} {value(_B + _BUS)}))",
    }


def _unrolled(system: System, states: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the declarations of consecutive states from power-up, and what is true of them: one reset, then none."""
    first, *later = states
    claims = [
        system.starts(first),
        system.value("rst", first),
        *(f"(not {system.value('rst', state)})" for state in later),
        *(_equal(system, register, first) for register in _pairs(system) if not _is_data_word(register)),
        # A late write would change the program.
        *(_is_zero(system, register, first) for register in system.registers if register.endswith(_LATE_LANES)),
        *itertools.starmap(system.step, itertools.pairwise(states)),
    ]
    return [line for state in states for line in system.any_state(state)], claims


def _first_difference(example: dict[str, bool] | None) -> tuple[int | None, tuple[str, ...]]:
    """Return the first cycle in which properties do not hold in an example, and the signals they are about."""
    if example is None:
        return None, ()
    broken = [key.split(" ", 1) for key, equal in example.items() if not equal]
    first = broken[0][0]
    return int(first), tuple(PROPERTIES[name] for cycle, name in broken if cycle == first)


def _all(terms: dict[str, str]) -> str:
    """Return the term that all terms are true."""
    return f"(and {' '.join(terms.values())})"


def _different_results(
    system: System, states: Sequence[str], declared: Sequence[str], claims: Sequence[str]
) -> list[int]:
    """Return in which cycles the copies send different results, with data for which they do; all counters follow."""
    differ = {str(k): system.value("differ", state) for k, state in enumerate(states)}
    wanted = [*claims, f"(or {' '.join(differ.values())})", system.value("answered", states[-1])]
    example = ask(system, declared, wanted, facts=differ)
    return [] if example is None else [int(k) for k, different in example.items() if different]
