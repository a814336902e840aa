"""The longest files and functions of the package: ``nox -s longest``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from support.wings import ROOT, sources


def files() -> list[tuple[int, str]]:
    """Lines and path of every file, longest first."""
    found = [(len(path.read_text().splitlines()), path.relative_to(ROOT).as_posix()) for path in sources()]
    return sorted(found, reverse=True)


def functions() -> list[tuple[int, str]]:
    """Lines, and path with name, of every function, longest first."""
    return sorted((each for path in sources() for each in _functions(path)), reverse=True)


def _functions(path: Path) -> Iterator[tuple[int, str]]:
    def walk(node: ast.AST, outer: str) -> Iterator[tuple[int, str]]:
        for child in ast.iter_child_nodes(node):
            name = getattr(child, "name", None)
            inner = f"{outer}.{name}" if outer and name else name or outer
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                assert child.end_lineno is not None
                where = path.relative_to(ROOT).as_posix()
                yield child.end_lineno - child.lineno + 1, f"{where}: {inner}"
            yield from walk(child, inner if isinstance(child, ast.ClassDef | ast.FunctionDef) else outer)

    return walk(ast.parse(path.read_text()), "")


def main() -> None:
    """Print both lists."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    for heading, lines in (("files", files()), ("functions", functions())):
        print(f"the longest {heading}")
        for length, where in lines[:count]:
            print(f"{length:6} {where}")


if __name__ == "__main__":
    main()
