"""Output of the commands: progress on stderr, and tables, JSON and short texts on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from etchnet.hdl.isa.config import Config

__all__ = ["machine_text", "plural", "print_json", "print_table", "progress", "shares_text"]

_SHOWN = 0.0005
"""smallest share of a slot class that is printed"""


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[..., None]]:
    """Show a progress line on stderr; yields a function that takes a text and, if known, the finished share, 0 to 1.

    Nothing is shown with `quiet`, or if stderr is not a terminal.
    """
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def report(text: str, share: float | None = None) -> None:
            if share is None:
                bar.update(task, description=text, total=None)
            else:
                bar.update(task, description=text, total=1.0, completed=share)

        yield report


def print_json(result: Any) -> None:
    """Print one JSON object and nothing else."""
    click.echo(json.dumps(result, allow_nan=False))


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    width: int = 100,
    left: Collection[int] = (0,),
    widest: int | None = None,
) -> None:
    """Print a table without rules, at most `width` characters wide.

    Parameters
    ----------
    left
        Indices of the columns that are aligned left; all others are aligned right.
    widest
        Width in characters to which cells are truncated. By default cells wrap if the table is too wide.
    """
    table = Table(box=None, pad_edge=False, header_style="")
    for index, heading in enumerate(headings):
        justify: Any = "left" if index in left else "right"
        table.add_column(Text(heading), justify=justify, max_width=widest, no_wrap=widest is not None)
    for row in rows:
        # Names in a model may contain brackets, which are not rich's markup.
        table.add_row(*map(Text, row))
    Console(width=width, highlight=False).print(table)


def machine_text(config: Config) -> str:
    """Return a machine's shape in words."""
    return f"{config.rows} x {config.columns} array, W = {config.weight_rows}, {config.requantisers} requantisers"


def shares_text(shares: Mapping[str, float]) -> str:
    """Return shares by class in words, without those that would print as nothing."""
    return ", ".join(f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares.items() if share >= _SHOWN)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, such as `1 input` or `1,024 inputs`."""
    return f"{count:,} {noun}{'s'[: count != 1]}"
