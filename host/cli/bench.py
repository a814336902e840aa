"""`etchnet bench`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.host.cli.options import (
    MODEL_HELP,
    InOrder,
    clock_option,
    compiled_for,
    engine_options,
    engines_option,
    json_option,
    machine_options,
    refuse,
)
from etchnet.host.cli.output import (
    in_unicode,
    machine_text,
    measured_text,
    plural,
    print_json,
    print_table,
    progress,
    rate_text,
    time_text,
)
from etchnet.host.cli.subject import GEMM
from etchnet.sim.engines.verilated import MissingToolError

if TYPE_CHECKING:
    from etchnet.host.reports.bench import EngineResult, GemmResult, ModelResult
    from etchnet.host.reports.cpu import Cpu

__all__ = ["bench"]


class _BenchGroup(InOrder):
    """Group that runs its command `model` if the first argument is not one of its commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not args[0].startswith("-"):
            args = ["model", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_BenchGroup, subcommand_metavar="MODEL|gemm|engines [OPTIONS]", epilog=MODEL_HELP)
def bench() -> None:
    """Time models on the chip, its simulators, and this CPU.

    Give a MODEL to time it on the chip and on this CPU, "gemm" to time matrix products, or "engines" to measure the
    speed of the simulators.
    """


@bench.command(name="model", epilog=MODEL_HELP)
@click.argument("model")
@click.option(
    "--batch", type=click.IntRange(1), help="Inputs that are computed together.  [the best power of two up to 16]"
)
@clock_option
@machine_options
@json_option
def bench_one(model: str, config: Config, batch: int | None, clock: float, as_json: bool) -> None:
    """Time a model on the chip and on this CPU.

    On this CPU the model runs in numpy and, with the extra "bench", in LiteRT and ONNX Runtime, on one thread and on
    all. A runtime that cannot read the model's own file gets an exported copy of it.
    """
    from etchnet.host.importers.load import load_model
    from etchnet.host.reports.bench import bench_model
    from etchnet.host.reports.cpu import Cpu

    cpu = Cpu.now()
    with progress(quiet=as_json) as say:
        say(f"loading {model}")
        loaded = load_model(model)
        say("compiling")
        result = bench_model(loaded, compiled_for(config, loaded.network, batch=batch or 1), batch=batch, report=say)
    if as_json:
        print_json(result.to_dict(clock * 1e6) | {"this_cpu": dataclasses.asdict(cpu)})
    else:
        _print_model(result, clock, cpu)


def _print_model(result: ModelResult, clock: float, cpu: Cpu) -> None:
    click.echo(
        f"{result.name} on a {machine_text(result.config)}; chip at {clock:g} MHz (simulated), this CPU (measured)"
    )
    click.echo(f"cycles for one input, operands in memory to result in memory: {result.alone:,}")
    sizes = sorted({1, result.batch})
    chip = {1: clock * 1e6 / result.back_to_back, result.batch: clock * 1e6 / result.batched}
    rows = [["chip, back to back", *(f"{chip[size]:,.0f}" for size in sizes)]]
    for name, by_batch in result.cpu.items():
        rows.append([name, *(rate_text(by_batch.get(size)) for size in sizes)])
    headings = ("one at a time" if size == 1 else f"{size} at once" for size in sizes)
    print_table(("inferences per second", *headings), rows)
    click.echo(measured_text(cpu))
    for line in result.left_out:
        click.echo(line)


@bench.command()
@click.option(
    "--size", "sizes", type=click.IntRange(1, 8192), multiple=True, help="M, K and N; repeatable.  [64, 256 and 1024]"
)
@engines_option
@clock_option
@machine_options
@json_option
def gemm(config: Config, sizes: Sequence[int], engines: Sequence[str], clock: float, as_json: bool) -> None:
    """Time matrix products relu(x @ w) with int8 inputs and outputs.

    Prints the cycles, the share of the ideal that they reach, the time of simulating them, and the time of numpy.
    """
    from etchnet.host.reports.bench import bench_gemm
    from etchnet.host.reports.cpu import Cpu

    cpu = Cpu.now()
    engines = list(dict.fromkeys(engines)) or _installed_engines()
    with progress(quiet=as_json) as report:
        options = {engine: engine_options(engine, report) for engine in engines}
        results = bench_gemm(sizes or (64, 256, 1024), config, engines, report=report, **options)
    if as_json:
        _print_results(config, clock, results, this_cpu=dataclasses.asdict(cpu))
    else:
        _print_products(config, clock, results, engines)
        click.echo(measured_text(cpu))


