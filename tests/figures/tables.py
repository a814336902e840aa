"""Tables of the docs that follow from the code: made here, and put between the marks of a page.

A page marks the table NAME by ``<!-- table: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"(?<=<!-- table: )(\w+)( -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)


def table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table, without padding."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def bits(first: int, count: int) -> str:
    """Return a range of bits, as in Verilog."""
    return f"{first + count - 1}:{first}" if count > 1 else str(first)


def member_docs(cls: type) -> dict[str, str]:
    """Return the docstrings of the members of a class, by name of the member."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for member, doc in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
            (name,) = member.targets
            assert isinstance(name, ast.Name)
            docs[name.id] = str(doc.value.value)
    return docs


def found(page: str) -> dict[str, str]:
    """Return the tables that a page has between its marks."""
    return {name: text for name, _, text in BLOCK.findall(page)}


def write(page: Path, made: dict[str, str]) -> None:
    """Put tables into a page, by the names in its marks."""
    text = BLOCK.sub(lambda block: block[1] + block[2] + made[block[1]], page.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")
