"""`etchnet trace`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click
import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.files import replacing, write_text
from etchnet.host.cli.options import (
    UsageError,
    batch_option,
    clock_option,
    engine_options,
    input_option,
    machine_for,
    machine_options,
)
from etchnet.host.cli.output import progress

__all__ = ["trace"]

_FORMATS = {".html": "html", ".htm": "html", ".json": "perfetto", ".vcd": "vcd"}


@click.command()
@click.argument("model")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
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
@input_option("Inputs, processed one after the other: .npy, .txt, .csv, or a picture.  [random]")
@click.option(
    "--inputs", "count", type=click.IntRange(1, 64), default=1, show_default=True, help="Number of random inputs."
)
@batch_option
@click.option("--size", type=click.IntRange(1, 512), default=64, show_default=True, help="M, K and N of gemm.")
@clock_option
@machine_options
def trace(
    model: str,
    config: Config,
    output: Path,
    kind: str | None,
    engine: str,
    source: Path | None,
    count: int,
    batch: int,
    size: int,
    clock: float,
) -> None:
    """Write a run, cycle by cycle, as a web page or as waveforms.

    MODEL may be "gemm", a matrix product. The suffix of --output selects the format: a page for any browser (.html), a
    trace for ui.perfetto.dev (.json), or waveforms of the RTL for GTKWave or Surfer (.vcd).
    """
    from etchnet.host.importers.load import load_input, load_model, plain_model
    from etchnet.host.reports.compare import default_inputs

    kind = kind or _FORMATS.get(output.suffix.lower())
    if kind is None:
        raise UsageError(f"--output must end in {', '.join(_FORMATS)} unless --format is given, not {str(output)!r}")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"the folder of --output must exist: {output.absolute().parent} does not")
    if model == "gemm":
        from etchnet.host.reports.bench import gemm_network

        network, x, batch = gemm_network(size, config)
        loaded = plain_model(f"gemm {size} x {size} x {size}", network)
    else:
        loaded = load_model(model)
        x = load_input(source, loaded) if source else default_inputs(loaded, count)
    config = machine_for(config, loaded.network)
    with progress(quiet=False) as report:
        if kind == "vcd":
            _waveforms(loaded, config, x, batch, engine, output, report)
        else:
            from etchnet.host.trace.page import page
            from etchnet.host.trace.perfetto import perfetto
            from etchnet.host.trace.trace import gather

            gathered = gather(loaded, config, x, batch=batch, report=report)
            report("writing")
            text = (page if kind == "html" else perfetto)(gathered, clock=clock * 1e6)
            write_text(output, text)
    what = {"html": "open it in a browser", "perfetto": "open it at ui.perfetto.dev", "vcd": "for GTKWave or Surfer"}
    click.echo(f"{output}: {output.stat().st_size / 1e6:,.1f} MB, {what[kind]}")


def _waveforms(loaded: Any, config: Config, x: np.ndarray, batch: int, engine: str, output: Path, report: Any) -> None:
    from etchnet.host.driver.driver import Accelerator
    from etchnet.host.driver.engines import make_engine

    with replacing(output) as partial:
        simulator = make_engine(engine, config, vcd=partial, **engine_options(engine, report))
        with contextlib.closing(simulator):
            accelerator = Accelerator(engine=simulator)
            accelerator.load(loaded.network, batch=batch)
            accelerator.run(x)
