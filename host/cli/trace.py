"""`etchnet trace`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.files import replacing, write_text
from etchnet.host.cli.options import (
    MODEL_HELP,
    STDOUT,
    UsageError,
    batch_option,
    clock_option,
    compiled_for,
    engine_options,
    input_option,
    machine_options,
    refuse,
    require_folder,
)
from etchnet.host.cli.output import progress
from etchnet.host.cli.subject import product_options, subject

if TYPE_CHECKING:
    from etchnet.host.compiler.program import Program

__all__ = ["trace"]

_FORMATS = {".html": "html", ".htm": "html", ".json": "perfetto", ".vcd": "vcd"}


@click.command(epilog=MODEL_HELP)
@click.argument("model")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    help="File to write; with --format html or perfetto, - is standard output.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "perfetto", "vcd"]),
    help="Web page, JSON for ui.perfetto.dev, or waveforms of the RTL.  [by suffix: .html, .json or .vcd]",
)
@click.option(
    "--engine",
    type=click.Choice(["amaranth", "verilator"]),
    default="amaranth",
    show_default=True,
    help="Engine that writes the waveforms.",
)
@input_option("Inputs", default="random, as many as --inputs")
@click.option(
    "--inputs", "count", type=click.IntRange(1, 64), default=1, show_default=True, help="Number of random inputs."
)
@batch_option
@product_options
@clock_option
@machine_options
def trace(
    model: str,
    config: Config,
    output: Path,
    kind: str | None,
    engine: str,
    source: Sequence[Path],
    limits: tuple[float, float] | None,
    count: int,
    batch: int,
    clock: float,
    **product: Any,
) -> None:
    """Write a run, cycle by cycle, as a web page or as waveforms.

    MODEL may also be "gemm", a product of random matrices, or of --a and --b. The suffix of --output selects the
    format: a page for any browser (.html), a trace for ui.perfetto.dev (.json), or waveforms of the RTL for GTKWave or
    Surfer (.vcd).
    """
    kind = kind or _FORMATS.get(output.suffix.lower())
    if kind is None:
        raise UsageError(f"--output must end in {', '.join(_FORMATS)} unless --format is given, not {str(output)!r}")
    if to_stdout := str(output) == STDOUT:
        if kind == "vcd":
            raise UsageError("waveforms need a file of their own: --output cannot be -")
    else:
        require_folder(output)
    if kind == "vcd":
        refuse("on waveforms, which count cycles", "clock")
    else:
        refuse("unless waveforms are written (.vcd)", "engine")
    with progress(quiet=False) as report:
        report(f"loading {model}")
        what = subject(model, config, batch=batch, source=source, limits=limits, count=count, **product)
        report("compiling")
        program = compiled_for(what.config, what.model.network, batch=what.batch, once=what.once)
        if kind == "vcd":
            _waveforms(program, what.x, engine, output, report)
        else:
            from etchnet.host.trace.page import page
            from etchnet.host.trace.perfetto import perfetto
            from etchnet.host.trace.trace import gather

            gathered = gather(what.model, program, what.x, report=report)
            report("writing")
            text = (page if kind == "html" else perfetto)(gathered, clock=clock * 1e6)
            if to_stdout:
                click.echo(text.encode(), nl=False)
                return
            write_text(output, text)
    use = {"html": "open it in a browser", "perfetto": "open it at ui.perfetto.dev", "vcd": "for GTKWave or Surfer"}
    click.echo(f"{output}: {output.stat().st_size / 1e6:,.1f} MB, {use[kind]}")


def _waveforms(program: Program, x: np.ndarray, engine: str, output: Path, report: Any) -> None:
    from etchnet.host.driver.driver import Accelerator
    from etchnet.host.driver.engines import make_engine

    with replacing(output) as partial:
        simulator = make_engine(engine, program.config, vcd=partial, **engine_options(engine, report))
        with contextlib.closing(simulator):
            accelerator = Accelerator(engine=simulator)
            accelerator.load_program(program)
            accelerator.run(x)
