"""A reader of the value change dumps that Amaranth's simulator writes, with a declaration or a change per line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

SCOPE = ("bench", "top")


def snapshots(path: Path, times: Sequence[int]) -> Iterator[dict[str, int]]:
    """Yield the bits of every signal and memory row, by hierarchical name, at each of some ascending times.

    pyvcd's own reader does not support names that begin with a dollar sign, which the ports of memories have.
    """
    scope: list[str] = []
    names: dict[str, list[str]] = {}
    values: dict[str, int] = {}
    wanted = list(times)
    with path.open() as file:
        for line in file:
            if line[0] in "01b":
                bits, code = line[1:].split() if line[0] == "b" else (line[0], line[1:-1])
                values[code] = int(bits, 2)
            elif line[0] == "#":
                while wanted and int(line[1:]) > wanted[0]:
                    wanted.pop(0)
                    yield {name: value for code, value in values.items() for name in names.get(code, ())}
            elif line.startswith("$scope"):
                scope.append(line.split()[2])
            elif line.startswith("$upscope"):
                scope.pop()
            elif line.startswith("$var") and tuple(scope[: len(SCOPE)]) == SCOPE:
                _, kind, _, code, name, _ = line.split()
                if kind == "wire":
                    names.setdefault(code, []).append(".".join([*scope[len(SCOPE) :], name.removeprefix("\\")]))
    for _ in wanted:
        yield {name: value for code, value in values.items() for name in names.get(code, ())}


def changes(path: Path, scope: str, name: str) -> list[int]:
    """Return the successive values of a register of a module, from the file of any simulator."""
    inside: list[str] = []
    code, found = None, []
    for line in path.read_text().splitlines():
        fields = line.split()
        if not fields:
            continue
        if fields[0] == "$scope":
            inside.append(fields[2])
        elif fields[0] == "$upscope":
            inside.pop()
        elif fields[0] == "$var" and inside and inside[-1] == scope and fields[4] == name:
            code = fields[3]
        elif fields[-1] == code and fields[0][0] == "b":
            value = int(fields[0][1:], 2)
            found += [value] if not found or found[-1] != value else []
    return found
