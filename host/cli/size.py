"""`etchnet size`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.boards import BOARDS, Board
from etchnet.hdl.targets.files import replacing, write_text
from etchnet.host.cli.options import (
    UsageError,
    clock_option,
    json_option,
    machine_for,
    machine_on,
    machine_options,
    print_json,
    progress,
)

__all__ = ["size"]


def _numbers(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[int]:
    """8,12,16 as a list."""
    try:
        return [int(v) for v in value.split(",")] if value else []
    except ValueError:
        raise click.BadParameter(f"takes whole numbers with commas, such as 8,12,16, not {value!r}.") from None


@click.command()
@click.argument("model")
@click.option("--board", help=f"Take the budget and the latencies of a board: {', '.join(BOARDS)}.")
@click.option("--dsp", type=click.IntRange(1), help="Hard multipliers: an element takes one, a requantiser four.")
@click.option("--kbytes", type=click.FloatRange(min=0, min_open=True), help="KB of all memories together.")
@click.option(
    "--lut-multipliers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Elements that lookup tables may be used for.",
)
@clock_option
@click.option("--try-rows", callback=_numbers, help="Rows to try, such as 8,12,16.  [4 to 32]")
@click.option("--try-cols", callback=_numbers, help="Columns to try.  [as rows, half, twice]")
@click.option("--try-weight-rows", callback=_numbers, help="Weight rows per cycle to try.  [all divisors of rows]")
@click.option("--try-requantisers", callback=_numbers, help="Requantisers to try.  [all divisors of columns]")
@click.option("--configs", type=click.IntRange(1), default=60, show_default=True, help="Machines to try, at most.")
@click.option("--all", "everything", is_flag=True, help="Show all of them, not the Pareto front alone.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the sweep: .png or .svg.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the machine as a file that every command takes as --config.",
)
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="With --board: synthesise a machine whose estimate leaves open whether it fits (extra fpga).",
)
@click.option("--backend", help="joblib backend, such as dask or ray, once it is registered.  [processes on all cores]")
@machine_options
@json_option
def size(
    model: str,
    board: str | None,
    dsp: int | None,
    kbytes: float | None,
    lut_multipliers: int,
    clock: float,
    try_rows: list[int],
    try_cols: list[int],
    try_weight_rows: list[int],
    try_requantisers: list[int],
    configs: int,
    everything: bool,
    plot: Path | None,
    output: Path | None,
    check: bool,
    backend: str | None,
    config: Config,
    as_json: bool,
) -> None:
    """Find the machine with the most inferences per second for MODEL on a budget, and say what limits it."""
    from joblib import parallel_config

    from etchnet.host.importers.load import load_model
    from etchnet.host.reports.sizing import Budget, candidates, front, sweep

    if board is not None and board not in BOARDS:
        raise UsageError(f"--board must be one of {', '.join(BOARDS)}, not {board!r}")
    given = BOARDS[board] if board else None
    if given:
        config = machine_on({name: value for name, value in given.machine.items() if name.endswith("_latency")})
    budget = Budget(dsp if dsp is not None else given.multipliers if given else None, kbytes, lut_multipliers, given)
    _check_files(plot, output)
    loaded = load_model(model)
    network = loaded.network
    tried = candidates(
        machine_for(config, network),
        budget,
        rows=try_rows,
        columns=try_cols,
        weight_rows=try_weight_rows,
        requantisers=try_requantisers,
        most=configs,
    )
    if not tried:
        raise UsageError(
            f"--dsp must be larger: no machine that was to be tried takes at most {budget.multipliers} "
            "hard multipliers (an element one, a requantiser four)"
        )
    points: list[Any] = []
    interrupted, begun = False, time.perf_counter()
    with progress(quiet=as_json) as report, parallel_config(backend) if backend else nullcontext():
        results = sweep(network, tried, given)
        try:
            report(f"{len(tried)} machines", 0.0)
            for found in results:
                points.append(found)
                report(f"{len(points)} of {len(tried)} machines", len(points) / len(tried))
        except KeyboardInterrupt:
            interrupted = True
    seconds = time.perf_counter() - begun
    hertz = clock * 1e6
    fitting = [p for p in points if not p.refused(budget)]
    best = min(fitting, key=_preference, default=None)
    if best is None and not interrupted:
        closest = min(points, key=lambda p: (bool(p.failure), p.kbytes))
        raise UsageError(f"no machine of {len(points)} fits: the smallest needs {closest.refused(budget)}")
    exact, checked = None, None
    if best is not None and not interrupted:
        with progress(quiet=as_json) as report:
            exact, checked, beyond = _chosen(network, fitting, budget, check, report)
        fitting = [p for p in fitting if p not in beyond]
        best = exact[1]
    shown = sorted(points if everything else front(fitting), key=lambda p: (p.config.multipliers, p.cycles))
    if plot and points:
        _draw(plot, points, front(fitting), best, budget, hertz, loaded.name)
    if output and best is not None:
        write_text(output, best.config.to_toml())
    if as_json:
        print_json(
            {
                "model": loaded.name,
                "clock_hz": hertz,
                "budget": vars(budget) | {"board": board},
                "synthesised": checked,
                "seconds": seconds,
                "tried": len(points),
                "complete": not interrupted,
                "best": best and best.to_dict(budget, hertz),
                "points": [p.to_dict(budget, hertz) for p in points],
            }
        )
    else:
        _print(loaded, budget, points, fitting, shown, best, exact, hertz, seconds)
        if given and exact is not None and best is not None:
            click.echo(_area_line(given, budget.area(best.config), checked, best.is_close(budget)))
    if interrupted:
        click.echo(f"interrupted: {len(points)} of {len(tried)} machines were tried", err=True)
        raise SystemExit(130)


def _preference(point: Any) -> tuple[Any, ...]:
    return point.cycles, point.config.multipliers, point.kbytes


def _chosen(network: Any, fitting: Sequence[Any], budget: Any, check: bool, report: Any) -> tuple[Any, Any, list[Any]]:
    """The fastest that fits: program and point; what synthesis said of it, if it had to say; and what does not fit.

    A machine that an estimate leaves open is synthesised, unless that is interrupted or its tools are missing.
    """
    from etchnet.host.fpga.build import Build, DoesNotFitError, needs
    from etchnet.host.tools.tool import MissingPackageError, ToolError

    beyond: list[Any] = []
    why = ""
    for candidate in sorted(fitting, key=_preference):
        exact = _settled(network, candidate, budget.board)
        if why_not := exact[1].refused(budget):
            beyond, why = [*beyond, candidate], why_not
            continue
        if not check or not exact[1].is_close(budget):
            return exact, None, beyond
        c = exact[1].config
        name = f"{c.rows} x {c.columns}, W = {c.weight_rows}, n = {c.requantisers}"
        try:
            with tempfile.TemporaryDirectory() as folder:
                used = needs(Build(budget.board, c, exact[0]), Path(folder), report=partial(_told, report, name))
        except DoesNotFitError as error:
            beyond, why = [*beyond, candidate], str(error)
        except (MissingPackageError, KeyboardInterrupt):
            return exact, None, beyond
        except ToolError as error:
            raise UsageError(str(error)) from None
        else:
            return exact, used, beyond
    raise UsageError(f"none of the {len(fitting)} machines that might fit does: {why}")


def _told(report: Any, name: str, text: str) -> None:
    report(f"{name}: {text}")


def _area_line(board: Board, area: Any, checked: Any, close: bool) -> str:
    used, how = (checked, "synthesised") if checked else (area.used, "estimated")
    shares = ", ".join(
        f"{used.get(name, 0):,} {name} of {board.resources[name]:,}"
        for name in ("logic cells", "flip-flops", "multipliers", "block RAMs")
    )
    if checked:
        return f"{how}: {shares}"
    left_open = "; whether it fits was left open: `etchnet build` tells" if close else ""
    return f"{how}: {shares} (logic cells to within {area.errors['logic cells']:.0%}){left_open}"


def _settled(network: Any, best: Any, board: Board | None) -> tuple[Any, Any]:
    """The best machine's program by the default compilation, and its point: what every other command will find."""
    from etchnet.host.compiler.capacity import CapacityError
    from etchnet.host.compiler.compile import compile_network
    from etchnet.host.reports.fit import fitted
    from etchnet.host.reports.sizing import point

    try:
        program = compile_network(network, best.config)
    except CapacityError:
        # Another order is tried first there, and needs other memories.
        program = fitted(network, best.config, board=board)
    return program, point(program, program.config)


