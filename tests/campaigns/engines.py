"""The exact engine against the RTL on random sessions, by the thousand, and what the sessions have exercised.

``python -m campaigns.engines --count 10000`` in the folder `tests`. A session is made from its seed alone: a campaign
continues with ``--seed``, and ``--first N --count 1`` runs one session again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from campaigns.engine_coverage import Coverage
from support.buses import over_bus
from support.cell_models import ecp5, ice40
from support.compare_sessions import Outcome, difference, outcome
from support.compiled import shared_library
from support.random_machines import random_machines
from support.random_sessions import session
from support.sessions import Session, defined_bits, joined, listing

from etchnet.hdl.blocks.technology import Ecp5, Ice40
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import TOP, generate
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import LinkTrace
from etchnet.sim.engines.verilated import VerilatorEngine, generated_verilog

MACHINES = 60
"""machines of a campaign; each takes seconds to compile"""
_CHUNK = 50
_PATIENCE = 50_000
"""cycles without a transfer after which a machine counts as stuck: many more than any stall"""


@dataclass
class Report:
    """What some sessions found."""

    sessions: int = 0
    cycles: int = 0
    bits: int = 0
    failures: list[str] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)

    def add(self, other: Report) -> None:
        """Add what other sessions found."""
        self.sessions += other.sessions
        self.cycles += other.cycles
        self.bits += other.bits
        self.failures += other.failures
        self.coverage.seen.update(other.coverage.seen)


@dataclass(frozen=True)
class Form:
    """One machine of a campaign: the portable one, or one whose multipliers are those of a device."""

    config: Config
    technology: str = "portable"

    def library(self) -> Path:
        """Return the compiled machine; it is compiled fast rather than to be fast."""
        if self.technology == "portable":
            files = {"etchnet.v": generated_verilog(self.config)}
        else:
            # The device has too few multipliers, so that some elements consist of gates.
            few = max(2, self.config.multipliers // 4)
            technology, models = (Ice40(few), ice40) if self.technology == "ice40" else (Ecp5(few), ecp5)
            files = {"etchnet.v": generate(self.config, technology=technology).verilog, **models()}
        flags = [f"-DLINK_BITS={self.config.link_bits}"]
        return shared_library(files, top=TOP, prefix="Vetchnet", harness="harness.cpp", level="-O0", flags=flags)


def forms(seed: int, count: int) -> list[Form]:
    """Return the machines of a campaign: every twelfth shares the iCE40's multipliers, or has those of the ECP5."""
    names = {5: "ice40", 11: "ecp5"}
    machines = random_machines(np.random.default_rng(seed), count)
    return [Form(config, names.get(number % 12, "portable")) for number, config in enumerate(machines)]


def compare(form: Form, one: Session, library: Path, report: Report) -> str | None:
    """Run a session on both engines; return the difference, if there is one."""
    report.sessions += 1
    try:
        engine = ExactEngine(one.config, trace=one.trace, history=True)
        exact = outcome(engine, one)
        rtl = VerilatorEngine(one.config, trace=one.trace, library=library, patience=_PATIENCE)
        try:
            found = difference(one, exact, outcome(rtl, one))
        finally:
            rtl.close()
    except Exception as error:  # a campaign goes on
        return f"{type(error).__name__}: {error}"
    report.cycles += exact.cycles[-1]
    report.bits += defined_bits(one)
    report.coverage.add(one, exact, engine.kept_history)
    report.coverage.seen["technology", form.technology] += 1
    return found


def run_seed(form: Form, seed: tuple[int, ...], library: Path, report: Report) -> None:
    """Make a session and compare; try to make one that differs shorter."""
    config = form.config
    try:
        one = session(config, seed)
    except Exception as error:
        report.sessions += 1
        report.failures.append(f"session {seed} was not made: {type(error).__name__}: {error}")
        return
    found = compare(form, one, library, report)
    if found:
        kept, unused = one, Report()
        for shorter in ({"runs": 1}, {"runs": 2}, {"runs": 3}):
            other = session(config, seed, **shorter)
            if compare(form, other, library, unused):
                kept = other
                break
        plain = replace(kept, trace=LinkTrace())
        if compare(form, plain, library, unused):
            kept = plain
        report.failures.append(f"session {seed} on {form}: {found}\n{listing(kept)}")


