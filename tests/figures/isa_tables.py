"""The tables of docs/isa.md, from the code.

``nox -s figures`` writes them into the page.
"""

from __future__ import annotations

from figures.tables import DOCS, bits, member_docs, table, write

from etchnet.hdl.isa import Counter, Drain, Header, Instruction, Parameters, Pass, RunCommand, Target
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.manifest import manifest

PAGE = DOCS / "isa.md"


def fields(instruction: type[Instruction]) -> str:
    """Return the fields of a memory word."""
    described = instruction.describe(Config())
    rows = [(f"`{name}`", bits(first, count), doc) for name, first, count, doc in described]
    return table(("field", "bits", "meaning"), rows)


def run() -> str:
    """Return the fields of a run command: a link word per field, each from bit 0."""
    described = enumerate(RunCommand.describe(Config()))
    rows = [(word, f"`{name}`", bits(0, count), doc) for word, (name, _, count, doc) in described]
    return table(("word", "field", "bits", "meaning"), rows)


def counters() -> str:
    """Return the counters in the order in which they are sent, each as two words of 32 bits."""
    docs = member_docs(Counter)
    rows = [(f"{2 * c}, {2 * c + 1}", f"`{c.name}`", docs[c.name]) for c in Counter]
    return table(("words", "counter", "meaning"), rows)


def targets() -> str:
    """Return the targets of packets, with the size of the memory of each."""
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
    """Return every table by its name in the page."""
    return {
        "pass": fields(Pass),
        "drain": fields(Drain),
        "parameters": fields(Parameters),
        "header": fields(Header),
        "run": run(),
        "counters": counters(),
        "targets": targets(),
    }


if __name__ == "__main__":
    write(PAGE, tables())