def _check_files(plot: Path | None, output: Path | None) -> None:
    """Refuse before the sweep what could not be written behind it."""
    for name, path in (("--plot", plot), ("--output", output)):
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"the folder of {name} must exist: {path.absolute().parent} does not")
    if plot is None:
        return
    if plot.suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"--plot must end in .png or .svg, not {str(plot)!r}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("--plot needs matplotlib: pip install 'etchnet[plot]'") from None


def _print(
    loaded: Any,
    budget: Any,
    points: Sequence[Any],
    fitting: Sequence[Any],
    shown: Sequence[Any],
    best: Any,
    exact: Any,
    hertz: float,
    seconds: float,
) -> None:
    from etchnet.host.reports.report import layer_reports, totals

    limits = [
        f"{budget.multipliers} hard multipliers" if budget.multipliers is not None else "",
        f"{budget.kbytes:,.0f} KB" if budget.kbytes is not None else "",
    ]
    board = budget.board
    limits += [f"{board.resources[name]:,} {name}" for name in ("logic cells", "block RAMs")] if board else []
    click.echo(
        f"{loaded.name} on {', '.join(filter(None, limits)) or 'any budget'}, {hertz / 1e6:g} MHz assumed"
        + (f" ({board.device})" if board else "")
    )
    table = Table(box=None, pad_edge=False, header_style="")
    areas = ("logic cells", "block RAMs") if board else ()
    for column in ("array", "W", "n", "multipliers", "hard", "KB", *areas, "cycles", "inferences/s", "useful", ""):
        table.add_column(column, justify="left" if column in ("", "array") else "right")
    for p in shown:
        c = p.config
        area = budget.area(c)
        figures = [
            f"{p.kbytes:,.0f}",
            *(f"{area.used[name]:,}" for name in areas),
            f"{p.cycles:,}",
            f"{p.per_second(hertz):,.0f}",
            f"{p.utilisation:.1%}",
        ]
        table.add_row(
            f"{c.rows} x {c.columns}",
            str(c.weight_rows),
            str(c.requantisers),
            str(c.multipliers),
            str(budget.used(c)),
            *(figures if p.cycles else ["-"] * len(figures)),
            p.refused(budget),
        )
    Console(width=160, highlight=False).print(table)
    click.echo(f"{len(points)} machines in {seconds:.1f} s; {len(fitting)} fit")
    if best is None or exact is None:
        return
    c, reports = best.config, layer_reports(exact[0], loaded.names)
    whole = totals(reports)
    click.echo(
        f"\nbest: {c.rows} x {c.columns} array, W = {c.weight_rows}, {c.requantisers} requantisers: "
        f"{best.cycles:,} cycles from input to input, {best.per_second(hertz):,.0f} inferences/s, "
        f"{budget.used(c)} hard multipliers, {best.kbytes:,.0f} KB"
    )
    shares = ", ".join(
        f"{name.replace('_', ' ')} {share:.1%}" for name, share in whole.shares.items() if share >= 0.001
    )
    click.echo(f"why: of rows x columns x cycles: {shares}")
    others = sorted(
        (p for p in fitting if (p.config.rows, p.config.columns) != (c.rows, c.columns)), key=lambda p: p.cycles
    )
    if others:
        o = others[0]
        click.echo(
            f"the next shape, {o.config.rows} x {o.config.columns}, takes {o.cycles / best.cycles - 1:+.1%} cycles"
        )
    beyond = [p for p in points if p.cycles and p.refused(budget) and p.cycles < best.cycles]
    if beyond:
        o = min(beyond, key=lambda p: p.cycles)
        click.echo(
            f"faster, but too large: {o.config.rows} x {o.config.columns}, {o.cycles:,} cycles: {o.refused(budget)}"
        )
    slowest = max(exact[0].link_cycles())
    if slowest >= best.cycles:
        click.echo(f"next: the link, {slowest:,} cycles per input: a wider one (--set link_bits=64)")
    else:
        most = max(reports, key=lambda r: r.cycles - r.cycles * r.utilisation)
        click.echo(f"next: {whole.limit(c)}; layer {most.index} loses most there ({most.limit(c)})")


