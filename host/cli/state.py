"""`etchnet state`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etchnet.hdl.isa import Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.cli.options import (
    MODEL_HELP,
    UsageError,
    compiled_for,
    input_option,
    json_option,
    machine_options,
    refuse,
)
from etchnet.host.cli.output import print_json, progress
from etchnet.host.cli.subject import product_options, subject

if TYPE_CHECKING:
    from etchnet.host.reports.state import StateReport

__all__ = ["state"]

_DECIMAL_BITS = 64
"""largest width that is also printed in decimal; wider registers consist of several lanes"""
_NAME_LENGTH = 60


@click.command(epilog=MODEL_HELP)
@click.argument("model")
@click.option("--cycle", type=click.IntRange(0), help="Cycle of the run, from 0; needed unless --list is given.")
@click.option("--element", metavar="ROW,COLUMN", help="Element of the array to explain.  [0,0]")
@click.option(
    "--register",
    "registers",
    multiple=True,
    metavar="NAME",
    help="Register, field or memory word to show: NAME, NAME.FIELD or NAME[WORD]; repeatable.",
)
@click.option("--list", "listed", is_flag=True, help="Only list the names of all registers and memories.")
@input_option("Inputs, processed one at a time", default="one random input")
@product_options
@machine_options
@json_option
def state(
    model: str,
    config: Config,
    cycle: int | None,
    element: str | None,
    registers: Sequence[str],
    listed: bool,
    source: Sequence[Path],
    limits: tuple[float, float] | None,
    as_json: bool,
    **product: Any,
) -> None:
    """Show what the chip holds in one cycle of a model's run.

    The state is computed in closed form, without simulating the cycles before it. MODEL may also be "gemm", a product
    of random matrices, or of --a and --b.
    """
    from etchnet.host.reports.state import ModelRun

    if listed:
        refuse(
            "with --list, which lists all names", "cycle", "element", "registers", "source", "limits", "a", "b", "size"
        )
    elif cycle is None:
        raise UsageError("--cycle is missing: give a cycle of the run, from 0")
    with progress(quiet=as_json) as report:
        report(f"loading {model}")
        what = subject(model, config, source=source, limits=limits, **product)
        where = _element(element or "0,0", what.config)
        report("compiling")
        program = compiled_for(what.config, what.model.network, batch=what.batch, once=what.once)
        run = ModelRun(what.model, program, what.x, report=report)
        if cycle is not None and cycle >= run.cycles:
            raise UsageError(
                f"--cycle must be from 0 to {run.cycles - 1}, not {cycle}: the run takes {run.cycles} cycles"
            )
        if cycle is None:
            names = run.names()
            print_json(names) if as_json else click.echo("\n".join(names))
            return
        report("computing the state")
        try:
            found = run.at(cycle, registers=registers, element=where if element or not registers else None)
        except ValueError as error:
            raise UsageError(f"{str(error).partition(';')[0]}: --list shows all names") from None
    if as_json:
        print_json(found.to_dict())
    else:
        _print_registers(found)
        _print_element(found)


def _element(text: str, config: Config) -> tuple[int, int]:
    """Parse ROW,COLUMN, the position of an element in the array."""
    row, _, column = text.partition(",")
    if not (row.isdecimal() and column.isdecimal() and int(row) < config.rows and int(column) < config.columns):
        raise UsageError(
            f"--element must be ROW,COLUMN with ROW below {config.rows} and COLUMN below {config.columns}, not {text!r}"
        )
    return int(row), int(column)


def _print_registers(found: StateReport) -> None:
    run, config = found.run, found.run.config
    click.echo(
        f"{run.model.name} on a {config.rows} x {config.columns} array: cycle {found.cycle:,} of a run of "
        f"{run.cycles:,}, {found.cycle_since_reset:,} since reset"
    )
    for register, value in found.registers.items():
        width = run.machine.width(register)
        decimal = f"{value} = " if width <= _DECIMAL_BITS else ""
        click.echo(f"{register} = {decimal}{value & (1 << width) - 1:#0{2 + ceil_div(width, 4)}x}")


def _print_element(report: StateReport) -> None:
    found, label = report.found, report.label
    if found is None or report.element is None:
        return
    row, column = report.element
    click.echo(
        f"element ({row}, {column}) multiplies {found.operand} x {found.weight}; the sum down to it is then "
        f"{found.sum:,}"
    )
    if found.work is None or label is None:
        click.echo("no pass has begun: everything is zero")
        return
    p, name = found.work, report.layer_name
    short = name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}..."
    click.echo(
        f"pass {found.number} of {len(report.run.program.passes)}, input {found.repeat}: layer {label.layer} {short}, "
        f"tap {label.tap}, input word {label.word}, column tile {label.tile}"
    )
    memory = "input memory" if p.source == Source.INPUT else "activation memory"
    if found.pixel < 0:
        click.echo("operand: none; no pixel of the pass is in this element")
    elif found.word < 0:
        click.echo(f"operand: pixel {found.pixel} of {p.pixels}, outside the image: the pad value")
    else:
        click.echo(
            f"operand: pixel {found.pixel} of {p.pixels}, byte {found.byte} of word {found.word} of the {memory}"
        )
    stored = f", byte {found.weight_byte} of weight word {found.weight_word}" if found.weight_word >= 0 else ""
    click.echo(f"weight: {TileKind(p.kind).name.lower()} tile{stored}")
    click.echo(
        f"the column's sum goes to row {found.accumulator} of bank {p.bank}"
        if found.accumulator >= 0
        else "the column's sum is not used"
    )
