"""The mutation score: how many small changes of the code the tests notice.

``python -m campaigns.mutants`` in the folder `tests` draws mutants by a seed, runs the tests of each, the nearest
first, and ends with a table; it returns 1 if the score is below 99%. ``--sample 50`` takes the first 50 of them.
`docs/mutation.md` says what counts as killed.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
from pathlib import Path

from support.mutation import known, report
from support.mutation.blocks import BLOCKS, draw
from support.mutation.coverage_map import TestMap
from support.mutation.judge import EQUIVALENT, KILLED, SURVIVED, Result, blank, campaign, judge
from support.mutation.known import Key
from support.mutation.operators import Mutant
from support.mutation.worker import ROOT, Worker

GOAL = 0.99
KNOWN = Path(__file__).with_name("known_mutants.txt")


def cache() -> Path:
    """Return the folder of what is measured once."""
    from etchnet.sim.engines.verilated.cache import cache_folder

    return cache_folder() / "mutants"


class Campaign:
    """Mutants, and the results so far; each is added to a file when it is there."""

    def __init__(self, drawn: list[tuple[str, Mutant]], arguments: argparse.Namespace) -> None:
        self.arguments, self.total = arguments, len(drawn)
        self.known = known.read(KNOWN, ROOT)
        done = {result.key: result for result in report.load(arguments.resume)} if arguments.resume.exists() else {}
        self.results: list[Result] = []
        self.todo: queue.SimpleQueue[tuple[str, Mutant]] = queue.SimpleQueue()
        for block, mutant in drawn:
            result = done.get(blank(block, mutant).key)
            if result is None or self._is_stale(mutant, result):
                self.todo.put((block, mutant))
            else:
                self.results.append(result)
        self.lock, self.start = threading.Lock(), time.monotonic()

    def _is_equivalent(self, mutant: Mutant) -> bool:
        """Return whether the mutant is listed as equivalent."""
        return self.known.get(Key.of(mutant, (ROOT / mutant.path).read_bytes()), ("", ""))[0] == EQUIVALENT

    def _is_stale(self, mutant: Mutant, result: Result) -> bool:
        """Return whether a result does not count any more."""
        listed = self._is_equivalent(mutant) != (result.outcome == EQUIVALENT)
        return listed or (self.arguments.again and result.outcome == SURVIVED)

    def _judge(self, worker: Worker, tests: TestMap, block: str, mutant: Mutant) -> Result:
        """Judge a mutant; one that is listed as equivalent must only not be killed by the nearest tests."""
        equivalent = self._is_equivalent(mutant)
        arguments = self.arguments
        result = judge(worker, tests, block, mutant, budget=arguments.budget, stages=1 if equivalent else 2)
        if equivalent and result.outcome == KILLED:
            message = f"listed as equivalent, but killed by {result.test}"
            raise known.UnknownMutantError(f"{message}:\n{report.survivor(result)}")
        if equivalent:
            result.outcome = EQUIVALENT
        elif result.outcome == SURVIVED and arguments.campaign:
            campaign(worker, tests, mutant, result, budget=arguments.campaign_budget)
        return result

    def work(self, tests: TestMap, errors: list[BaseException]) -> None:
        """Judge mutants until there are no more."""
        try:
            with Worker(cache() / "machines") as worker:
                while not errors:
                    block, mutant = self.todo.get_nowait()
                    self._add(self._judge(worker, tests, block, mutant))
        except queue.Empty:
            pass
        except BaseException as error:
            errors.append(error)

    def _add(self, result: Result) -> None:
        with self.lock:
            self.results.append(result)
            self.arguments.resume.parent.mkdir(parents=True, exist_ok=True)
            with self.arguments.resume.open("a", encoding="utf-8") as file:
                print(json.dumps(result.as_dict()), file=file)
            spent, score = time.monotonic() - self.start, 100 * report.score(self.results)
            where = f"{result.path}:{result.line} {result.operator}"
            line = f"{len(self.results)} of {self.total}, {score:.1f}%, {spent:.0f} s: {result.outcome}, {where}"
            print(line, file=sys.stderr, flush=True)


def run(drawn: list[tuple[str, Mutant]], arguments: argparse.Namespace) -> Campaign:
    """Judge the mutants in `arguments.jobs` copies of the package."""
    made = Campaign(drawn, arguments)
    if made.todo.empty():
        return made
    below = arguments.tests or ["tests"]
    tests = TestMap.measured(cache(), below, arguments.jobs, lambda line: print(line, file=sys.stderr, flush=True))
    errors: list[BaseException] = []
    threads = [threading.Thread(target=made.work, args=(tests, errors)) for _ in range(arguments.jobs)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt as stop:
        errors.append(stop)  # the mutants at work are finished, and their copies removed
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return made


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m campaigns.mutants", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--seed", type=int, default=17, help="which mutants are drawn (default: %(default)s)")
    add("--count", type=int, default=700, help="number of mutants, at least 20 of each block (default: %(default)s)")
    add("--block", action="append", choices=BLOCKS, metavar="NAME", help="only this block; can be repeated")
    add("--sample", type=int, metavar="N", help="only the first N of the mutants, which are in random order")
    add("--jobs", type=int, default=2, help="copies of the package that are tested at once (default: %(default)s)")
    add("--tests", action="append", metavar="PATH", help="only tests below this path; can be repeated")
    add(
        "--budget",
        type=float,
        default=120,
        metavar="SECONDS",
        help="CPU time for the tests of a mutant (default: %(default)s)",
    )
    add("--campaign", action="store_true", help="let survivors also pass the tests marked as campaigns")
    add("--campaign-budget", type=float, default=600, metavar="SECONDS", help="for these (default: %(default)s)")
    add("--resume", type=Path, metavar="FILE", help="JSON lines of results: go on after these (default: in the cache)")
    add("--again", action="store_true", help="judge the survivors of the file again")
    add("--write", action="store_true", help="write the tables of docs/mutation.md")
    return parser


def main() -> int:
    """Run the command; returns 1 if the score is below `GOAL`."""
    arguments = _parser().parse_args()
    blocks = [block for block in BLOCKS if not arguments.block or block in arguments.block]
    drawn = draw(ROOT, arguments.seed, arguments.count, blocks)[: arguments.sample]
    arguments.resume = arguments.resume or cache() / f"results-{arguments.seed}.jsonl"
    done = run(drawn, arguments)
    for result in sorted(done.results, key=lambda result: (result.path, result.line)):
        if result.outcome == SURVIVED:
            print(report.survivor(result))
    print(report.text(done.results, blocks))
    if arguments.write:
        about = f"Seed {arguments.seed}, {len(done.results)} mutants, up to {arguments.budget:.0f} s of tests for each:"
        report.write_page(done.results, blocks, done.known, about)
    return int(report.score(done.results) < GOAL)


if __name__ == "__main__":
    sys.exit(main())
