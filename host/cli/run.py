"""`etchnet run`."""

from __future__ import annotations

import contextlib
import io
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.counters import by_name
from etchnet.hdl.targets.files import write_bytes
from etchnet.host.cli.options import (
    UsageError,
    batch_option,
    clock_for,
    clock_option,
    engine_option,
    engine_options,
    input_option,
    json_option,
    machine_for,
    machine_options,
)
from etchnet.host.cli.output import plural, print_json, progress, shares_text

__all__ = ["run"]

_LISTED = 10
"""largest number of inputs whose answer is printed"""


@click.command()
@click.argument("model")
@input_option("Inputs: .npy, .txt, .csv, or a picture.", required=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write the outputs to: .npy, or .npz if there are several.",
)
@engine_option
@batch_option
@clock_option
@machine_options
@json_option
def run(
    model: str, config: Config, source: Path, output: Path | None, engine: str, batch: int, clock: float, as_json: bool
) -> None:
    """Run a model on inputs from a file.

    Prints the index of each input's largest output, the machine's counters, and inferences per second. MODEL is a
    .tflite file, an .onnx file, an .npz file written by Network.save, or "demo".
    """
    from etchnet.host.driver.driver import Accelerator
    from etchnet.host.importers.load import load_input, load_model

    loaded = load_model(model)
    config = machine_for(config, loaded.network)
    x = load_input(source, loaded)
    suffix = ".npy" if len(loaded.outputs) == 1 else ".npz"
    if output is not None and output.suffix != suffix:
        what = "one output" if suffix == ".npy" else f"{len(loaded.outputs)} outputs"
        raise UsageError(f"--output must end in {suffix} for a model with {what}, not {output.name!r}")
    with progress(quiet=as_json) as report:
        report(f"running {plural(len(x), 'input')} on {engine}")
        accelerator = Accelerator(config, engine=engine, **engine_options(engine, report))
        with contextlib.closing(accelerator.engine):
            accelerator.load(loaded.network, batch=batch)
            start = time.perf_counter()
            outputs = loaded.finish_all(accelerator.run(x))
            seconds = time.perf_counter() - start
    if output is not None:
        _save(output, outputs, [port.name for port in loaded.outputs])
    counts, (hertz, origin) = accelerator.counts, clock_for(accelerator.engine, clock)
    per_second = hertz * len(x) / counts.cycles
    if as_json:
        print_json(
            {
                "model": loaded.name,
                "engine": engine,
                "config": config.to_dict(),
                "inputs": len(x),
                **_described(outputs, [port.name for port in loaded.outputs]),
                "output": None if output is None else str(output),
                "clock_hz": hertz,
                "counters": by_name(counts.totals),
                "shares": counts.shares(),
                "inferences_per_second": per_second,
                "simulation_seconds" if accelerator.engine.clock_hz is None else "seconds": seconds,
            }
        )
        return
    written = f", written to {output}" if output else ""
    shapes = ", ".join(f"{y.dtype} {y.shape}" for y in outputs)
    made = f" ({accelerator.engine.origin})" if accelerator.engine.origin else ""
    click.echo(f"{loaded.name} on {engine}{made}: {plural(len(x), 'input')}, outputs {shapes}{written}")
    for port, y in zip(loaded.outputs, outputs, strict=True):
        best, of = _largest(y), f" of {port.name}" if len(outputs) > 1 else ""
        more = ", ..." if len(best) > _LISTED else ""
        click.echo(f"index of the largest output{of}, by input: {', '.join(map(str, best[:_LISTED]))}{more}")
    click.echo(
        f"cycles {counts.cycles:,}, {counts.cycles / len(x):,.1f} per input; at {hertz / 1e6:g} MHz "
        f"{per_second:,.0f} inputs/s ({origin})"
    )
    click.echo("counters: " + ", ".join(f"{name} {count:,}" for name, count in by_name(counts.totals).items()))
    click.echo("where the cycles go: " + shares_text(counts.shares()))


def _largest(y: np.ndarray) -> list[int]:
    """Return the index of the largest value of each item."""
    return [int(index) for index in y.reshape(len(y), -1).argmax(axis=1)]


def _described(outputs: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, Any]:
    """Return shape, type and largest values of the only output, or of each of several, by its name."""
    found = [{"output_shape": list(y.shape), "output_dtype": str(y.dtype), "argmax": _largest(y)} for y in outputs]
    return found[0] if len(found) == 1 else {"outputs": dict(zip(names, found, strict=True))}


def _save(path: Path, outputs: Sequence[np.ndarray], names: Sequence[str]) -> None:
    """Write an .npy file of the only output, or an .npz file of several by their names."""
    # numpy cannot write arrays to pipes, so it writes to memory first.
    contents = io.BytesIO()
    if len(outputs) == 1:
        np.save(contents, outputs[0])
    else:
        with zipfile.ZipFile(contents, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, values in zip(names, outputs, strict=True):
                np.save(member := io.BytesIO(), values)
                archive.writestr(f"{name}.npy", member.getvalue())
    write_bytes(path, contents.getvalue())
