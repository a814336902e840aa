"""Command lines in README and pages name commands and options that exist."""

import re
import shlex
from pathlib import Path

import click
import pytest

from etchnet.host.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def lines(page):
    """Return the command lines of a page's shell blocks and of its inline code."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    found = [line for block in blocks for line in block.splitlines()]
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found += [" ".join(code.split()) for code in re.findall(r"`(etchnet [^`]*)`", rest)]
    parts = (part.strip() for line in found for part in re.split(r"&&|\||#", line))
    return [part for part in parts if part.startswith("etchnet ")]


CASES = sorted({line for page in PAGES for line in lines(page)})


@pytest.mark.parametrize("line", CASES)
def test_a_command_line_names_what_exists(line):
    command, context = main.cli, click.Context(main.cli)
    words = shlex.split(re.sub(r"[\[\]]", "", line))[1:]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None and command.name == "bench":
            found = command.get_command(context, "model")
        if words[0] in ("COMMAND", "…", "..."):
            return
        assert found is not None, f"there is no command {words[0]!r}"
        command, words = found, words[1:]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert given <= options | {"-h", "--help", "--version"}
