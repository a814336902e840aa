"""`etchnet state`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from etchnet.hdl.isa import Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.cli.options import UsageError, json_option, machine_for, machine_options, print_json, progress
from etchnet.host.driver.driver import Accelerator
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.state.machine import MachineState

__all__ = ["state"]

_DECIMAL_BITS = 64
"""wider registers are several lanes, and their value as one number says nothing"""
_NAME_LENGTH = 60


@click.command()
@click.argument("model")
@machine_options
@click.option("--cycle", type=click.IntRange(0), required=True, help="Cycle of the run, from 0.")
@click.option("--element", metavar="ROW,COLUMN", help="What an element of the array does in that cycle.  [0,0]")
@click.option(
    "--register",
    "registers",
    multiple=True,
    metavar="NAME",
    help="A register, a field of one, or a memory's word: NAME, NAME.FIELD, NAME[WORD]; may be repeated.",
)
@click.option("--list", "listed", is_flag=True, help="List the registers and memories instead.")
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Inputs, that go through one at a time: .npy, .txt, .csv, or a picture.  [one random input]",
)
@json_option
def state(
    model: str,
    config: Config,
    cycle: int,
    element: str | None,
    registers: Sequence[str],
    listed: bool,
    source: Path | None,
    as_json: bool,
) -> None:
    """Say what the chip holds in one cycle of a run of MODEL: in closed form, without stepping there."""
    from etchnet.host.importers.load import load_input, load_model
    from etchnet.host.reports.compare import default_inputs

    loaded = load_model(model)
    config = machine_for(config, loaded.network)
    row, column = _element(element or "0,0", config)
    x = load_input(source, loaded) if source else default_inputs(loaded, 1)
    with progress(quiet=as_json) as report:
        report("compiling and running")
        engine = ExactEngine(config, history=True)
        accelerator = Accelerator(engine=engine)
        program = accelerator.load(loaded.network)
        accelerator.run(x)
        assert engine.history is not None
        machine, run = MachineState.of(engine), engine.history.runs[0]
        # The cycle that takes the run from the loader is not yet one of its own.
        first = run.start + 1
        if (length := run.finish - run.start) <= cycle:
            raise UsageError(f"--cycle must be from 0 to {length - 1}, as the run takes {length} cycles, not {cycle}")
        if listed:
            names = [*machine.registers(), *(f"{name}[0..{size - 1}]" for name, size in machine.memories().items())]
            print_json(names) if as_json else click.echo("\n".join(names))
            return
        report("looking")
        try:
            values = {name: machine.value(name, first + cycle) for name in registers}
        except ValueError as error:
            raise UsageError(f"{error}: --list lists them") from None
        found = machine.explain(row, column, first + cycle) if element or not registers else None
    label = program.labels[found.number] if found is not None and found.number >= 0 else None
    name = "" if label is None else loaded.names[label.layer]
    short = name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}..."
    if as_json:
        about: dict[str, Any] = {
            "model": loaded.name,
            "config": config.to_dict(),
            "cycle": cycle,
            "cycle_since_reset": first + cycle,
            "cycles": length,
            "registers": values,
        }
        if found is not None:
            about["element"] = {"row": row, "column": column} | {
                key: value for key, value in dataclasses.asdict(found).items() if key != "work"
            }
            about["pass"] = (
                None
                if label is None
                else {"layer": label.layer, "name": name, "tap": label.tap, "word": label.word, "tile": label.tile}
            )
        print_json(about)
        return
    click.echo(
        f"{loaded.name} on a {config.rows} x {config.columns} array: cycle {cycle:,} of a run of {length:,}, "
        f"{first + cycle:,} since reset"
    )
    for register, value in values.items():
        width = machine.width(register)
        decimal = f"{value} = " if width <= _DECIMAL_BITS else ""
        click.echo(f"{register} = {decimal}{value & (1 << width) - 1:#0{2 + ceil_div(width, 4)}x}")
    if found is None:
        return
    click.echo(
        f"element ({row}, {column}) multiplies {found.operand} x {found.weight}; the sum down to it is then "
        f"{found.sum:,}"
    )
    if found.work is None or label is None:
        click.echo("no pass has begun: everything is zero")
        return
    p = found.work
    click.echo(
        f"pass {found.number} of {len(program.passes)}, input {found.repeat}: layer {label.layer} {short}, "
        f"tap {label.tap}, input word {label.word}, column tile {label.tile}"
    )
    memory = "input memory" if p.source == Source.INPUT else "activation memory"
    if found.pixel < 0:
        click.echo("operand: a bubble, nothing of that pass is here")
    elif found.word < 0:
        click.echo(f"operand: pixel {found.pixel} of {p.pixels}, which lies outside: the pad value")
    else:
        click.echo(
            f"operand: pixel {found.pixel} of {p.pixels}, byte {found.byte} of word {found.word} of the {memory}"
        )
    tile = f"weight: {TileKind(p.kind).name.lower()} tile"
    stored = f", byte {found.weight_byte} of weight word {found.weight_word}" if found.weight_word >= 0 else ""
    click.echo(tile + stored)
    click.echo(
        f"the column's sum goes to row {found.accumulator} of bank {p.bank}"
        if found.accumulator >= 0
        else "the column's sum goes nowhere"
    )


def _element(text: str, config: Config) -> tuple[int, int]:
    """ROW,COLUMN of an element of the array."""
    row, _, column = text.partition(",")
    if not (row.isdecimal() and column.isdecimal() and int(row) < config.rows and int(column) < config.columns):
        raise UsageError(f"--element takes ROW,COLUMN, below {config.rows},{config.columns}, not {text!r}")
    return int(row), int(column)
