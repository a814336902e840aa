"""Tables of results: for the terminal and for the page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from figures.tables import DOCS, table, write
from support.mutation.child import KILLED
from support.mutation.judge import EQUIVALENT, OUTCOMES, SURVIVED, Result
from support.mutation.known import Key

PAGE = DOCS / "mutation.md"
HEADING = ["block", "mutants", *OUTCOMES, "score"]


def score(results: Sequence[Result]) -> float:
    """Return the share of killed mutants among those that were killed or survived; 1 if there are none."""
    counts = Counter(result.outcome for result in results)
    decided = counts[KILLED] + counts[SURVIVED]
    return counts[KILLED] / decided if decided else 1.0


def rows(results: Sequence[Result], blocks: Sequence[str]) -> list[list[str]]:
    """Return the row of each block, and that of all."""
    parts = [(block, [result for result in results if result.block == block]) for block in blocks]
    made = []
    for name, part in [*((name, part) for name, part in parts if part), ("all", list(results))]:
        counts = Counter(result.outcome for result in part)
        # Rounded down, so that only a full score is shown as one.
        share = f"{int(1000 * score(part) + 1e-9) / 10:.1f}%"
        made.append([name, str(len(part)), *(str(counts[outcome]) for outcome in OUTCOMES), share])
    return made


def text(results: Sequence[Result], blocks: Sequence[str]) -> str:
    """Return the table for a terminal."""
    lines = [HEADING, *rows(results, blocks)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADING))]
    names = [line[0].ljust(widths[0]) for line in lines]
    numbers = [[cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)] for line in lines]
    return "\n".join("  ".join([name, *cells]) for name, cells in zip(names, numbers, strict=True))


def survivor(result: Result) -> str:
    """Return a survivor, for a person who looks for the missing test."""
    key = Key(result.path, result.scope, tuple(result.before.splitlines()), tuple(result.after.splitlines()))
    tests = f"{result.ran} tests ran" + (f", {result.left} did not for want of time" if result.left else "")
    where = f"{result.block}, {result.path}:{result.line} ({result.operator})"
    return f"{where}: {tests if result.covered else 'no test runs it'}\n{key.text()}\n"


def write_page(
    results: Sequence[Result], blocks: Sequence[str], known: Mapping[Key, tuple[str, str]], about: str
) -> None:
    """Write the tables of the page: scores, equivalent mutants and survivors, with their reasons."""
    made = {"mutants": about + "\n\n" + table(HEADING, rows(results, blocks))}
    for name, outcome in (("equivalent", EQUIVALENT), ("survivors", SURVIVED)):
        found = sorted((r for r in results if r.outcome == outcome), key=lambda r: (r.path, r.line))
        lines = [[f"`{r.path}`: `{r.scope}`", _code(r.before), _code(r.after), _reason(r, known)] for r in found]
        made[name] = table(["where", "before", "after", "reason"], lines) if lines else "None.\n"
    write(PAGE, made)


def _code(text: str) -> str:
    line = text.splitlines()[0] + (" …" if "\n" in text else "")
    return "`` " + line.replace("|", "\\|") + " ``"


def _reason(result: Result, known: Mapping[Key, tuple[str, str]]) -> str:
    lines = (tuple(line.strip() for line in text.splitlines()) for text in (result.before, result.after))
    return known.get(Key(result.path, result.scope, *lines), ("", "not looked at yet"))[1].replace("|", "\\|")


def load(file: Path) -> list[Result]:
    """Return the results of a file of JSON lines."""
    return [Result(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
