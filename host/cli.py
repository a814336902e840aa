"""The command line."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import numpy as np
from amaranth.back.verilog import YosysError
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from etchnet.hdl.config import Config, ConfigError
from etchnet.hdl.isa import Counter, InstructionError
from etchnet.host.compiler import CapacityError, compile_network
from etchnet.host.driver import ENGINES, Accelerator, make_engine
from etchnet.host.model import ModelError
from etchnet.host.network import NetworkError
from etchnet.sim.link import Disagreement, LinkError
from etchnet.sim.timing import ProgramError
from etchnet.sim.verilated import BuildError, MissingToolError

__all__ = ["cli", "main"]

_ERRORS = (
    CapacityError,
    ConfigError,
    InstructionError,
    LinkError,
    BuildError,
    Disagreement,
    MissingToolError,
    ModelError,
    NetworkError,
    ProgramError,
    YosysError,
    OSError,
)


class UsageError(click.ClickException):
    """Input that the command line does not take."""


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[..., None]]:
    """A line on stderr that says what is going on: call it with a text and, where known, the done share."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("", total=None)

        def report(text: str, share: float | None = None) -> None:
            if share is None:
                progress.update(task, description=text, total=None)
            else:
                progress.update(task, description=text, total=1.0, completed=share)

        yield report


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None


def machine_options(function: Callable[..., Any]) -> Any:
    """Options that describe a machine; the command gets them as `config`."""

    @functools.wraps(function)
    def command(
        *args: Any,
        rows: int | None,
        cols: int | None,
        weight_rows: int | None,
        requantisers: int | None,
        config: Path | None,
        **options: Any,
    ) -> Any:
        values = _read_config(config) if config else {}
        given = {"rows": rows, "columns": cols, "weight_rows": weight_rows, "requantisers": requantisers}
        values |= {name: value for name, value in given.items() if value is not None}
        return function(*args, config=Config.from_dict(values), **options)

    for option in (
        click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False),
                     help="TOML file of machine parameters; the options above take precedence."),
        click.option("--requantisers", type=int, help="Requantisers of the output stage; divides columns.  [columns]"),
        click.option("--weight-rows", type=int, help="Weight rows loaded per cycle (W); divides rows.  [1]"),
        click.option("--cols", "--columns", "cols", type=int, help="Columns of the array.  [16]"),
        click.option("--rows", type=int, help="Rows of the array.  [16]"),
    ):  # fmt: skip
        command = option(command)
    return command


_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def _finite(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


_clock_option = click.option(
    "--clock", type=click.FloatRange(min=0, min_open=True), callback=_finite, default=100.0, show_default=True,
    help="Clock in MHz that the chip's times are stated for.",
)  # fmt: skip


def _engine_options(engine: str, report: Callable[..., None]) -> dict[str, Any]:
    """What an engine that steps through cycles reports while it does."""
    if engine == "exact":
        return {}
    options: dict[str, Any] = {"progress": lambda cycle: report(f"engine {engine}, cycle {cycle:,}")}
    return options | ({"report": report} if engine == "verilator" else {})


def _print_json(result: Any) -> None:
    click.echo(json.dumps(result, allow_nan=False))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("etchnet"), prog_name="etchnet")
def cli() -> None:
    """A matmul-and-ReLU systolic array for int8 neural networks: simulation, Verilog, benchmarks."""