def run_seed_over_bus(bus: str, config: Config, seed: tuple[int, ...], report: Report) -> None:
    """Make a session and run it over a bus, then on the exact engine with the record of the machine's own links."""
    report.sessions += 1
    try:
        one = session(config, seed)
        words, record = over_bus(bus, one)
        # The record has every wait for the bus, so that exchanges need not be told apart.
        merged = replace(one, exchanges=[joined(one)], trace=record)
        exact = outcome(ExactEngine(config, trace=record), merged)
        rtl = Outcome([np.concatenate(words)], exact.cycles, record)
        found = difference(merged, exact, rtl)
    except Exception as error:  # a campaign goes on
        found = f"{type(error).__name__}: {error}"
    else:
        report.cycles += exact.cycles[-1]
        report.bits += defined_bits(one)
        report.coverage.seen["bus", bus] += 1
    if found:
        report.failures.append(f"session {seed} over {bus} on {config}: {found}")


def _bus_chunk(bus: str, config: Config, seeds: list[tuple[int, ...]]) -> Report:
    report = Report()
    for seed in seeds:
        run_seed_over_bus(bus, config, seed, report)
    return report


def bus_chunks(seed: int, first: int, count: int, machines: Sequence[Config]) -> list[tuple[Any, ...]]:
    """Return the arguments of `_bus_chunk` for all buses: a serial line takes thousands of cycles for a word."""
    narrow = [config for config in machines if config.link_bits == 32]
    found = []
    for bus, chosen, every in (("axi", machines, 100), ("tinytapeout", narrow, 100), ("uart", narrow[3:], 500)):
        seeds = [(seed, number) for number in range(first, first + count) if number % every == 0]
        found += [(bus, config, seeds[i::3]) for i, config in enumerate(chosen[:3])]
    return [chunk for chunk in found if chunk[2]]


def _chunk(form: Form, seeds: list[tuple[int, ...]]) -> Report:
    report, library = Report(), form.library()
    for seed in seeds:
        run_seed(form, seed, library, report)
    return report


def run(seed: int, first: int, count: int, *, jobs: int, machines: int = MACHINES) -> Report:
    """Run sessions `first` to `first + count - 1` of a campaign, with a line of progress on standard error."""
    found = forms(seed, machines)
    work: dict[int, list[tuple[int, ...]]] = {}
    for number in range(first, first + count):
        work.setdefault(number % machines, []).append((seed, number))
    chunks = [
        (found[machine], seeds[i : i + _CHUNK]) for machine, seeds in work.items() for i in range(0, len(seeds), _CHUNK)
    ]
    buses = bus_chunks(seed, first, count, [form.config for form in found])
    total = count + sum(len(seeds) for *_, seeds in buses)
    report, start = Report(), time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=os.nice, initargs=(10,)) as pool:
        try:
            jobs_of_buses = [pool.submit(_bus_chunk, *chunk) for chunk in buses]
            for done in as_completed([*jobs_of_buses, *(pool.submit(_chunk, *chunk) for chunk in chunks)]):
                report.add(done.result())
                minutes = (time.perf_counter() - start) / 60
                line = f"{report.sessions} of {total}, {len(report.failures)} different, {minutes:.1f} minutes"
                print(line, end="\r", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
    print(file=sys.stderr)
    return report


def main() -> int:
    """Run the command; returns 1 if something is different, or if a whole campaign has not covered everything."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.engines", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10000, help="number of sessions (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of machines and sessions (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first session (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    arguments = parser.parse_args()
    report = run(arguments.seed, arguments.first, arguments.count, jobs=arguments.jobs)
    print(report.coverage.text())
    for failure in report.failures:
        print(failure)
    print(
        f"{report.sessions} sessions, {report.cycles:,} cycles, {report.bits:,} bits of words: "
        f"{len(report.failures)} different"
    )
    incomplete = arguments.count >= 10_000 and bool(report.coverage.missing())
    return int(bool(report.failures) or incomplete)


if __name__ == "__main__":
    sys.exit(main())
