"""`etchnet flow`: projects for other tools' flows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from etchnet.hdl.isa.config import Config
from etchnet.host.cli.options import (
    MACHINE_DEFAULTS,
    InOrder,
    finite,
    folder_option,
    json_option,
    machine_on,
    machine_options,
)
from etchnet.host.cli.output import print_json, progress

__all__ = ["flow"]

# Commands import host.flows themselves, because it imports the simulator.
_PDKS = ("sky130A", "gf180mcuD", "ihp-sg13g2")

_TINY = {"rows": "2", "columns": "2", "weight_rows": "1", "requantisers": "1"}
"""texts of the tiny machine's parameters, for help; a test compares them with the machine"""

_MACROS = {name: f"{value}; with --macros {MACHINE_DEFAULTS[name]}" for name, value in _TINY.items()}

_clock = click.option(
    "--clock",
    type=click.FloatRange(min=0.001, max=1e4),
    callback=finite,
    help="Target clock in MHz.  [set by the process]",
)


@click.group(cls=InOrder)
def flow() -> None:
    """Write a project for FuseSoC, LibreLane, Tiny Tapeout or LiteX."""


def _write(output: Path, as_json: bool, make: Callable[[], Mapping[str, str]], config: Config, then: str) -> None:
    from etchnet.host.flows.project import write_files

    with progress(quiet=as_json) as report:
        report("generating the project")
        files = make()
    paths = write_files(files, output)
    if as_json:
        print_json({"files": [str(path) for path in paths], "config": config.to_dict()})
        return
    for path in paths:
        click.echo(f"{path}: {path.stat().st_size:,} bytes")
    click.echo(then)


def _period(clock: float | None) -> float | None:
    return None if clock is None else round(1e3 / clock, 3)


def _tiny() -> Config:
    """Return the tiny machine, with the parameters that the user of the current command set."""
    from etchnet.host.flows.processes import TILE

    return machine_on(dataclasses.asdict(TILE))


@flow.command()
@folder_option
@machine_options
@json_option
def fusesoc(config: Config, output: Path, as_json: bool) -> None:
    """Write a FuseSoC core.

    The core has the targets default, lint, sim and synth.
    """
    from etchnet.host.flows import fusesoc as project

    _write(
        output,
        as_json,
        lambda: project.fusesoc(config),
        config,
        f"next: fusesoc --cores-root {output} run --target=lint etchnet",
    )


@flow.command()
@folder_option
@_clock
@click.option("--macros", is_flag=True, help="Leave the memories to your own macros: replace src/etchnet_ram.v.")
@partial(machine_options, defaults=_MACROS)
@json_option
def librelane(config: Config, output: Path, clock: float | None, macros: bool, as_json: bool) -> None:
    """Write a LibreLane project.

    The project supports sky130A, gf180mcuD and ihp-sg13g2. Machine options change a tiny machine with a 2 x 2 array or,
    with --macros, the default machine.
    """
    from etchnet.host.flows import librelane as project

    chosen = config if macros else _tiny()
    _write(
        output,
        as_json,
        lambda: project.librelane(chosen, period=_period(clock), macros=macros),
        chosen,
        f"next: librelane --pdk sky130A {output / 'config.yaml'}",
    )


@flow.command()
@folder_option
@click.option("--pdk", type=click.Choice(_PDKS), default="sky130A", show_default=True, help="Process of the shuttle.")
@_clock
@click.option("--tiles", metavar="WIDTHxHEIGHT", help="Size in tiles, such as 4x4.  [enough for the tiny machine]")
@click.option("--author", metavar="NAME", default="", help="Your name, for info.yaml.")
@partial(machine_options, defaults=_TINY)
@json_option
def tinytapeout(config: Config, output: Path, as_json: bool, clock: float | None, **options: Any) -> None:
    """Write a Tiny Tapeout project.

    Machine options change a tiny machine with a 2 x 2 array.
    """
    from etchnet.host.flows import tinytapeout as project

    chosen = _tiny()
    _write(
        output,
        as_json,
        lambda: project.tinytapeout(chosen, period=_period(clock), **options),
        chosen,
        "next: copy these files into a repository made from the shuttle's template",
    )


@flow.command()
@folder_option
@machine_options
@json_option
def litex(config: Config, output: Path, as_json: bool) -> None:
    """Write a LiteX module.

    The module has one stream to the machine and one from it.
    """
    from etchnet.host.flows import litex as project

    _write(
        output, as_json, lambda: project.litex(config), config, f"next: from etchnet_litex import Etchnet (in {output})"
    )