@cli.command()
@machine_options
@click.option("--engine", type=click.Choice(ENGINES), default="exact", show_default=True)
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Images in the array at once.")
@click.option("--images", type=click.IntRange(1), help="How many of the images to classify.  [all]")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the Fashion-MNIST files: classify its 10,000 test images instead of those that come along.",
)
@_clock_option
@_json_option
def demo(config: Config, engine: str, batch: int, images: int | None, data: Path | None, clock: float,
         as_json: bool) -> None:  # fmt: skip
    """Classify held-out images with a small network on the simulated chip."""
    from etchnet.host import fashion
    from etchnet.host.demo import check_on_rtl, run_demo

    try:
        split = fashion.read_split(data, "t10k") if data else fashion.held_out()
    except ValueError as error:
        raise UsageError(str(error)) from None
    if images is not None:
        split = fashion.Split(split.images[:images], split.labels[:images])
    with _progress(quiet=as_json) as report:
        report(f"classifying {len(split.labels)} images on {engine}")
        accelerator = Accelerator(
            config,
            engine=engine,
            **_engine_options(engine, report),
        )
        result = run_demo(split, accelerator, batch=batch)
        report("checking one tile on the RTL in Amaranth's simulator")
        check = check_on_rtl(split)
    if not check.equal:
        raise Disagreement("the RTL and the exact engine differ in a tile: please report this")
    if as_json:
        values = result.to_dict(clock * 1e6)
        values["rtl_check"] = {"rows": check.rows, "columns": check.columns, "images": check.images,
                               "cycles": check.cycles, "equal": check.equal}  # fmt: skip
        _print_json(values)
        return
    _draw(split, result.answers)
    hertz, c = clock * 1e6, result.config
    numpy_name = f"numpy {np.__version__} on this CPU"
    click.echo(f"engine       {result.engine}: {c.rows} x {c.columns} array, {c.requantisers} requantisers, "
               f"W = {c.weight_rows}")  # fmt: skip
    click.echo(f"accuracy     {result.accuracy:.2%} of {result.images} held-out images "
               f"(same answers as numpy: {result.numpy_agreement:.2%})")  # fmt: skip
    click.echo()
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("", "one image alone", f"{batch} at once"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("cycles per image", f"{result.cycles_alone:,.0f}", f"{result.cycles_together:,.0f}")
    table.add_row("utilisation", f"{result.alone.utilisation:.1%}", f"{result.together.utilisation:.1%}")
    table.add_row(f"images/s, chip at {clock:g} MHz (simulated)",
                  f"{hertz / result.cycles_alone:,.0f}", f"{hertz / result.cycles_together:,.0f}")  # fmt: skip
    table.add_row(f"images/s, {numpy_name}", f"{result.numpy_alone:,.0f}", f"{result.numpy_together:,.0f}")
    Console(width=100, highlight=False).print(table)
    click.echo()
    click.echo(f"where the cycles of {batch} at once go: " + _shares(result.together.shares()))
    click.echo(f"RTL check    one {check.rows} x {check.columns} tile, {check.images} images, {check.cycles} cycles in "
               f"Amaranth's simulator: equal in every bit and every count")  # fmt: skip


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares.items() if share >= 0.0005)


