"""`etchnet build`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.boards import BOARDS, Board
from etchnet.host.cli.options import (
    MODEL_HELP,
    UsageError,
    batch_option,
    finite,
    given_parameters,
    json_option,
    machine_for,
    machine_on,
    machine_options,
    refuse,
)
from etchnet.host.cli.output import print_json, progress

__all__ = ["build"]

_DEFAULTS = dict.fromkeys(("rows", "columns", "weight_rows", "requantisers"), "set by the board")


@click.command(epilog=MODEL_HELP)
@click.argument("model", required=False)
@click.option("--board", "board_name", type=click.Choice(list(BOARDS)), required=True, help="Board to build for.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the bitstream, the report, and all intermediate files and logs.",
)
@click.option(
    "--clock",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    help="Clock of the machine in MHz.  [set by the board]",
)
@click.option(
    "--baud",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    help="Baud rate of the serial port.  [1,000,000]",
)
@batch_option
@click.option("--array", is_flag=True, help="Build only the array, to measure its clock rate and area; no bitstream.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of place and route.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of seeds to place and route with, starting at --seed; reports the median clock rate.",
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Seeds to run at the same time.")
@click.option(
    "--limit",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    help="Minutes after which place and route of a seed is abandoned.  [no limit]",
)
@partial(machine_options, defaults=_DEFAULTS)
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
    """Build an FPGA bitstream, with or without a model inside.

    With a MODEL, the bitstream contains its weights and program, and memories that no option sets are just large enough
    for it. Without one, models are loaded over the serial port. Machine parameters default to values that suit the
    board. Needs the extra "fpga".
    """
    from etchnet.hdl.serial.framing import DEFAULT_BAUD
    from etchnet.hdl.serial.uart import baud_divisor
    from etchnet.host.fpga.build import build as run
    from etchnet.host.fpga.request import BuildRequest
    from etchnet.host.fpga.resources import DoesNotFitError
    from etchnet.host.importers.load import load_model
    from etchnet.host.reports.fit import fitted
    from etchnet.host.tools.tool import ToolError

    board = BOARDS[board_name]
    if array and model:
        raise UsageError("--array builds only the array, which cannot contain a MODEL: give one or the other")
    if model is None:
        refuse("without a MODEL", "batch")
    if array:
        refuse("with --array, which has no serial port", "baud")
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
            program = fitted(network, machine_for(config, network), batch=batch, board=board, keep=given_parameters())
            config = program.config
        if not array:
            _check_memories(config, model, board)
        request = BuildRequest(
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
            result = run(request, output, report=report)
        except DoesNotFitError as error:
            raise UsageError(f"{error}; {_advice(model, board)}") from None
        except ToolError as error:
            raise UsageError(f"{error} (see {error.log})" if error.log else str(error)) from None
    if as_json:
        print_json(result.to_dict())
        return
    _show(result, output, array=array)


def _check_memories(config: Config, model: str | None, board: Board) -> None:
    """Refuse a machine whose memories alone rule out the board, before synthesis, which would take minutes."""
    from etchnet.host.reports.area import estimate

    area, most = estimate(config, board), {"block RAMs": board.device.placeable["block RAMs"]}
    if area.over(most):
        about = "about " if area.errors["block RAMs"] else ""
        needs = f"{about}{area.used['block RAMs']:,} block RAMs of {most['block RAMs']:,}"
        raise UsageError(f"the machine does not fit the {board.name}: it needs {needs}; {_advice(model, board)}")


def _advice(model: str | None, board: Board) -> str:
    if model:
        return f"`etchnet size {model} --board {board.name}` looks for a machine that fits"
    return "a machine with smaller --rows, --cols, --requantisers or memories (--set) may fit"


def _show(result: Any, output: Path, *, array: bool) -> None:
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
        text += f"; abandoned: seed {', '.join(map(str, result.given_up))}"
    click.echo(text)
    if array:
        elements = config.multipliers
        click.echo(
            f"per element: {result.used.get('LUTs', 0) / elements:.1f} LUTs, "
            f"{result.used.get('flip-flops', 0) / elements:.1f} flip-flops"
        )
        return
    click.echo(
        f"clock generated: {result.clock:g} MHz" + ("" if result.meets_clock else ", which is too fast for this design")
    )
    if result.cycles:
        each = "one inference" if result.batch == 1 else f"{result.batch:,} inferences"
        click.echo(
            f"{each}: {result.cycles:,} cycles, {result.per_second:,.1f} inferences per second at "
            f"{result.usable_clock:.4g} MHz"
        )
    click.echo(f"built with {', '.join(result.tools)}; seed {result.seed}")
    click.echo(f"{output}: " + ", ".join(sorted(p.name for p in output.glob("etchnet.*"))))
