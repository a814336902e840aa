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
    clock_option,
    engine_options,
    machine_for,
    machine_options,
    progress,
)

__all__ = ["trace"]

_FORMATS = {".html": "html", ".htm": "html", ".json": "perfetto", ".vcd": "vcd"}


@click.command()
@click.argument("model")
@machine_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write."
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "perfetto", "vcd"]),
    help="A page for any browser; JSON for ui.perfetto.dev; or waveforms of the RTL for GTKWave or Surfer.  "
    "[by the file's suffix: .html, .json, .vcd]",
)
@click.option(
    "--engine",
    type=click.Choice(["amaranth", "verilator"]),
    default="amaranth",
    show_default=True,
    help="The engine that writes waveforms.",
)
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Inputs, that go through one after the other: .npy, .txt, .csv, or a picture.  [random ones]",
)
@click.option("--inputs", "count", type=click.IntRange(1, 64), default=1, show_default=True, help="Random inputs.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Inputs in the array at once.")
@click.option("--size", type=click.IntRange(1, 512), default=64, show_default=True, help="M = K = N of gemm.")
@clock_option
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
    """Write what a run of MODEL, or of a matrix product (gemm), does in every cycle: by default a page to look at."""
    from etchnet.host.importers.load import load_input, load_model, plain_model
    from etchnet.host.reports.compare import default_inputs

    kind = kind or _FORMATS.get(output.suffix.lower())
    if kind is None:
        raise UsageError(
            f"--output must end in {', '.join(_FORMATS)}, or --format say what to write, not {str(output)!r}"
        )
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
