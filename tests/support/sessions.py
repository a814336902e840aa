"""Sessions on a machine: what is sent and received, and what it was made from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from support.random_programs import RandomProgram

from etchnet.hdl.isa import Header, Parameters, RunCommand, Target
from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.link import LinkTrace


@dataclass(frozen=True)
class Exchange:
    """Packets to send, how many link words to receive, and which bits of these the documentation defines."""

    words: np.ndarray
    count: int
    defined: np.ndarray
    """uint32 (count, link_bits / 32)"""


@dataclass
class Session:
    """Everything that happens on the links of one machine, and what it was made from.

    Attributes
    ----------
    config
        The machine.
    seed
        What `session` made it from.
    exchanges
        The exchanges, in order.
    trace
        When the links stall.
    programs, commands, headers, parameters
        What the packets contain; a command comes with its program.
    lengths
        The link words of every packet.
    answers
        For each answer to a COUNTERS packet, its first word among all words that leave.
    most
        For each token, the largest number of them at once, by `Tokens`.
    notes
        What happens in the session besides, in words.
    """

    config: Config
    seed: tuple[int, ...]
    exchanges: list[Exchange] = field(default_factory=list)
    trace: LinkTrace = field(default_factory=LinkTrace)
    programs: list[RandomProgram] = field(default_factory=list)
    commands: list[tuple[RunCommand, RandomProgram]] = field(default_factory=list)
    headers: list[Header] = field(default_factory=list)
    parameters: list[Parameters] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)


def joined(one: Session) -> Exchange:
    """Return all exchanges of a session as one."""
    words, defined = (np.concatenate([getattr(e, name) for e in one.exchanges]) for name in ("words", "defined"))
    return Exchange(words, len(defined), defined)


def defined_bits(one: Session) -> int:
    """Return the number of bits that are compared."""
    return sum(int(np.unpackbits(e.defined.view(np.uint8)).sum()) for e in one.exchanges)


def listing(one: Session) -> str:
    """Return a session as text: its programs, its commands, and its packets."""

    def fields(record: Any) -> str:
        values = {f.name: (getattr(record, f.name), f.default) for f in dataclasses.fields(record)}
        changed = (f"{name}={getattr(v, 'name', v)}" for name, (v, default) in values.items() if v != default)
        return f"{type(record).__name__}({', '.join(changed)})"

    lines = [repr(one.trace), f"{len(one.exchanges)} exchanges, {len(one.headers)} packets"]
    for number, program in enumerate(one.programs):
        lines += [f"program {number}", *(f"  {fields(record)}" for record in (*program.passes, *program.drains))]
    numbers = {id(program): number for number, program in enumerate(one.programs)}
    lines += [f"program {numbers[id(program)]}: {fields(command)}" for command, program in one.commands]
    kept = (Target.WEIGHTS, Target.INPUT, Target.RUN, Target.COUNTERS)
    lines += [fields(h) for h in one.headers if h.target in kept and (h.commit or h.acquire or h.target > Target.INPUT)]
    return "\n".join(lines)
