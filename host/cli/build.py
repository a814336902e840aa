"""`etchnet build`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.boards import BOARDS
from etchnet.host.cli.options import (
    UsageError,
    json_option,
    machine_for,
    machine_on,
    machine_options,
    print_json,
    progress,
)

__all__ = ["build"]


@click.command()
@click.argument("model", required=False)
@click.option("--board", "board_name", required=True, help=f"One of {', '.join(BOARDS)}.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the bitstream, the report, and all files and logs on the way.",
)
@click.option(
    "--clock", type=click.FloatRange(min=0, min_open=True), help="Clock of the machine in MHz.  [the board's]"
)
@click.option("--baud", type=click.FloatRange(min=0, min_open=True), help="Baud rate of the serial port.  [1,000,000]")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Inputs in the array at once.")
@click.option("--array", is_flag=True, help="The array alone, for its clock rate and area: no bitstream.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of place and route.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Place and route with so many seeds, from --seed on, for the median of the clock rates.",
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="So many seeds at a time.")
@click.option(
    "--limit",
    type=click.FloatRange(min=0, min_open=True),
    help="Minutes of place and route after which a seed is given up.",
)
@machine_options
@json_option
def build(
    model: str | None,
    board_name: str,
    output: Path,
    clock: float | None,
    baud: float | None,
    batch: int,
    array: bool,
    seed: int,
    seeds: int,
    jobs: int,
    limit: float | None,
    config: Config,
    as_json: bool,
) -> None:
    """Build a bitstream with MODEL inside, or of a machine that is loaded over its serial port.

    Machine parameters that are not given are those that suit the board; with a MODEL memories are just large enough for
    it. Needs the extra "fpga".
    """
    from etchnet.hdl.serial.framing import DEFAULT_BAUD
    from etchnet.hdl.serial.uart import baud_divisor
    from etchnet.host.fpga.build import Build, DoesNotFitError
    from etchnet.host.fpga.build import build as run
    from etchnet.host.importers.load import load_model
    from etchnet.host.reports.fit import fitted
    from etchnet.host.tools.tool import ToolError

    if board_name not in BOARDS:
        raise UsageError(f"--board must be one of {', '.join(BOARDS)}, not {board_name!r}")
    if array and model:
        raise UsageError("--array is the array alone: no MODEL goes inside")
    board = BOARDS[board_name]
    clock, baud = clock or board.clock, baud or DEFAULT_BAUD
    try:
        baud_divisor(clock * 1e6, baud)
    except ValueError as error:
        raise UsageError(str(error)) from None
    config = machine_on(board.machine)
    program = None
    with progress(quiet=as_json) as report:
        if model is not None:
            report("compiling the network")
            network = load_model(model).network
            program = fitted(network, machine_for(config, network), batch=batch, board=board)
            config = program.config
        what = Build(
            board,
            config,
            program,
            clock,
            baud,
            array,
            tuple(range(seed, seed + seeds)),
            jobs,
            60 * limit if limit else None,
        )
        try:
            result = run(what, output, report=report)
        except DoesNotFitError as error:
            advice = (
                f"`etchnet size {model} --board {board_name}` proposes one that does"
                if model
                else ("smaller --rows, --cols, --requantisers or memories (--set) may")
            )
            raise UsageError(f"{error}; {advice}") from None
        except ToolError as error:
            raise UsageError(f"{error} (see {error.log})" if error.log else str(error)) from None
    if as_json:
        print_json(result.to_dict())
        return
    _show(result, output)


def _show(result: Any, output: Path) -> None:
    config = result.config
    table = Table(
        title=f"{result.board}: {config.rows} x {config.columns}, n = {config.requantisers}", title_justify="left"
    )
    table.add_column("")
    for column in ("used", "of", "share"):
        table.add_column(column, justify="right")
    for name, have in result.available.items():
        used = result.used.get(name, 0)
        table.add_row(name, f"{used:,}", f"{have:,}", f"{used / have:.0%}")
    console = Console(width=100, highlight=False)
    console.print(table)
    rates = sorted(result.fmax.values())
    text = f"clock reached: {result.median:.1f} MHz"
    if len(rates) > 1:
        text += f" (median of {len(rates)} seeds, {rates[0]:.1f} to {rates[-1]:.1f})"
    if result.given_up:
        text += f"; given up: seed {', '.join(map(str, result.given_up))}"
    click.echo(text)
    if result.top.endswith("scan"):
        each = config.multipliers
        click.echo(
            f"per element: {result.used.get('LUTs', 0) / each:.1f} LUTs, "
            f"{result.used.get('flip-flops', 0) / each:.1f} flip-flops"
        )
        return
    click.echo(
        f"clock made: {result.clock:g} MHz" + ("" if result.meets_clock else ", which is too fast for this design")
    )
    if result.cycles:
        click.echo(f"one inference: {result.cycles:,} cycles, {result.per_second:,.1f} per second")
    click.echo(f"made with {', '.join(result.tools)}; seed {result.seed}")
    click.echo(f"{output}: " + ", ".join(sorted(p.name for p in output.glob("etchnet.*"))))
