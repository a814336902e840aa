"""All theorems about a machine, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa.config import Config
from etchnet.host.proofs.array import array
from etchnet.host.proofs.boundaries import BOUNDARIES
from etchnet.host.proofs.constant_time import prove_constant_time
from etchnet.host.proofs.element import element
from etchnet.host.proofs.fetch import fetch
from etchnet.host.proofs.leaks import LEAKS
from etchnet.host.proofs.result import Proof
from etchnet.host.proofs.sender import sender
from etchnet.host.proofs.tokens import tokens
from etchnet.host.proofs.two_copies import play_two_copies, prove_two_copies

__all__ = ["THEOREMS", "Theorem", "prove", "smallest"]

Report = Callable[[str], None]


class Theorem(NamedTuple):
    """A theorem, or a group of them that belong together."""

    title: str
    """a few words for help and progress"""
    prove: Callable[[Config, Iterable[str], Report], Iterator[Proof]]
    """proves it for a machine in the tops named, and its controls; reports what it works on"""


def smallest(config: Config) -> Config:
    """Return the smallest machine with the options of `config`: its contract, latencies and link."""
    return Config(
        rows=1,
        columns=1,
        weight_tiles=1,
        activation_words=2,
        input_words=2,
        output_words=2,
        accumulator_rows=4,
        passes=2,
        drains=2,
        parameter_tiles=1,
        residual_words=2 if config.residual_words else 0,
        link_bits=config.link_bits,
        multiplier_latency=config.multiplier_latency,
        memory_latency=config.memory_latency,
        product_latency=config.product_latency,
        contract=config.contract,
    )


def _constant_time(config: Config, tops: Iterable[str], report: Report) -> Iterator[Proof]:
    """Prove constant time in every top, and reject every leaky machine in each of them."""
    small = smallest(config)
    for top in tops:
        title = BOUNDARIES[top].title
        report(f"constant time: {title}")
        proof = prove_constant_time(Machine(config, status=True), top=top)
        controls = []
        for leak in LEAKS:
            report(f"constant time: {title}, a machine with a leak ({leak.name})")
            controls.append(prove_constant_time(leak.build(small), top=top, name=leak.description))
        yield dataclasses.replace(proof, controls=tuple(controls))


def _two_copies(config: Config, tops: Iterable[str], report: Report) -> Iterator[Proof]:
    """Check two copies of the smallest machine with the options of `config`, and of every leaky one."""
    for check in (prove_two_copies, play_two_copies):
        yield check(smallest(config), controls=LEAKS, report=lambda text: report(f"two copies: {text}"))


def _induction(theorem: Callable[[Config], Proof], title: str) -> Callable[..., Iterator[Proof]]:
    def prove_one(config: Config, tops: Iterable[str], report: Report) -> Iterator[Proof]:
        report(title)
        yield theorem(config)

    return prove_one


THEOREMS: Mapping[str, Theorem] = {
    "constant-time": Theorem("time never depends on data", _constant_time),
    "two-copies": Theorem("time never depends on data, by the generated Verilog of a small machine", _two_copies),
    "tokens": Theorem("tokens never over- or underflow", _induction(tokens, "tokens")),
    "element": Theorem("a processing element computes its recurrence", _induction(element, "processing elements")),
    "array": Theorem("the array multiplies vectors by tiles", _induction(array, "array")),
    "fetch": Theorem("instructions arrive once and in order", _induction(fetch, "instruction memories")),
    "sender": Theorem("results are sent once and in order", _induction(sender, "sender")),
}
"""all theorems, in the order in which `etchnet prove` proves them"""


def prove(
    config: Config,
    *,
    names: Iterable[str] = (),
    tops: Iterable[str] = (),
    report: Report = lambda text: None,
) -> Iterator[Proof]:
    """Prove theorems about a machine, one after the other.

    Parameters
    ----------
    config
        The machine.
    names
        Keys of `THEOREMS`; by default all.
    tops
        Keys of `BOUNDARIES` for the theorems that depend on the top; by default all.
    report
        Called with what is worked on.
    """
    for name in tuple(names) or THEOREMS:
        yield from THEOREMS[name].prove(config, tuple(tops) or tuple(BOUNDARIES), report)
