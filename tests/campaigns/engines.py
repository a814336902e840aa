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
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace

import numpy as np
from campaigns.engine_coverage import Coverage
from support.cell_models import ecp5, ice40
from support.compare_sessions import difference, outcome
from support.random_machines import random_machines
from support.random_sessions import session
from support.sessions import Session, listing

from etchnet.hdl.blocks.technology import Ecp5, Ice40
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import generate
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import LinkTrace
from etchnet.sim.engines.verilated import VerilatorEngine, build, generated_verilog

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

    def library(self) -> str:
        """Return the compiled machine; it is compiled fast rather than to be fast."""
        if self.technology == "portable":
            files = {"etchnet.v": generated_verilog(self.config)}
        else:
            # The device has too few multipliers, so that some elements consist of gates.
            few = max(2, self.config.multipliers // 4)
            technology, models = (Ice40(few), ice40) if self.technology == "ice40" else (Ecp5(few), ecp5)
            files = {"etchnet.v": generate(self.config, technology=technology).verilog, **models()}
        return str(build(self.config, verilog=files))


def forms(seed: int, count: int) -> list[Form]:
    """Return the machines of a campaign: every twelfth shares the iCE40's multipliers, or has those of the ECP5."""
    names = {5: "ice40", 11: "ecp5"}
    machines = random_machines(np.random.default_rng(seed), count)
    return [Form(config, names.get(number % 12, "portable")) for number, config in enumerate(machines)]


def compare(form: Form, one: Session, library: str, report: Report) -> str | None:
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
    report.bits += sum(int(np.unpackbits(e.defined.view(np.uint8)).sum()) for e in one.exchanges)
    report.coverage.add(one, exact, engine.kept_history)
    report.coverage.seen["technology", form.technology] += 1
    return found


def run_seed(form: Form, seed: tuple[int, ...], library: str, report: Report) -> None:
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
    report, start = Report(), time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=os.nice, initargs=(10,)) as pool:
        try:
            for done in as_completed([pool.submit(_chunk, *chunk) for chunk in chunks]):
                report.add(done.result())
                minutes = (time.perf_counter() - start) / 60
                line = f"{report.sessions} of {count}, {len(report.failures)} different, {minutes:.1f} minutes"
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
