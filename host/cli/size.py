"""`etchnet size`."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etchnet.hdl.targets.boards import BOARDS, Board
from etchnet.hdl.targets.files import write_text
from etchnet.host.cli.options import (
    MODEL_HELP,
    UsageError,
    clock_option,
    finite,
    json_option,
    machine_for,
    machine_on,
    machine_options,
    refuse,
    require_folder,
)
from etchnet.host.cli.output import machine_text, plural, print_json, print_table, progress, shares_text

if TYPE_CHECKING:
    from etchnet.hdl.isa.config import Config
    from etchnet.host.network.model import Model
    from etchnet.host.reports.selection import Selection, Sweep
    from etchnet.host.reports.sizing import Budget, Point

__all__ = ["size"]


def _numbers(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[int]:
    """Parse a comma-separated list of whole numbers, such as 8,12,16."""
    try:
        numbers = [int(v) for v in value.split(",")] if value else []
    except ValueError:
        numbers = [0]
    if min(numbers, default=1) < 1:
        raise click.BadParameter(f"must be whole numbers from 1, separated by commas, such as 8,12,16, not {value!r}.")
    return numbers


@click.command(epilog=MODEL_HELP)
@click.argument("model")
@click.option("--board", type=click.Choice(list(BOARDS)), help="Board that sets the budget and the latencies.")
@click.option(
    "--dsp",
    type=click.IntRange(1),
    help="Budget of hard multipliers; an element uses one, a requantiser four.  [the board's, or no limit]",
)
@click.option(
    "--kbytes",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    help="Budget of all memories together, in KB.  [no limit]",
)
@click.option(
    "--lut-multipliers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Elements whose multiplier may be built from lookup tables instead.",
)
@clock_option
@click.option("--try-rows", metavar="N,...", callback=_numbers, help="Rows to try, such as 8,12,16.  [4 to 32]")
@click.option(
    "--try-cols",
    "try_columns",
    metavar="N,...",
    callback=_numbers,
    help="Columns to try.  [rows, rows / 2 and 2 x rows; with --try-rows, 4 to 32]",
)
@click.option(
    "--try-weight-rows",
    metavar="N,...",
    callback=_numbers,
    help="Weight rows per cycle to try.  [all divisors of rows]",
)
@click.option(
    "--try-requantisers", metavar="N,...", callback=_numbers, help="Requantisers to try.  [all divisors of columns]"
)
@click.option(
    "--configs", type=click.IntRange(1), default=60, show_default=True, help="Largest number of machines to try."
)
@click.option("--all", "everything", is_flag=True, help="Show all machines, not only the Pareto front.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Plot the sweep to a .png or .svg file.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the best machine to a TOML file, for --config of any command.",
)
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help='With --board: synthesise machines that are too close to its limits for an estimate (extra "fpga").',
)
@click.option(
    "--backend", metavar="NAME", help="Registered joblib backend, such as dask or ray.  [processes on all cores]"
)
@machine_options
@json_option
def size(
    model: str,
    board: str | None,
    dsp: int | None,
    kbytes: float | None,
    lut_multipliers: int,
    clock: float,
    configs: int,
    everything: bool,
    plot: Path | None,
    output: Path | None,
    check: bool,
    backend: str | None,
    config: Config,
    as_json: bool,
    **shapes: list[int],
) -> None:
    """Find the fastest machine for a model within a budget.

    Compiles the model for many machines, prints those on the Pareto front of speed and multipliers, and names the
    fastest one that fits and the bottleneck that limits it.
    """
    from etchnet.host.importers.load import load_model
    from etchnet.host.reports.sizing import Budget, candidates
    from etchnet.host.reports.sweep_plot import draw_sweep

    given = BOARDS[board] if board is not None else None
    if given is None:
        refuse("without --board", "check")
    else:
        config = machine_on({name: value for name, value in given.machine.items() if name.endswith("_latency")})
    if dsp is None and given:
        dsp = given.device.multipliers
    budget = Budget(dsp, kbytes, lut_multipliers, given)
    _check_files(plot, output)
    loaded = load_model(model)
    lists = {name.removeprefix("try_"): values for name, values in shapes.items()}
    tried = candidates(machine_for(config, loaded.network), budget, **lists, most=configs)
    if not tried:
        raise UsageError(
            f"--dsp must be larger: every machine to try needs more than {budget.multipliers} hard multipliers "
            "(one for each element, four for each requantiser)"
        )
    sweep = _sweep(loaded, budget, tried, backend=backend, check=check, quiet=as_json)
    hertz = clock * 1e6
    if plot and sweep.points:
        draw_sweep(sweep, plot, hertz)
    if output and sweep.best is not None and sweep.complete:
        write_text(output, sweep.best.config.to_toml())
    if as_json:
        print_json(sweep.to_dict(hertz))
    else:
        _print_points(sweep, hertz, everything=everything)
        if sweep.selection:
            _print_best(sweep, sweep.selection, hertz)
            if given:
                click.echo(_area_text(sweep, sweep.selection, given))
    if not sweep.complete:
        unwritten = f"; {output} was not written" if output else ""
        click.echo(f"interrupted: {len(sweep.points)} of {len(tried)} machines were tried{unwritten}", err=True)
        raise SystemExit(130)


def _sweep(
    loaded: Model, budget: Budget, tried: list[Config], *, backend: str | None, check: bool, quiet: bool
) -> Sweep:
    """Try all machines and select one; an interrupted sweep has the points found so far, and no selection."""
    from joblib import parallel_config

    from etchnet.host.reports.selection import Sweep, select
    from etchnet.host.reports.sizing import rule_out, sweep

    points: list[Point] = []
    complete, begun = True, time.perf_counter()
    try:
        chosen = parallel_config(backend) if backend else nullcontext()
    except (ValueError, ImportError) as error:
        raise UsageError(f"--backend {backend} cannot be used: {error}") from None
    with progress(quiet=quiet) as report, chosen:
        try:
            report(f"memories of {plural(len(tried), 'machine')}")
            kept, points = rule_out(loaded.network, tried, budget)
            report(f"{len(points)} of {len(tried)} machines", len(points) / len(tried))
            for found in sweep(loaded.network, kept, budget.board):
                points.append(found)
                report(f"{len(points)} of {len(tried)} machines", len(points) / len(tried))
        except KeyboardInterrupt:
            complete = False
    seconds = time.perf_counter() - begun
    if not complete:
        return Sweep(loaded, budget, points, seconds, complete=False)
    with progress(quiet=quiet) as report:
        selection = select(loaded.network, points, budget, check=check, report=report)
    return Sweep(loaded, budget, points, seconds, selection=selection)


def _check_files(plot: Path | None, output: Path | None) -> None:
    """Raise UsageError before a long sweep if the plot or the machine could not be written after it."""
    from etchnet.host.reports.sweep_plot import SUFFIXES

    for name, path in (("--plot", plot), ("--output", output)):
        if path is not None:
            require_folder(path, name)
    if plot is None:
        return
    if plot.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot must end in {' or '.join(SUFFIXES)}, not {str(plot)!r}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("--plot needs matplotlib: pip install 'etchnet[plot]'") from None


def _print_points(sweep: Sweep, hertz: float, *, everything: bool) -> None:
    budget, board = sweep.budget, sweep.budget.board
    limits = [
        f"{budget.multipliers} hard multipliers" if budget.multipliers is not None else "",
        f"{budget.kbytes:,.0f} KB" if budget.kbytes is not None else "",
        *(f"{board.device.resources[name]:,} {name}" for name in ("logic cells", "block RAMs") if board),
    ]
    click.echo(
        f"{sweep.model.name} on {', '.join(filter(None, limits)) or 'any budget'}, {hertz / 1e6:g} MHz assumed"
        + (f" ({board.device})" if board else "")
    )
    areas = ("logic cells", "block RAMs") if board else ()
    headings = ("array", "W", "n", "multipliers", "hard", "KB", *areas, "cycles", "inferences/s", "useful", "")

    def row(p: Point) -> list[str]:
        c, area = p.config, budget.area(p.config)
        figures = [
            f"{p.kbytes:,.0f}",
            *(f"{area.used[name]:,}" for name in areas if area),
            f"{p.cycles:,}",
            f"{p.per_second(hertz):,.0f}",
            f"{p.utilisation:.1%}",
        ]
        shape = [f"{c.rows} x {c.columns}", *map(str, (c.weight_rows, c.requantisers, c.multipliers, budget.used(c)))]
        return [*shape, *(figures if p.cycles else ["-"] * len(figures)), p.refused(budget)]

    shown = sorted(sweep.points if everything else sweep.front, key=lambda p: (p.config.multipliers, p.cycles))
    print_table(headings, map(row, shown), width=160, left=(0, len(headings) - 1))
    click.echo(f"{plural(len(sweep.points), 'machine')} in {sweep.seconds:.1f} s; {len(sweep.fitting)} fit")


def _print_best(sweep: Sweep, selection: Selection, hertz: float) -> None:
    from etchnet.host.reports.report import layer_reports, totals

    best, budget, program = selection.point, sweep.budget, selection.program
    c, reports = best.config, layer_reports(program, sweep.model.names)
    whole = totals(reports)
    click.echo(
        f"\nbest: {machine_text(c)}: {best.cycles:,} cycles from input to input, {best.per_second(hertz):,.0f} "
        f"inferences/s, {budget.used(c)} hard multipliers, {best.kbytes:,.0f} KB"
    )
    click.echo(f"why: of rows x columns x cycles: {shares_text(whole.shares)}")
    others = [p for p in sweep.fitting if (p.config.rows, p.config.columns) != (c.rows, c.columns)]
    if others:
        o = min(others, key=lambda p: p.cycles)
        click.echo(
            f"the next shape, {o.config.rows} x {o.config.columns}, takes {o.cycles / best.cycles - 1:+.1%} cycles"
        )
    beyond = [p for p in sweep.points if 0 < p.cycles < best.cycles and p.refused(budget)]
    if beyond:
        o = min(beyond, key=lambda p: p.cycles)
        click.echo(
            f"faster, but too large: {o.config.rows} x {o.config.columns}, {o.cycles:,} cycles: {o.refused(budget)}"
        )
    slowest = max(program.link_cycles())
    if slowest >= best.cycles:
        click.echo(f"limit: the link, {slowest:,} cycles per input: a wider one would help (--set link_bits=64)")
    else:
        most = max(reports, key=lambda r: r.cycles - r.cycles * r.utilisation)
        click.echo(f"limit: {whole.limit(c)}; layer {most.index} loses most ({most.limit(c)})")


def _area_text(sweep: Sweep, selection: Selection, board: Board) -> str:
    """Return a text that lists what the selected machine uses of a board, estimated or synthesised."""
    from etchnet.host.reports.area import estimate

    area = estimate(selection.point.config, board)
    used = selection.synthesised or area.used
    shares = ", ".join(
        f"{used.get(name, 0):,} {name} of {board.device.resources[name]:,}"
        for name in ("logic cells", "flip-flops", "multipliers", "block RAMs")
    )
    if selection.synthesised:
        return f"synthesised: {shares}"
    close = selection.point.is_close(sweep.budget)
    left_open = "; too close to the limits to tell whether it fits: `etchnet build` will show" if close else ""
    return f"estimated: {shares} (logic cells to within {area.errors['logic cells']:.0%}){left_open}"
