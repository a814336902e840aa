"""`etchnet bench`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from etchnet.hdl.isa.config import Config
from etchnet.host.cli.options import (
    clock_option,
    engine_options,
    json_option,
    machine_for,
    machine_options,
    print_json,
    progress,
)
from etchnet.host.driver.engines import ENGINES
from etchnet.sim.engines.verilated import MissingToolError

__all__ = ["bench"]


class _BenchGroup(click.Group):
    """A group in which anything that is not a command is a model."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not args[0].startswith("-"):
            args = ["model", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_BenchGroup, subcommand_metavar="MODEL|gemm [OPTIONS]")
def bench() -> None:
    """Measure the chip, its simulators, and this CPU in the same run: of a MODEL, or of matrix products (gemm)."""


@bench.command(name="model")
@click.argument("model")
@machine_options
@click.option("--batch", type=click.IntRange(1), help="Inputs in the array at once.  [the best power of two up to 16]")
@clock_option
@json_option
def bench_one(model: str, config: Config, batch: int | None, clock: float, as_json: bool) -> None:
    """A model on the chip, beside numpy, LiteRT and ONNX Runtime at one thread and at all (extra bench).

    Runtimes take the model's own file if they read files of its kind, and otherwise one that is written for them.
    """
    from etchnet.host.importers.load import load_model
    from etchnet.host.reports.bench import bench_model

    loaded = load_model(model)
    config = machine_for(config, loaded.network)
    with progress(quiet=as_json) as say:
        result = bench_model(loaded, config, batch=batch, report=say)
    hertz = clock * 1e6
    if as_json:
        print_json(result.to_dict(hertz))
        return
    click.echo(
        f"{result.name} on a {config.rows} x {config.columns} array, W = {config.weight_rows}, "
        f"{config.requantisers} requantisers; chip at {clock:g} MHz (simulated), this CPU (measured)"
    )
    click.echo(f"cycles for one input, operands in memory to result in memory: {result.alone:,}")
    table = Table(box=None, pad_edge=False, header_style="")
    sizes = sorted({1, result.batch})
    table.add_column("inferences per second")
    for size in sizes:
        table.add_column("one at a time" if size == 1 else f"{size} at once", justify="right")
    chip = {1: hertz / result.back_to_back, result.batch: hertz / result.batched}
    table.add_row("chip, back to back", *(f"{chip[size]:,.0f}" for size in sizes))
    for name, by_batch in result.cpu.items():
        table.add_row(name, *(f"{1 / by_batch[size]:,.0f}" if size in by_batch else "-" for size in sizes))
    Console(width=100, highlight=False).print(table)
    for line in result.left_out:
        click.echo(line)


@bench.command()
@machine_options
@click.option(
    "--size", "sizes", type=click.IntRange(1, 8192), multiple=True, help="M = K = N; may be repeated.  [64 256 1024]"
)
@click.option(
    "--engine",
    "engines",
    type=click.Choice(ENGINES),
    multiple=True,
    help="May be repeated.  [exact, and verilator where it is installed]",
)
@clock_option
@json_option
def gemm(config: Config, sizes: Sequence[int], engines: Sequence[str], clock: float, as_json: bool) -> None:
    """Matrix products relu(x @ w), int8 in and out: cycles, share of ideal, simulation time, and numpy."""
    from etchnet.host.reports.bench import bench_gemm

    engines = list(dict.fromkeys(engines)) or _installed_engines()
    with progress(quiet=as_json) as report:
        options = {engine: engine_options(engine, report) for engine in engines}
        results = bench_gemm(sizes or (64, 256, 1024), config, engines, report=report, **options)
    hertz = clock * 1e6
    if as_json:
        print_json(
            {
                "config": config.to_dict(),
                "clock_hz": hertz,
                "numpy": np.__version__,
                "results": [r.to_dict(hertz) for r in results],
            }
        )
        return
    click.echo(
        f"relu(x @ w), int8, on a {config.rows} x {config.columns} array, W = {config.weight_rows}, "
        f"{config.requantisers} requantisers; chip at {clock:g} MHz"
    )
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("size")
    for result in results:
        table.add_column(
            f"{result.size}³" if sys.stdout.encoding.lower().startswith("utf") else f"{result.size}^3", justify="right"
        )
    rows: list[tuple[str, Callable[[Any], str]]] = [
        ("cycles, operands in memory", lambda r: f"{r.counts.cycles:,}"),
        ("ideal cycles", lambda r: f"{r.ideal:,}"),
        ("share of ideal", lambda r: f"{r.ideal / r.counts.cycles:.2%}"),
        ("cycles, first link word to last, weights streaming in", lambda r: f"{r.streamed:,}" if r.streamed else "-"),
        ("share of ideal", lambda r: f"{r.ideal / r.streamed:.2%}" if r.streamed else "-"),
        ("chip, ms (simulated)", lambda r: f"{r.counts.cycles / hertz * 1e3:.3f}"),
        *(
            (f"simulating on {engine}, ms (measured)", lambda r, engine=engine: f"{r.simulation[engine] * 1e3:,.0f}")
            for engine in engines
        ),
        *(
            (
                f"simulated cycles/s on {engine} (measured)",
                lambda r, engine=engine: f"{r.simulated / r.simulation[engine]:,.0f}",
            )
            for engine in engines
        ),
        *(
            (f"this CPU, {name.replace('_', ' ')}, ms (measured)", lambda r, name=name: f"{r.cpu[name] * 1e3:.3f}")
            for name in results[0].cpu
        ),
    ]
    for name, value in rows:
        table.add_row(name, *(value(result) for result in results))
    Console(width=110, highlight=False).print(table)


