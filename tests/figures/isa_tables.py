"""The tables of docs/isa.md, from the code.

``python tests/isa_tables.py`` writes them into the page.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from etchnet.hdl.isa import Counter, Drain, Instruction, Parameters, Pass, RunCommand, Target
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import manifest

PAGE = Path(__file__).parents[2] / "docs" / "isa.md"
BLOCK = re.compile(r"(?<=<!-- table: )(\w+)( -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)


def table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, without padding."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def bits(first: int, count: int) -> str:
    """A range of bits, as in Verilog."""
    return f"{first + count - 1}:{first}" if count > 1 else str(first)


def fields(instruction: type[Instruction]) -> str:
    """One memory word."""
    described = instruction.describe(Config())
    rows = [(f"`{name}`", bits(first, count), doc) for name, first, count, doc in described]
    return table(("field", "bits", "meaning"), rows)


def run() -> str:
    """A run command: a link word per field, each from bit 0."""
    described = enumerate(RunCommand.describe(Config()))
    rows = [(word, f"`{name}`", bits(0, count), doc) for word, (name, _, count, doc) in described]
    return table(("word", "field", "bits", "meaning"), rows)


def member_docs(cls: type) -> dict[str, str]:
    """The strings behind the members of a class, by name of the member."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for member, doc in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
            (name,) = member.targets
            assert isinstance(name, ast.Name)
            docs[name.id] = str(doc.value.value)
    return docs


def counters() -> str:
    """The counters in the order in which they are sent, each as two words of 32 bits."""
    docs = member_docs(Counter)
    rows = [(f"{2 * c}, {2 * c + 1}", f"`{c.name}`", docs[c.name]) for c in Counter]
    return table(("words", "counter", "meaning"), rows)


def targets() -> str:
    """What packets carry, with the sizes of the memory behind each target."""
    memories = manifest(Config())["memories"]
    rows = []
    for target in Target:
        memory = memories.get(target.name.lower())
        sizes = [memory[key] for key in ("words", "bits", "link_words_per_word")] if memory else ["-", "-", "-"]
        if target is Target.RUN:
            sizes = [len(RunCommand.describe(Config())), 32, 1]
        rows.append((int(target), f"`{target.name}`", *sizes))
    return table(("value", "target", "memory words", "bits of each", "link words of each"), rows)


def tables() -> dict[str, str]:
    """Every table by its name in the page."""
    return {
        "pass": fields(Pass),
        "drain": fields(Drain),
        "parameters": fields(Parameters),
        "run": run(),
        "counters": counters(),
        "targets": targets(),
    }


def found(page: str) -> dict[str, str]:
    """The tables that a page has between its marks."""
    return {name: text for name, _, text in BLOCK.findall(page)}


def write(page: Path, made: dict[str, str]) -> None:
    """Put tables into a page, by the names in its marks."""
    text = BLOCK.sub(lambda block: block[1] + block[2] + made[block[1]], page.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(PAGE, tables())
