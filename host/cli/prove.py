"""`etchnet prove`."""

from __future__ import annotations

import dataclasses
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from etchnet.hdl.isa.config import Config
from etchnet.host.cli.options import LazyChoice, UsageError, json_option, machine_options
from etchnet.host.cli.output import machine_text, plural, print_json, progress

if TYPE_CHECKING:
    from etchnet.host.proofs.result import Proof

__all__ = ["prove"]


def _theorems() -> list[str]:
    from etchnet.host.proofs.theorems import THEOREMS

    return list(THEOREMS)


def _tops() -> list[str]:
    from etchnet.host.proofs.boundaries import BOUNDARIES

    return list(BOUNDARIES)


@click.command()
@click.argument("theorems", metavar="[THEOREM]...", nargs=-1)
@click.option(
    "--top",
    "tops",
    type=LazyChoice(_tops),
    multiple=True,
    help="Top around the machine, for constant-time; repeatable.  [all]",
)
@click.option("--verbose", is_flag=True, help="Also print every control, and why it was rejected.")
@machine_options
@json_option
def prove(config: Config, theorems: Sequence[str], tops: Sequence[str], verbose: bool, as_json: bool) -> None:
    """Prove that time never depends on data, and more, about a machine.

    Every proof holds for all data, any number of cycles, and all programs within what it prints as assumed. It comes
    with controls: machines broken on purpose, or one assumption left out, which the proof must reject. THEOREM is one
    of constant-time, two-copies, tokens, element, array, fetch and sender; by default all are proved. The exit status
    is 1 if a proof fails or does not reject a control.
    """
    try:
        from etchnet.host.proofs import theorems as registry
    except ImportError as error:
        if error.name is None or error.name.startswith("etchnet"):
            raise
        raise UsageError(f"proofs need the package {error.name}: pip install 'etchnet[prove]'") from None
    for name in theorems:
        if name not in registry.THEOREMS:
            raise UsageError(f"THEOREM must be one of {', '.join(registry.THEOREMS)}, not {name!r}")
    if tops and theorems and "constant-time" not in theorems:
        raise UsageError(f"--top is for constant-time alone, not for {' and '.join(theorems)}")
    found: list[Proof] = []
    printed: set[str] = set()
    if not as_json:
        click.echo(f"{machine_text(config)}, contract {config.contract}")
    with progress(quiet=as_json) as show, _kept_interrupts() as check:

        def report(text: str) -> None:
            check()
            show(text)

        for proof in registry.prove(config, names=theorems, tops=tops, report=report):
            found.append(proof)
            if not as_json:
                click.echo()
                for line in _lines(proof, printed, verbose=verbose):
                    click.echo(line)
    if as_json:
        print_json({"machine": config.to_dict(), "proofs": [dataclasses.asdict(proof) for proof in found]})
    if not all(proof.holds and proof.rejects_controls for proof in found):
        sys.exit(1)


@contextmanager
def _kept_interrupts() -> Iterator[Callable[[], None]]:
    """Keep interrupts that come while the solver's binding cannot pass on an exception, and so drops them.

    Yields a function that raises KeyboardInterrupt if there has been one.
    """
    arrived = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        arrived.set()
        raise KeyboardInterrupt

    def check() -> None:
        if arrived.is_set():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def _lines(proof: Proof, printed: set[str], *, verbose: bool) -> Iterator[str]:
    """Describe a proof: the verdict, the statement, what it rests on, and what it rejects.

    Sentences in `printed` are left out, and those that are new are added to it: proofs of one group share them.
    """
    verdict = "proved" if proof.holds else "NOT PROVED"
    yield f"{verdict}: {proof.name} ({proof.tool}, {proof.seconds:.1f} s)"
    for start, sentence in (("", proof.statement), *(("assumed: ", each) for each in proof.assumptions)):
        if sentence not in printed:
            yield from _paragraph(start, sentence)
            printed.add(sentence)
    for part in proof.detail.splitlines():
        yield from _paragraph("found: ", part)
    if proof.controls:
        rejected = sum(not control.holds for control in proof.controls)
        more = "" if verbose else "; --verbose lists them"
        yield f"  rejected: {rejected} of {plural(len(proof.controls), 'control')}{more}"
    for control in proof.controls:
        if control.holds:
            yield f"  NOT REJECTED: {control.name}"
        elif verbose:
            yield from _paragraph("  - ", f"{control.name}: {(control.detail.splitlines() or [''])[0]}")


def _paragraph(start: str, text: str) -> Iterator[str]:
    indent = "  " + " " * len(start)
    yield from textwrap.wrap(text, 100, initial_indent=f"  {start}", subsequent_indent=indent)