@bench.command()
@click.argument("model")
@machine_options
@click.option(
    "--batch", "batches", type=click.IntRange(1), multiple=True, help="Inputs of one run; may be repeated.  [1 and 16]"
)
@click.option("--size", type=click.IntRange(1, 2048), default=256, show_default=True, help="M = K = N of gemm.")
@click.option(
    "--engine",
    "engines",
    type=click.Choice(ENGINES),
    multiple=True,
    help="May be repeated.  [exact, and verilator where it is installed]",
)
@clock_option
@json_option
def engines(
    model: str, config: Config, batches: Sequence[int], size: int, engines: Sequence[str], clock: float, as_json: bool
) -> None:
    """How fast the engines simulate a MODEL, or gemm: the same loaded program, run in one process."""
    from etchnet.host.compiler.compile import compile_network
    from etchnet.host.importers.load import load_model
    from etchnet.host.reports.bench import bench_engines, gemm_program
    from etchnet.host.reports.compare import default_inputs

    engines = list(dict.fromkeys(engines)) or _installed_engines()
    with progress(quiet=as_json) as report:
        report("compiling")
        if model == "gemm":
            program, x = gemm_program(size, config)
            programs = [(f"gemm {size} x {size} x {size}", program, x)]
        else:
            loaded = load_model(model)
            program = compile_network(loaded.network, machine_for(config, loaded.network))
            programs = [
                (f"{loaded.name}, {batch} input{'s'[: batch != 1]}", program, default_inputs(loaded, batch))
                for batch in batches or (1, 16)
            ]
        options = {engine: engine_options(engine, report) for engine in engines}
        results = bench_engines(programs, engines, report=report, **options)
    hertz = clock * 1e6
    if as_json:
        print_json(
            {
                "config": program.config.to_dict(),
                "clock_hz": hertz,
                "numpy": np.__version__,
                "results": [r.to_dict(hertz) for r in results],
            }
        )
        return
    click.echo(
        f"{program.config.rows} x {program.config.columns} array; programs and weights loaded before; "
        "inputs and results over the link included"
    )
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("", "cycles", f"chip at {clock:g} MHz, ms"):
        table.add_column(column, justify="right" if column else "left")
    for engine in engines:
        table.add_column(f"{engine}, ms", justify="right")
        table.add_column("cycles/s", justify="right")
    if len(engines) > 1:
        table.add_column(f"{engines[0]} : {engines[-1]}", justify="right")
    for result in results:
        cells = [result.name, f"{result.cycles:,}", f"{result.cycles / hertz * 1e3:,.3f}"]
        for engine in engines:
            cells += [f"{result.seconds[engine] * 1e3:,.2f}", f"{result.cycles / result.seconds[engine]:,.0f}"]
        if len(engines) > 1:
            cells.append(f"{result.seconds[engines[-1]] / result.seconds[engines[0]]:,.0f} x")
        table.add_row(*cells)
    Console(width=130, highlight=False).print(table)


def _installed_engines() -> list[str]:
    from etchnet.sim.engines.verilated import find_compiler, find_verilator

    try:
        find_verilator()
        find_compiler()
    except MissingToolError:
        return ["exact"]
    return ["exact", "verilator"]
