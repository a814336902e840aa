"""Which tests run which lines, and how long each takes: measured once, and again where files have changed."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.mutation.child import PASSED
from support.mutation.operators import Mutant
from support.mutation.worker import ROOT, Worker

LONGEST = 900.0
"""seconds after which a test file is given up"""


def _digest(name: str) -> str:
    path = ROOT / name
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else ""


@dataclass
class TestMap:
    """The seconds of every test, and the tests of every line of every file."""

    __test__ = False

    seconds: dict[str, float]
    lines: dict[str, dict[int, set[str]]]

    @classmethod
    def measured(
        cls, folder: Path, below: Sequence[str] = ("tests",), jobs: int = 1, say: Callable[[str], None] = print
    ) -> TestMap:
        """Run every default test `below` some paths once; `folder` keeps what was found until a used file changes."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("test_*.py"))]
        files = [path.as_posix() for path in paths if any(path.is_relative_to(part) for part in below)]
        kept = {name: folder / f"{name.removesuffix('.py').replace('/', '.')}.json" for name in files}
        missing = [name for name in files if not _is_current(kept[name])]
        waiting, done, start = iter(missing), itertools.count(1), time.monotonic()

        def measure(_: int) -> None:
            with Worker(root=ROOT) as worker:
                for name in waiting:  # shared with the other threads; a list's iterator gives each item once
                    machines = {"cache": folder / "machines", "files": [name], "coverage": True}
                    events = worker.run({}, seconds=LONGEST, **machines)
                    kept[name].write_text(json.dumps(_checked(events, name, worker)))
                    spent = time.monotonic() - start
                    say(f"coverage: {next(done)} of {len(missing)} test files, {spent:.0f} s, {name}")

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(measure, range(min(jobs, len(missing)))))
        result = cls({}, {})
        for file in kept.values():
            result._add(json.loads(file.read_text())["events"])
        return result

    def _add(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            if "file" in event:
                lines = self.lines.setdefault(event["file"], {})
                for test, numbers in event["lines"].items():
                    for number in numbers:
                        lines.setdefault(number, set()).add(test)
            else:
                self.seconds[event["test"]] = event["seconds"]

    def tests(self, mutant: Mutant) -> list[str]:
        """Return the tests of a mutant: first those that run its statement, then those that run other code of the file.

        The latter are tests that may get a result of the statement from a cache, or from the import of the file. Both
        are ordered by nearness: first the tests in the file named after the mutant's, then by seconds.
        """
        lines = self.lines.get(mutant.path, {})
        first, last = mutant.lines
        covering = set().union(*(tests for line, tests in lines.items() if first <= line <= last))
        others = set().union(*lines.values()) - covering
        return [*self._ordered(covering, mutant.path), *self._ordered(others, mutant.path)]

    def covers(self, mutant: Mutant) -> bool:
        """Return whether a test runs the mutant's statement; of one that runs on import, whether one uses its file."""
        lines = self.lines.get(mutant.path, {})
        return any(not mutant.scope or mutant.lines[0] <= line <= mutant.lines[1] for line in lines)

    def _ordered(self, tests: Iterable[str], path: str) -> list[str]:
        stem, folder = Path(path).stem, f"tests/{Path(path).parent.as_posix()}/"

        def distance(test: str) -> tuple[int, float, str]:
            file = test.split("::")[0]
            inside, named = file.startswith(folder), Path(file).stem == f"test_{stem}"
            return 2 - inside - (inside and named), self.seconds[test], test

        return sorted((test for test in tests if test in self.seconds), key=distance)


def _is_current(kept: Path) -> bool:
    """Return whether all files that were used are what they were."""
    return kept.exists() and all(_digest(name) == old for name, old in json.loads(kept.read_text())["used"].items())


def _checked(events: list[dict[str, Any]], name: str, worker: Worker) -> dict[str, Any]:
    """Return the used files and the events of a test file; failing tests are left out, as they cannot tell anything."""
    if any("overdue" in event for event in events) or not events:
        raise RuntimeError(f"{name}: its tests did not end\n{worker.log[-2000:]}")
    used = {name, *(event["file"] for event in events if "file" in event and "/mutation/" not in event["file"])}
    kept = [event for event in events if event.get("outcome", PASSED) == PASSED and event.get("lines") != {}]
    return {"used": {file: _digest(file) for file in sorted(used)}, "events": kept}