def _draw(split: Any, answers: np.ndarray) -> None:
    from etchnet.host.fashion import CLASSES
    from etchnet.host.picture import side_by_side, sketch

    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    unicode = encoding.startswith("utf")
    count = max(1, min(4, (Console().width + 3) // 31, len(answers)))
    captions = []
    for answer, label in zip(answers[:count], split.labels, strict=False):
        mark = "right" if answer == label else f"wrong: {CLASSES[label]}"
        captions.append(f"{CLASSES[answer]} ({mark})")
    pictures = [sketch(image, unicode=unicode) for image in split.images[:count]]
    for line in side_by_side(pictures, captions):
        click.echo(line)
    click.echo()


@cli.command()
@machine_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write to."
)
@click.option("--network", help="A model (.tflite, .npz of Network.save, or demo): its weights and program go inside.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="With --network: inputs at once.")
@_json_option
def verilog(config: Config, output: Path, network: str | None, batch: int, as_json: bool) -> None:
    """Write the machine as Verilog, with a manifest of its parameters, ports and memories."""
    from etchnet.hdl.verilog import generate
    from etchnet.host.files import load_model

    init = run = None
    start = time.perf_counter()
    with _progress(quiet=as_json) as report:
        if network is not None:
            report("compiling the network")
            program = compile_network(load_model(network).network, config, pixels=batch)
            init, run = program.image(), program.command(1)
        report("generating Verilog")
        design = generate(config, init=init, run=run)
    paths = design.write(output)
    seconds = time.perf_counter() - start
    modules = sum(line.startswith("module ") for line in design.verilog.splitlines())
    if as_json:
        _print_json({"files": [str(p) for p in paths], "bytes": {p.name: p.stat().st_size for p in paths},
                     "modules": modules, "seconds": seconds, "config": config.to_dict()})  # fmt: skip
        return
    click.echo(f"{paths[0]}: {paths[0].stat().st_size:,} bytes, {modules} modules, {seconds:.1f} s")
    for path in paths[1:]:
        click.echo(f"{path}: {path.stat().st_size:,} bytes")


@cli.command()
@click.argument("model")
@machine_options
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Inputs: .npy, .txt, .csv, or a picture.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Where to write the outputs, as .npy.")
@click.option("--engine", type=click.Choice(ENGINES), default="exact", show_default=True)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Inputs in the array at once.")
@_clock_option
@_json_option
def run(model: str, config: Config, source: Path, output: Path | None, engine: str, batch: int, clock: float,
        as_json: bool) -> None:  # fmt: skip
    """Run MODEL (.tflite, .npz of Network.save, or demo) on inputs from a file."""
    from etchnet.host.files import load_input, load_model

    loaded = load_model(model)
    x = load_input(source, loaded)
    if output is not None and output.suffix != ".npy":
        raise UsageError(f"--output must end with .npy, not {output.name!r}")
    with _progress(quiet=as_json) as report:
        report(f"running {len(x)} inputs on {engine}")
        accelerator = Accelerator(config, engine=engine, **_engine_options(engine, report))
        accelerator.load(loaded.network, batch=batch)
        start = time.perf_counter()
        y = loaded.finish(accelerator.run(x))
        seconds = time.perf_counter() - start
    if output is not None:
        partial = output.with_name(f".{output.name}.partial")
        with partial.open("wb") as file:
            np.save(file, y)
        partial.replace(output)
    counts, hertz = accelerator.counts, clock * 1e6
    best = y.reshape(len(y), -1).argmax(axis=1)
    if as_json:
        _print_json({
            "model": loaded.name, "engine": engine, "config": config.to_dict(), "inputs": len(x),
            "output_shape": list(y.shape), "output_dtype": str(y.dtype), "argmax": best.tolist(),
            "output": None if output is None else str(output), "clock_hz": hertz,
            "counters": {c.name.lower(): counts[c] for c in Counter}, "shares": counts.shares(),
            "inferences_per_second": hertz * len(x) / counts.cycles, "simulation_seconds": seconds,
        })  # fmt: skip
        return
    click.echo(f"{loaded.name} on {engine}: {len(x)} inputs, outputs {y.dtype} {y.shape}"
               + (f", written to {output}" if output else ""))  # fmt: skip
    shown = ", ".join(map(str, best[:10])) + (", ..." if len(best) > 10 else "")
    click.echo(f"largest output of each: {shown}")
    click.echo(f"cycles {counts.cycles:,}, {counts.cycles / len(x):,.1f} per input; at {clock:g} MHz "
               f"{hertz * len(x) / counts.cycles:,.0f} inputs/s (simulated)")  # fmt: skip
    click.echo("counters: " + ", ".join(f"{c.name.lower()} {counts[c]:,}" for c in Counter))
    click.echo("where the cycles go: " + _shares(counts.shares()))


@cli.command()
@click.argument("model")
@machine_options
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Inputs in the array at once.")
@click.option("--passes", is_flag=True, help="List every pass.")
@_clock_option
@_json_option
def report(model: str, config: Config, batch: int, passes: bool, clock: float, as_json: bool) -> None:
    """Say, before any run of MODEL, how long it takes, where each cycle goes, and that nothing can overflow."""
    from etchnet.host.certificate import certify
    from etchnet.host.files import load_model
    from etchnet.host.report import layer_reports, memory_use, pass_rows, totals

    loaded = load_model(model)
    with _progress(quiet=as_json) as say:
        say("compiling")
        program = compile_network(loaded.network, config, pixels=batch)
    layers = layer_reports(program, loaded.names)
    total, memories = totals(layers), memory_use(program)
    certificates = [certify(layer, index, config) for index, layer in enumerate(loaded.network.layers)]
    back_to_back = program.counts(2)[Counter.CYCLES] - program.counts()[Counter.CYCLES]
    hertz = clock * 1e6
    if as_json:
        values: dict[str, Any] = {
            "model": loaded.name, "config": config.to_dict(), "batch": batch, "clock_hz": hertz,
            "cycles": total.cycles, "cycles_back_to_back": back_to_back,
            "inferences_per_second": hertz * batch / back_to_back,
            "counters": {c.name.lower(): n for c, n in program.counts().items()},
            "utilisation": total.utilisation, "shares": total.shares,
            "layers": [{"name": r.name, "passes": r.passes, "cycles": r.cycles, "shares": r.shares,
                        "limit": r.limit(config)} for r in layers],
            "memories": {m.name: {"used": m.used, "available": m.available} for m in memories},
            "certificate": [dataclasses.asdict(c) | {"holds": c.holds} for c in certificates],
        }  # fmt: skip
        if passes:
            values["passes"] = pass_rows(program)
        _print_json(values)
        return
    click.echo(f"{loaded.name} on a {config.rows} x {config.columns} array, W = {config.weight_rows}, "
               f"{config.requantisers} requantisers; {batch} at once")  # fmt: skip
    click.echo(f"{total.cycles:,} cycles from operands in memory to the last result, {back_to_back:,} back to back: "
               f"{hertz * batch / back_to_back:,.0f} inputs/s at {clock:g} MHz (simulated)")  # fmt: skip
    click.echo()
    names = [name for name in total.slots if any(r.slots[name] for r in layers)]
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("layer", "passes", "cycles", *(name.replace("_", " ") for name in names)):
        table.add_column(heading, justify="left" if heading == "layer" else "right", max_width=34, no_wrap=True)
    for r in (*layers, total):
        shares = [f"{r.shares[name]:.1%}" for name in names]
        table.add_row(r.name if r.index < 0 else f"{r.index} {r.name}", f"{r.passes:,}", f"{r.cycles:,}", *shares)
    Console(width=120, highlight=False).print(table)
    click.echo()
    limits: dict[str, list[str]] = {}
    for r in layers:
        limits.setdefault(r.limit(config), []).append(str(r.index))
    for limit, which in limits.items():
        click.echo(f"layer{'s'[: len(which) != 1]} {', '.join(which)} limited by {limit}")
    click.echo()
    for m in memories:
        click.echo(f"{m.name:24} {m.used:>9,} of {m.available:>9,} ({m.used / m.available:.0%})")
    click.echo()
    for c in certificates:
        click.echo(
            f"layer {c.layer}: any int8 input gives array sums in {c.sums[0]:,}..{c.sums[1]:,} ({c.sum_bits} bits), "
            f"accumulators in {c.accumulators[0]:,}..{c.accumulators[1]:,}, shifted {c.shifted[0]:,}..{c.shifted[1]:,} "
            f"(32 bits): {'no overflow' if c.holds else 'MAY OVERFLOW'}"
        )
    if passes:
        click.echo()
        columns = list(pass_rows(program)[0])
        rows = [[str(row[c]) for c in columns] for row in pass_rows(program)]
        widths = [max(len(c), *(len(row[i]) for row in rows)) for i, c in enumerate(columns)]
        for line in [columns, *rows]:
            click.echo("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


@cli.command()
@click.argument("model")
@machine_options
@click.option("--engines", default="exact,amaranth", show_default=True, help="Two engines, with a comma between.")
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Inputs: .npy, .txt, .csv, or a picture.  [one random input]",
)
@_json_option
def compare(model: str, config: Config, engines: str, source: Path | None, as_json: bool) -> None:
    """Run MODEL on two engines: equal (exit status 0), or the first layer, element, pass and cycle that differ (1)."""
    from etchnet.host.compare import compare as compare_engines
    from etchnet.host.compare import default_inputs
    from etchnet.host.files import load_input, load_model

    pair = engines.split(",")
    if len(pair) != 2 or any(name not in ENGINES for name in pair):
        raise UsageError(f"--engines must be two of {', '.join(ENGINES)} with a comma between, not {engines!r}")
    loaded = load_model(model)
    x = load_input(source, loaded) if source else default_inputs(loaded, 1)
    with _progress(quiet=as_json) as say:
        first, second = (functools.partial(make_engine, name, config, **_engine_options(name, say)) for name in pair)
        difference = compare_engines(loaded, first, second, x, report=say)
    if as_json:
        _print_json({"equal": difference is None, "engines": pair, "inputs": len(x), "layers": len(loaded.names),
                     "difference": None if difference is None else dataclasses.asdict(difference)})  # fmt: skip
    elif difference is None:
        click.echo(
            f"{loaded.name}: {pair[0]} and {pair[1]} are equal in every output of every layer, every counter and the "
            f"cycle of every link word, for {len(x)} inputs"
        )
    else:
        click.echo(f"{loaded.name}, layer {difference.layer} ({difference.name}): {difference.message}")
    if difference is not None:
        sys.exit(1)


class _BenchGroup(click.Group):
    """A group in which anything that is not a command is a model."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not args[0].startswith("-"):
            args = ["model", *args]
        return super().resolve_command(ctx, args)


@cli.group(cls=_BenchGroup, subcommand_metavar="MODEL|gemm [OPTIONS]")
def bench() -> None:
    """Measure the chip, its simulators, and this CPU in the same run: of a MODEL, or of matrix products (gemm)."""


@bench.command(name="model")
@click.argument("model")
@machine_options
@click.option("--batch", type=click.IntRange(2), default=16, show_default=True, help="Inputs in the array at once.")
@_clock_option
@_json_option
def bench_one(model: str, config: Config, batch: int, clock: float, as_json: bool) -> None:
    """A model on the chip, beside numpy, LiteRT and ONNX Runtime at one thread and at all (extra bench)."""
    from etchnet.host.bench import bench_model
    from etchnet.host.files import load_model

    loaded = load_model(model)
    with _progress(quiet=as_json) as say:
        result = bench_model(loaded, config, batch=batch, report=say)
    hertz = clock * 1e6
    if as_json:
        _print_json(result.to_dict(hertz))
        return
    click.echo(
        f"{result.name} on a {config.rows} x {config.columns} array, W = {config.weight_rows}, "
        f"{config.requantisers} requantisers; chip at {clock:g} MHz (simulated), this CPU (measured)"
    )
    click.echo(f"cycles for one input, operands in memory to result in memory: {result.alone:,}")
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("inferences per second", "one at a time", f"{batch} at once"):
        table.add_column(heading, justify="left" if heading.startswith("inf") else "right")
    table.add_row("chip, back to back", f"{hertz / result.back_to_back:,.0f}", f"{hertz / result.batched:,.0f}")
    for name, by_batch in result.cpu.items():
        table.add_row(name, *(f"{1 / by_batch[size]:,.0f}" for size in (1, batch)))
    Console(width=100, highlight=False).print(table)


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
@_clock_option
@_json_option
def gemm(config: Config, sizes: Sequence[int], engines: Sequence[str], clock: float, as_json: bool) -> None:
    """Matrix products relu(x @ w), int8 in and out: cycles, share of ideal, simulation time, and numpy."""
    from etchnet.host.bench import bench_gemm

    engines = list(dict.fromkeys(engines)) or _installed_engines()
    with _progress(quiet=as_json) as report:
        options = {engine: _engine_options(engine, report) for engine in engines}
        results = bench_gemm(sizes or (64, 256, 1024), config, engines, report=report, **options)
    hertz = clock * 1e6
    if as_json:
        _print_json({"config": config.to_dict(), "clock_hz": hertz, "numpy": np.__version__,
                     "results": [r.to_dict(hertz) for r in results]})  # fmt: skip
        return
    click.echo(f"relu(x @ w), int8, on a {config.rows} x {config.columns} array, W = {config.weight_rows}, "
               f"{config.requantisers} requantisers; chip at {clock:g} MHz")  # fmt: skip
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("size")
    for result in results:
        table.add_column(f"{result.size}³" if sys.stdout.encoding.lower().startswith("utf") else f"{result.size}^3",
                         justify="right")  # fmt: skip
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
            (f"simulated cycles/s on {engine} (measured)",
             lambda r, engine=engine: f"{r.simulated / r.simulation[engine]:,.0f}")
            for engine in engines
        ),
        *(
            (f"this CPU, {name.replace('_', ' ')}, ms (measured)", lambda r, name=name: f"{r.cpu[name] * 1e3:.3f}")
            for name in results[0].cpu
        ),
    ]  # fmt: skip
    for name, value in rows:
        table.add_row(name, *(value(result) for result in results))
    Console(width=110, highlight=False).print(table)


def _installed_engines() -> list[str]:
    from etchnet.sim.verilated import find_compiler, find_verilator

    try:
        find_verilator()
        find_compiler()
    except MissingToolError:
        return ["exact"]
    return ["exact", "verilator"]


@cli.command()
@_json_option
def doctor(as_json: bool) -> None:
    """Say what is installed, what is missing, and what each missing piece would give."""
    from etchnet.host.doctor import examine

    findings = examine()
    if as_json:
        _print_json({f.name: {"version": f.version, "gives": f.gives, "remedy": f.remedy} for f in findings})
        return
    width = max(len(f.name) for f in findings)
    for finding in findings:
        if finding.version is not None:
            click.echo(f"{finding.name:{width}}  {finding.version}")
        else:
            click.echo(f"{finding.name:{width}}  missing; would give {finding.gives}: {finding.remedy}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors are one line on stderr and exit status 2."""
    try:
        cli.main(args=arguments, prog_name="etchnet", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.ClickException as error:
        _fail(error.format_message())
    except click.Abort:
        click.echo("etchnet: interrupted", err=True)
        sys.exit(130)
    except _ERRORS as error:
        _fail(str(error))


def _fail(message: str) -> None:
    click.echo(f"etchnet: {' '.join(message.split())}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