def _draw(
    path: Path, points: Sequence[Any], best_points: Sequence[Any], best: Any, budget: Any, hertz: float, name: str
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.2, 4.4), layout="constrained")
    for chosen, label, color in ((False, "fits", "#0072b2"), (True, "beyond the budget", "#a3abb4")):
        some = [p for p in points if p.cycles and bool(p.refused(budget)) == chosen]
        if some:
            axes.scatter(
                [p.config.multipliers for p in some],
                [p.per_second(hertz) for p in some],
                s=18,
                alpha=0.7,
                color=color,
                label=label,
                linewidths=0,
            )
    axes.plot(
        [p.config.multipliers for p in best_points],
        [p.per_second(hertz) for p in best_points],
        color="#d55e00",
        linewidth=1.4,
        marker=".",
        label="Pareto front",
    )
    if best is not None:
        c = best.config
        axes.annotate(
            f"{c.rows} x {c.columns}, W = {c.weight_rows}, n = {c.requantisers}",
            (best.config.multipliers, best.per_second(hertz)),
            xytext=(-8, 10),
            textcoords="offset points",
            ha="right",
            fontsize=9,
        )
        axes.plot([best.config.multipliers], [best.per_second(hertz)], "o", mfc="none", mec="#d55e00", ms=11)
    axes.set(xlabel="multipliers of the array", ylabel=f"inferences per second at {hertz / 1e6:g} MHz", title=name)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    try:
        with replacing(path) as partial:
            figure.savefig(partial, format=path.suffix[1:].lower(), dpi=150)
    finally:
        pyplot.close(figure)
