"""Mutants that a person has looked at: `known_mutants.txt` says why no test kills them.

An entry is the file and the function, the lines before with ``-`` in front, the lines after with ``+`` in front, and
the reason: ``equivalent:`` with a proof that nothing can differ, or ``survives:`` with why no test is worth it. It is
found by these texts, wherever the lines are. An empty line is between two entries; lines that start with ``#`` are
comments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from support.mutation.operators import Mutant, mutants

EQUIVALENT, SURVIVES = "equivalent", "survives"


class UnknownMutantError(Exception):
    """An entry that fits no mutant, or that is not written as it should be."""


def _stripped(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines())


@dataclass(frozen=True)
class Key:
    """What an entry is found by."""

    path: str
    scope: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    @classmethod
    def of(cls, mutant: Mutant, source: bytes) -> Key:
        before, after = mutant.diff(source)
        return cls(mutant.path, mutant.scope, _stripped(before), _stripped(after))

    def text(self) -> str:
        """Return the entry, without its reason."""
        lines = [f"{self.path} {self.scope}".rstrip(), *(f"- {line}" for line in self.before)]
        return "\n".join([*lines, *(f"+ {line}" for line in self.after)])


def _entry(lines: list[str]) -> tuple[Key, tuple[str, str]]:
    path, _, scope = lines[0].partition(" ")
    before = tuple(line[2:] for line in lines[1:] if line.startswith("- "))
    after = tuple(line[2:] for line in lines[1:] if line.startswith("+ "))
    rest = " ".join(lines[1 + len(before) + len(after) :])
    kind, colon, reason = rest.partition(": ")
    if kind not in (EQUIVALENT, SURVIVES) or not colon or not before or not after:
        raise UnknownMutantError(
            f"{lines[0]}: not an entry: file, function, - before, + after, equivalent: or survives:"
        )
    return Key(path, scope, before, after), (kind, reason)


def read(file: Path, root: Path) -> dict[Key, tuple[str, str]]:
    """Return the entries of a file: kind and reason of each.

    Raises
    ------
    UnknownMutantError
        An entry fits no mutant of the package below `root`: its code has changed, so that its reason must be thought
        over.
    """
    blocks = file.read_text(encoding="utf-8").split("\n\n")
    lines = [[line for line in block.splitlines() if not line.startswith("#")] for block in blocks]
    entries = dict(_entry(block) for block in lines if any(block))
    for path in sorted({key.path for key in entries}):
        source = (root / path).read_bytes() if (root / path).exists() else b""
        exist = {Key.of(mutant, source) for mutant in mutants(path, source)}
        _raise_for(key for key in entries if key.path == path and key not in exist)
    return entries


def _raise_for(keys: Iterable[Key]) -> None:
    for key in keys:
        raise UnknownMutantError(f"no mutant is this any more:\n{key.text()}")
