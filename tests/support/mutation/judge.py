"""The outcome of a mutant: which of its tests notices it, and how."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from support.mutation.child import CRASHED, DOUBTS, KILLED, PASSED, SETTLE, TIMED_OUT
from support.mutation.coverage_map import TestMap
from support.mutation.operators import Mutant
from support.mutation.worker import ROOT, Worker

SURVIVED, EQUIVALENT = "survived", "equivalent"
OUTCOMES = (KILLED, CRASHED, TIMED_OUT, EQUIVALENT, SURVIVED)
GIVEN_UP = 5
"""tests that may crash, each of those that take too long for three, before a mutant counts as crashed or timed out"""
WALL = 8
"""seconds that may pass for each second of CPU time, on a computer that does other things too"""
_FIRST = 4.0
"""seconds of the tests that run before all others are collected"""


@dataclass
class Result:
    """What became of a mutant."""

    block: str
    path: str
    line: int
    scope: str
    operator: str
    before: str
    after: str
    outcome: str
    test: str = ""
    text: str = ""
    """the test that decided, and its error"""
    ran: int = 0
    left: int = 0
    """numbers of its tests that ran, and that the time did not suffice for"""
    covered: bool = True
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, ...]:
        """What tells a result from others."""
        return self.path, self.scope, self.before, self.after

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def blank(block: str, mutant: Mutant, root: Path = ROOT) -> Result:
    """Return the result of a mutant before any test ran."""
    source = (root / mutant.path).read_bytes()
    where = mutant.path, mutant.line(source), mutant.scope, mutant.operator
    return Result(block, *where, *mutant.diff(source), SURVIVED)


def _stages(tests: list[str], seconds: dict[str, float], budget: float) -> Iterator[dict[str, float]]:
    """Yield the first few tests, then all others that fit into the budget."""
    stage, spent = {}, 0.0
    for test in tests:
        spent += seconds[test]
        if spent > budget and stage:
            break
        if stage and spent > _FIRST and spent - seconds[test] <= _FIRST:
            yield stage
            stage = {}
        stage[test] = seconds[test]
    if stage:
        yield stage


def judge(worker: Worker, tests: TestMap, block: str, mutant: Mutant, *, budget: float, stages: int = 2) -> Result:
    """Run the tests of a mutant, the nearest first, until one decides; `budget` limits their CPU time in seconds."""
    result, start = blank(block, mutant, worker.root), time.monotonic()
    ordered = tests.tests(mutant)
    result.covered, result.left = tests.covers(mutant), len(ordered)
    doubts: list[tuple[str, str, str]] = []
    weight = 0
    with worker.changed(mutant):
        for _, stage in zip(range(stages), _stages(ordered, tests.seconds, budget), strict=False):
            left = SETTLE + WALL * budget - (time.monotonic() - start)
            events = worker.run(stage, seconds=max(left, 1.0), doubts=GIVEN_UP - weight)
            doubts += _note(result, stage, events)
            weight = sum(DOUBTS[kind] for kind, _, _ in doubts)
            if result.outcome == KILLED or weight >= GIVEN_UP or left < 1:
                break
    if result.outcome != KILLED and doubts:
        result.outcome, result.test, result.text = doubts[0]
    result.seconds = time.monotonic() - start
    return result


def _note(result: Result, stage: dict[str, float], events: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Add events to a result; return the tests that crashed or took too long: kind, test, and error."""
    doubts = []
    waiting = dict(stage)
    for event in events:
        if "overdue" in event:
            running, limit = next(iter(waiting.items()), ("", 0.0))
            if running and event["idle"] > SETTLE + 10 * limit:
                doubts.append((TIMED_OUT, running, f"no end after {event['idle']:.0f} s"))
            continue
        waiting.pop(event["test"], None)
        result.ran += 1
        result.left -= 1
        if event["outcome"] == KILLED:
            result.outcome, result.test, result.text = KILLED, event["test"], event["text"]
        elif event["outcome"] != PASSED:
            doubts.append((event["outcome"], event["test"], event["text"]))
    return doubts


def campaign(worker: Worker, tests: TestMap, mutant: Mutant, result: Result, *, budget: float) -> None:
    """Run the campaigns in the files that have tests of the mutant, and change the result if one decides."""
    files = dict.fromkeys(test.split("::")[0] for test in tests.tests(mutant))
    files = [file for file in files if "mark.campaign" in (worker.root / file).read_text(encoding="utf-8")]
    if not files:
        return
    with worker.changed(mutant):
        events = worker.run({}, seconds=budget, doubts=1, files=files, options=["-m", "campaign"])
    decided = [event for event in events if event.get("outcome", PASSED) != PASSED]
    if decided:
        result.outcome, result.test, result.text = (decided[-1][name] for name in ("outcome", "test", "text"))
