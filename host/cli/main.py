"""The command line."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import numpy as np
from amaranth.back.verilog import YosysError
from rich.console import Console
from rich.table import Table

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.hdl.targets.files import write_bytes
from etchnet.host.cli.bench import bench
from etchnet.host.cli.build import build
from etchnet.host.cli.flow import flow
from etchnet.host.cli.options import (
    UsageError,
    clock_for,
    clock_option,
    engine_option,
    engine_options,
    json_option,
    machine_for,
    machine_options,
    print_json,
    progress,
)
from etchnet.host.cli.size import size
from etchnet.host.cli.state import state
from etchnet.host.cli.synth import synth
from etchnet.host.cli.trace import trace
from etchnet.host.compiler.compile import PIPELINE, compile_network, dump_after
from etchnet.host.compiler.dump import as_text
from etchnet.host.driver.driver import Accelerator
from etchnet.host.driver.engines import ENGINES, make_engine
from etchnet.sim.engines.link import Disagreement

__all__ = ["cli", "main"]

_ERRORS = (EtchnetError, YosysError)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("etchnet"), prog_name="etchnet")
def cli() -> None:
    """A matmul-and-ReLU systolic array for int8 neural networks: simulation, Verilog, benchmarks."""


@cli.command()
@machine_options
@engine_option
@click.option("--batch", type=click.IntRange(1), help="Images in the array at once.  [the best power of two up to 16]")
@click.option("--images", type=click.IntRange(1), help="How many of the images to classify.  [all]")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the Fashion-MNIST files: classify its 10,000 test images instead of those that come along.",
)
@clock_option
@json_option
def demo(
    config: Config, engine: str, batch: int | None, images: int | None, data: Path | None, clock: float, as_json: bool
) -> None:
    """Classify held-out images with a small network on the simulated chip."""
    from etchnet.host.data import fashion
    from etchnet.host.demo.demo import check_on_rtl, run_demo

    try:
        split = fashion.read_split(data, "t10k") if data else fashion.held_out()
    except ValueError as error:
        raise UsageError(str(error)) from None
    if images is not None:
        split = fashion.Split(split.images[:images], split.labels[:images])
    with progress(quiet=as_json) as report:
        report(f"classifying {len(split.labels)} images on {engine}")
        accelerator = Accelerator(
            config,
            engine=engine,
            **engine_options(engine, report),
        )
        with contextlib.closing(accelerator.engine):
            result = run_demo(split, accelerator, batch=batch)
        report("checking a convolution on the RTL in Amaranth's simulator")
        check = check_on_rtl(split)
    if not check.equal:
        raise Disagreement("the RTL and the exact engine differ in a convolution: please report this")
    hertz, origin = clock_for(accelerator.engine, clock)
    if as_json:
        values = result.to_dict(hertz)
        values["rtl_check"] = check.to_dict()
        print_json(values)
        return
    _draw(split, result.answers)
    c = result.config
    numpy_name = f"numpy {np.__version__} on this CPU"
    click.echo(
        f"engine       {result.engine}: {c.rows} x {c.columns} array, {c.requantisers} requantisers, "
        f"W = {c.weight_rows}"
    )
    click.echo(
        f"accuracy     {result.accuracy:.2%} of {result.images} held-out images "
        f"(same answers as numpy: {result.numpy_agreement:.2%})"
    )
    click.echo()
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("", "one image alone", f"{result.batch} at once"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("cycles per image", f"{result.cycles_alone:,.0f}", f"{result.cycles_together:,.0f}")
    table.add_row("utilisation", f"{result.alone.utilisation:.1%}", f"{result.together.utilisation:.1%}")
    table.add_row(
        f"images/s, chip at {hertz / 1e6:g} MHz ({origin})",
        f"{hertz / result.cycles_alone:,.0f}",
        f"{hertz / result.cycles_together:,.0f}",
    )
    table.add_row(f"images/s, {numpy_name}", f"{result.numpy_alone:,.0f}", f"{result.numpy_together:,.0f}")
    Console(width=100, highlight=False).print(table)
    click.echo()
    click.echo(f"where the cycles of {result.batch} at once go: " + _shares(result.together.shares()))
    click.echo(
        f"RTL check    a {_by(check.kernel)} convolution of {_by(check.pixels)} pixels, {check.channels} "
        f"channels in and out, on an {check.rows} x {check.columns} array:"
    )
    click.echo(f"             {check.cycles} cycles in Amaranth's simulator, equal in every bit and every count")


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares.items() if share >= 0.0005)


def _draw(split: Any, answers: np.ndarray) -> None:
    from etchnet.host.data.fashion import CLASSES
    from etchnet.host.demo.terminal_picture import side_by_side, sketch

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
@click.option("--network", help="A model (.tflite, .onnx, .npz, or demo): its weights and program go inside.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="With --network: inputs at once.")
@click.option(
    "--bus",
    type=click.Choice(["link", "axi"]),
    default="link",
    show_default=True,
    help="The bare link; or AXI4-Streams for it, and registers on AXI4-Lite with their C header and SVD file.",
)
@json_option
def verilog(config: Config, output: Path, network: str | None, batch: int, bus: str, as_json: bool) -> None:
    """Write the machine as Verilog, with a manifest of its parameters, ports and memories."""
    from etchnet.hdl.buses.axi import Axi
    from etchnet.hdl.buses.register_exports import register_files
    from etchnet.hdl.targets.verilog import generate
    from etchnet.host.importers.load import load_model

    init = run = None
    start = time.perf_counter()
    with progress(quiet=as_json) as report:
        if network is not None:
            report("compiling the network")
            loaded = load_model(network).network
            config = machine_for(config, loaded)
            program = compile_network(loaded, config, batch=batch)
            init, run = program.image(), program.command(1)
        report("generating Verilog")
        design = generate(config, init=init, run=run, wrapper=Axi if bus == "axi" else None)
        if bus == "axi":
            design = dataclasses.replace(design, files={**design.files, **register_files(config)})
    paths = design.write(output)
    seconds = time.perf_counter() - start
    modules = sum(line.startswith("module ") for line in design.verilog.splitlines())
    if as_json:
        print_json(
            {
                "files": [str(p) for p in paths],
                "bytes": {p.name: p.stat().st_size for p in paths},
                "top": design.top,
                "modules": modules,
                "seconds": seconds,
                "config": config.to_dict(),
            }
        )
        return
    click.echo(
        f"{paths[0]}: {paths[0].stat().st_size:,} bytes, {modules} modules, top module {design.top}, {seconds:.1f} s"
    )
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
@engine_option
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Inputs in the array at once.")
@clock_option
@json_option
def run(
    model: str, config: Config, source: Path, output: Path | None, engine: str, batch: int, clock: float, as_json: bool
) -> None:
    """Run MODEL (.tflite, .onnx, .npz of Network.save, or demo) on inputs from a file."""
    from etchnet.host.importers.load import load_input, load_model

    loaded = load_model(model)
    config = machine_for(config, loaded.network)
    x = load_input(source, loaded)
    if output is not None and output.suffix != ".npy":
        raise UsageError(f"--output must end with .npy, not {output.name!r}")
    with progress(quiet=as_json) as report:
        report(f"running {len(x)} inputs on {engine}")
        accelerator = Accelerator(config, engine=engine, **engine_options(engine, report))
        with contextlib.closing(accelerator.engine):
            accelerator.load(loaded.network, batch=batch)
            start = time.perf_counter()
            y = loaded.finish(accelerator.run(x))
            seconds = time.perf_counter() - start
    if output is not None:
        # Through memory: numpy does not write arrays to pipes.
        np.save(contents := io.BytesIO(), y)
        write_bytes(output, contents.getvalue())
    counts, (hertz, origin) = accelerator.counts, clock_for(accelerator.engine, clock)
    best = y.reshape(len(y), -1).argmax(axis=1)
    if as_json:
        print_json(
            {
                "model": loaded.name,
                "engine": engine,
                "config": config.to_dict(),
                "inputs": len(x),
                "output_shape": list(y.shape),
                "output_dtype": str(y.dtype),
                "argmax": best.tolist(),
                "output": None if output is None else str(output),
                "clock_hz": hertz,
                "counters": {c.name.lower(): counts[c] for c in Counter},
                "shares": counts.shares(),
                "inferences_per_second": hertz * len(x) / counts.cycles,
                "simulation_seconds" if accelerator.engine.clock_hz is None else "seconds": seconds,
            }
        )
        return
    click.echo(
        f"{loaded.name} on {engine}: {len(x)} inputs, outputs {y.dtype} {y.shape}"
        + (f", written to {output}" if output else "")
    )
    shown = ", ".join(map(str, best[:10])) + (", ..." if len(best) > 10 else "")
    click.echo(f"largest output of each: {shown}")
    click.echo(
        f"cycles {counts.cycles:,}, {counts.cycles / len(x):,.1f} per input; at {hertz / 1e6:g} MHz "
        f"{hertz * len(x) / counts.cycles:,.0f} inputs/s ({origin})"
    )
    click.echo("counters: " + ", ".join(f"{c.name.lower()} {counts[c]:,}" for c in Counter))
    click.echo("where the cycles go: " + _shares(counts.shares()))


@cli.command()
@click.argument("model")
@machine_options
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Inputs in the array at once.")
@click.option("--passes", is_flag=True, help="List every pass.")
@click.option("--fit", "smallest", is_flag=True, help="Shrink the memories to what the model needs.")
@click.option("--packed", type=click.Choice(["none", "row", "whole"]), help="How the host packs the input.  [fastest]")
@click.option(
    "--dump-after",
    "stage",
    type=click.Choice([stage.name for stage in PIPELINE]),
    help="Print what a stage of the compiler produced, and nothing else.",
)
@clock_option
@json_option
def report(
    model: str,
    config: Config,
    batch: int,
    passes: bool,
    smallest: bool,
    packed: str | None,
    stage: str | None,
    clock: float,
    as_json: bool,
) -> None:
    """Say, before any run of MODEL, how long it takes, where each cycle goes, and that nothing can overflow."""
    from etchnet.host.compiler.overflow import check_overflow
    from etchnet.host.importers.load import load_model
    from etchnet.host.reports.fit import fitted
    from etchnet.host.reports.report import block_rams, layer_reports, memory_use, pass_rows, totals

    loaded = load_model(model)
    config = machine_for(config, loaded.network)
    if stage is not None:
        machine = fitted(loaded.network, config, batch=batch).config if smallest else config
        found = dump_after(stage, loaded.network, machine, batch=batch, packed=packed)
        if as_json:
            print_json(found)
        else:
            click.echo(as_text(found))
        return
    with progress(quiet=as_json) as say:
        say("compiling")
        start = time.perf_counter()
        fit = fitted(loaded.network, config, batch=batch) if smallest else None
        program = fit or compile_network(loaded.network, config, batch=batch, packed=packed)
        config, seconds = program.config, time.perf_counter() - start
    layers = layer_reports(program, loaded.names)
    total, memories, blocks = totals(layers), memory_use(program), block_rams(config)
    certificates = [
        c for i, layer in enumerate(loaded.network.layers) if (c := check_overflow(layer, i, config)) is not None
    ]
    link_in, link_out = program.link_cycles()
    back_to_back = program.counts(2)[Counter.CYCLES] - program.counts()[Counter.CYCLES]
    hertz = clock * 1e6
    if as_json:
        values: dict[str, Any] = {
            "model": loaded.name,
            "config": config.to_dict(),
            "batch": batch,
            "clock_hz": hertz,
            "cycles": total.cycles,
            "cycles_back_to_back": back_to_back,
            "inferences_per_second": hertz * batch / max(back_to_back, link_in, link_out),
            "counters": {c.name.lower(): n for c, n in program.counts().items()},
            "utilisation": total.utilisation,
            "shares": total.shares,
            "layers": [
                {"name": r.name, "passes": r.passes, "cycles": r.cycles, "shares": r.shares, "limit": r.limit(config)}
                for r in layers
            ],
            "memories": {m.name: {"used": m.used, "available": m.available} for m in memories},
            "block_rams": blocks,
            "compile_seconds": seconds,
            "input_packing": program.im2col.name,
            "link_cycles": {"in": link_in, "out": link_out},
            "fused_additions": program.fused,
            "orders": {i: dataclasses.asdict(option) for i, option in program.orders.items()},
            "certificate": [dataclasses.asdict(c) | {"holds": c.holds} for c in certificates],
        }
        if passes:
            values["passes"] = pass_rows(program)
        print_json(values)
        return
    click.echo(
        f"{loaded.name} on a {config.rows} x {config.columns} array, W = {config.weight_rows}, "
        f"{config.requantisers} requantisers; {batch} at once"
    )
    click.echo(
        f"{total.cycles:,} cycles from operands in memory to the last result, {back_to_back:,} back to back: "
        f"{hertz * batch / max(back_to_back, link_in, link_out):,.0f} inputs/s at {clock:g} MHz (simulated); "
        f"compiled in {seconds:.1f} s"
    )
    packing = {"none": "as it is", "row": "the taps of each kernel row side by side", "whole": "all taps side by side"}
    click.echo(
        f"input packed {packing[program.im2col.name]}: {program.input_words * config.rows:,} bytes, "
        f"{link_in:,} link cycles in and {link_out:,} out"
    )
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
    click.echo(
        f"memories as block RAMs of an ECP5 (estimated): {sum(blocks.values())}, of which "
        + ", ".join(f"{name} {count}" for name, count in blocks.items() if count)
    )
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
@json_option
def compare(model: str, config: Config, engines: str, source: Path | None, as_json: bool) -> None:
    """Run MODEL on two engines: equal (exit status 0), or the first layer, element, pass and cycle that differ (1)."""
    from etchnet.host.importers.load import load_input, load_model
    from etchnet.host.reports.compare import compare as compare_engines
    from etchnet.host.reports.compare import default_inputs

    pair = engines.split(",")
    if len(pair) != 2 or any(name not in ENGINES for name in pair):
        raise UsageError(f"--engines must be two of {', '.join(ENGINES)} with a comma between, not {engines!r}")
    loaded = load_model(model)
    config = machine_for(config, loaded.network)
    x = load_input(source, loaded) if source else default_inputs(loaded, 1)
    with progress(quiet=as_json) as say:
        first, second = (functools.partial(make_engine, name, config, **engine_options(name, say)) for name in pair)
        difference = compare_engines(loaded, first, second, x, report=say)
    if as_json:
        print_json(
            {
                "equal": difference is None,
                "engines": pair,
                "inputs": len(x),
                "layers": len(loaded.names),
                "difference": None if difference is None else dataclasses.asdict(difference),
            }
        )
    elif difference is None:
        click.echo(
            f"{loaded.name}: {pair[0]} and {pair[1]} are equal in every output of every layer, every counter and the "
            f"cycle of every link word, for {len(x)} inputs"
        )
    else:
        click.echo(f"{loaded.name}, layer {difference.layer} ({difference.name}): {difference.message}")
    if difference is not None:
        sys.exit(1)


@cli.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what is installed, what is missing, and what each missing piece would give."""
    from etchnet.host.cli.doctor import examine

    findings = examine()
    if as_json:
        print_json({f.name: {"version": f.version, "gives": f.gives, "remedy": f.remedy} for f in findings})
        return
    width = max(len(f.name) for f in findings)
    for finding in findings:
        if finding.version is not None:
            click.echo(f"{finding.name:{width}}  {finding.version}")
        else:
            click.echo(f"{finding.name:{width}}  missing; would give {finding.gives}: {finding.remedy}")


cli.add_command(bench)
cli.add_command(build)
cli.add_command(state)
cli.add_command(flow)
cli.add_command(size)
cli.add_command(synth)
cli.add_command(trace)


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
    except OSError as error:
        _fail(str(error) if error.filename is None else f"{error.filename}: {error.strerror}")
    except _ERRORS as error:
        _fail(str(error))


def _fail(message: str) -> None:
    click.echo(f"etchnet: {' '.join(message.split())}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