def _print_products(config: Config, clock: float, results: Sequence[GemmResult], engines: Sequence[str]) -> None:
    click.echo(f"relu(x @ w), int8, on a {machine_text(config)}; chip at {clock:g} MHz")
    cube = "³" if in_unicode() else "^3"
    streamed = [(r.ideal, r.streamed) for r in results]
    rows = [
        ["cycles, operands in memory", *(f"{r.counts.cycles:,}" for r in results)],
        ["ideal cycles", *(f"{r.ideal:,}" for r in results)],
        ["share of ideal", *(f"{r.ideal / r.counts.cycles:.2%}" for r in results)],
        [
            "cycles, first link word to last, weights streaming in",
            *(f"{cycles:,}" if cycles else "-" for _, cycles in streamed),
        ],
        ["share of ideal", *(f"{ideal / cycles:.2%}" if cycles else "-" for ideal, cycles in streamed)],
        ["chip, ms (simulated)", *(f"{r.counts.cycles / clock / 1e3:.4g}" for r in results)],
    ]
    for engine in engines:
        rows.append(
            [f"simulating on {engine}, ms (measured)", *(f"{r.simulation[engine] * 1e3:,.0f}" for r in results)]
        )
    for engine in engines:
        speeds = (r.simulated / r.simulation[engine] for r in results)
        rows.append([f"simulated cycles/s on {engine} (measured)", *(f"{speed:,.0f}" for speed in speeds)])
    for name in dict.fromkeys(name for r in results for name in r.cpu):
        rows.append([f"this CPU, {name}, ms (measured)", *(time_text(r.cpu.get(name)) for r in results)])
    print_table(("size", *(f"{result.size}{cube}" for result in results)), rows, width=110)


@bench.command(epilog=MODEL_HELP)
@click.argument("model")
@click.option(
    "--batch", "batches", type=click.IntRange(1), multiple=True, help="Inputs per run; repeatable.  [1 and 16]"
)
@click.option("--size", type=click.IntRange(1, 2048), default=256, show_default=True, help="M, K and N of gemm.")
@engines_option
@clock_option
@machine_options
@json_option
def engines(
    model: str, config: Config, batches: Sequence[int], size: int, engines: Sequence[str], clock: float, as_json: bool
) -> None:
    """Measure how fast the engines simulate a model, or gemm.

    All engines run the same loaded program in one process. MODEL may also be "gemm", a product of random matrices.
    """
    from etchnet.host.importers.load import load_model
    from etchnet.host.reports.bench import bench_engines
    from etchnet.host.reports.compare import default_inputs
    from etchnet.host.reports.product import random_product

    engines = list(dict.fromkeys(engines)) or _installed_engines()
    if model == GEMM:
        refuse("on gemm, all of whose rows are one run", "batches")
    else:
        refuse("unless MODEL is gemm", "size")
    with progress(quiet=as_json) as report:
        report("compiling" if model == GEMM else f"loading {model}")
        if model == GEMM:
            product = random_product(size, config)
            program = product.program(config)
            programs = [(product.model.name, program, product.x)]
        else:
            loaded = load_model(model)
            report("compiling")
            program = compiled_for(config, loaded.network)
            programs = [
                (f"{loaded.name}, {plural(batch, 'input')}", program, default_inputs(loaded, batch))
                for batch in batches or (1, 16)
            ]
        options = {engine: engine_options(engine, report) for engine in engines}
        results = bench_engines(programs, engines, report=report, **options)
    if as_json:
        _print_results(program.config, clock, results)
    else:
        _print_engines(program.config, clock, results, engines)


def _print_engines(config: Config, clock: float, results: Sequence[EngineResult], engines: Sequence[str]) -> None:
    click.echo(
        f"{config.rows} x {config.columns} array; programs and weights are loaded beforehand, inputs and results move "
        "over the link"
    )
    headings = ["", "cycles", f"chip at {clock:g} MHz, ms"]
    for engine in engines:
        headings += [f"{engine}, ms", "cycles/s"]
    if len(engines) > 1:
        headings.append(f"{engines[0]} : {engines[-1]}")
    rows = []
    for result in results:
        cells = [result.name, f"{result.cycles:,}", f"{result.cycles / clock / 1e3:,.4g}"]
        for engine in engines:
            cells += [f"{result.seconds[engine] * 1e3:,.2f}", f"{result.cycles / result.seconds[engine]:,.0f}"]
        if len(engines) > 1:
            cells.append(f"{result.seconds[engines[-1]] / result.seconds[engines[0]]:,.0f} x")
        rows.append(cells)
    print_table(headings, rows, width=130)


def _print_results(config: Config, clock: float, results: Sequence[GemmResult | EngineResult], **more: Any) -> None:
    """Print results of gemm or engines as JSON, with the machine, the clock and the version of numpy."""
    hertz = clock * 1e6
    figures = [result.to_dict(hertz) for result in results]
    print_json({"config": config.to_dict(), "clock_hz": hertz, "numpy": np.__version__, "results": figures, **more})


def _installed_engines() -> list[str]:
    from etchnet.sim.engines.verilated import find_compiler, find_verilator

    try:
        find_verilator()
        find_compiler()
    except MissingToolError:
        return ["exact"]
    return ["exact", "verilator"]
