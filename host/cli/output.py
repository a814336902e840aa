"""Output of the commands: progress on stderr, and tables, JSON and short texts on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from etchnet.hdl.isa.config import Config

if TYPE_CHECKING:
    from etchnet.host.reports.cpu import Cpu
    from etchnet.host.reports.stopwatch import Timing

__all__ = [
    "in_unicode",
    "machine_text",
    "measured_text",
    "plural",
    "print_json",
    "print_table",
    "progress",
    "rate_text",
    "shares_text",
    "time_text",
]

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


def rate_text(timing: Timing | None) -> str:
    """Return how many inputs a second a runtime computes, with the spread of its times; a dash if it was not timed."""
    return "-" if timing is None else f"{1 / timing.median:,.0f} {_spread(timing)}"


def time_text(timing: Timing | None) -> str:
    """Return a time in milliseconds with its spread; a dash if it was not measured."""
    return "-" if timing is None else f"{timing.median * 1e3:.4g} {_spread(timing)}"


def _spread(timing: Timing) -> str:
    share = timing.spread / timing.median
    return f"{_plus_minus()}{share:3.0%}" if share < 1 else f"{_plus_minus()}>99%"


def measured_text(cpu: Cpu) -> str:
    """Explain the figures of `rate_text` and `time_text`, measured on a CPU."""
    return f"measured: the median of repeated calls {_plus_minus()} half the distance between their quartiles\n{cpu}"


def _plus_minus() -> str:
    return "±" if in_unicode() else "+-"


def in_unicode() -> bool:
    """Return whether standard output takes characters outside ASCII."""
    return (getattr(sys.stdout, "encoding", None) or "ascii").lower().startswith("utf")


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, such as `1 input` or `1,024 inputs`."""
    return f"{count:,} {noun}{'s'[: count != 1]}"
