"""`etchnet run`."""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.counters import by_name
from etchnet.hdl.targets.files import write_bytes
from etchnet.host.cli.options import (
    MODEL_HELP,
    STDOUT,
    UsageError,
    batch_option,
    clock_for,
    clock_option,
    compiled_for,
    engine_option,
    engine_options,
    input_option,
    json_option,
    machine_options,
    refuse,
    require_folder,
)
from etchnet.host.cli.output import plural, print_json, progress, shares_text
from etchnet.host.cli.subject import range_texts
from etchnet.host.tools.printable import printable

if TYPE_CHECKING:
    from etchnet.host.driver.counts import Counts
    from etchnet.host.network.model import OutputPort

__all__ = ["run"]

_LISTED = 10
"""largest number of inputs whose answer is printed"""


@click.command(epilog=MODEL_HELP)
@click.argument("model")
@input_option("Inputs")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="File to write the outputs to: .npy, or .npz if there are several; - is standard output.",
)
@engine_option
@batch_option
@clock_option
@machine_options
@json_option
def run(
    model: str,
    config: Config,
    source: Sequence[Path],
    limits: tuple[float, float] | None,
    output: Path | None,
    engine: str,
    batch: int,
    clock: float,
    as_json: bool,
) -> None:
    """Run a model on inputs from a file.

    Prints the largest values of each output for the first ten inputs, the machine's counters, and inferences per
    second.
    """
    from etchnet.host.driver.driver import Accelerator
    from etchnet.host.importers.load import load_inputs, load_model

    with progress(quiet=as_json) as report:
        report(f"loading {model}")
        loaded = load_model(model)
        x = (given := load_inputs(source, loaded, limits=limits)).x
    if not given.ranges:
        refuse("unless an input is a picture", "limits")
    to_stdout = output is not None and str(output) == STDOUT
    if output is not None:
        _check_output(output, len(loaded.outputs), as_json=as_json)
    with progress(quiet=as_json) as report:
        report("compiling")
        program = compiled_for(config, loaded.network, batch=batch)
        config = program.config
        report(f"running {plural(len(x), 'input')} on {engine}")
        accelerator = Accelerator(config, engine=engine, **engine_options(engine, report))
        with contextlib.closing(accelerator.engine):
            accelerator.load_program(program)
            start = time.perf_counter()
            outputs = loaded.finish_all(accelerator.run(x))
            seconds = time.perf_counter() - start
    if output is not None:
        contents = _packed(outputs, [port.name for port in loaded.outputs])
        if to_stdout:
            sys.stdout.buffer.write(contents)
        else:
            write_bytes(output, contents)
    counts, (hertz, origin) = accelerator.counts, clock_for(accelerator.engine, clock)
    if as_json:
        print_json(
            {
                "model": loaded.name,
                "engine": engine,
                "config": config.to_dict(),
                "inputs": len(x),
                **({"pixel_ranges": given.ranges} if given.ranges else {}),
                **_described(loaded.outputs, outputs),
                "output": None if output is None else str(output),
                "clock_hz": hertz,
                "counters": by_name(counts.totals),
                "shares": counts.shares(),
                "inferences_per_second": hertz * len(x) / counts.cycles,
                "simulation_seconds" if accelerator.engine.clock_hz is None else "seconds": seconds,
            }
        )
        return
    # With outputs on standard output, everything else goes to standard error.
    say = functools.partial(click.echo, err=to_stdout)
    written = f", written to {output}" if output is not None and not to_stdout else ""
    for line in range_texts(given, limits):
        say(line)
    shapes = ", ".join(f"{y.dtype} {y.shape}" for y in outputs)
    made = f" ({accelerator.engine.origin})" if accelerator.engine.origin else ""
    noun = "output" if len(outputs) == 1 else "outputs"
    say(f"{loaded.name} on {engine}{made}: {plural(len(x), 'input')}, {noun} {shapes}{written}")
    for line in (*_answers(loaded.outputs, outputs), *_cycles(counts, len(x), hertz, origin)):
        say(line)


def _check_output(output: Path, count: int, *, as_json: bool) -> None:
    """Refuse a file that cannot hold `count` outputs, or whose folder does not exist."""
    if str(output) == STDOUT and as_json:
        raise UsageError("--json and --output - both write to standard output: give one of them")
    suffix = ".npy" if count == 1 else ".npz"
    special = str(output) == STDOUT or (output.exists() and not output.is_file())
    if not special and output.suffix != suffix:
        what = "one output" if count == 1 else f"{count} outputs"
        raise UsageError(f"--output must end in {suffix} for a model with {what}, not {output.name!r}")
    require_folder(output)


def _answers(ports: Sequence[OutputPort], outputs: Sequence[np.ndarray]) -> Iterator[str]:
    """Yield a line for each output and each of the first inputs, with the largest values."""
    from etchnet.host.reports.answers import best

    for port, y in zip(ports, outputs, strict=True):
        of = f" of {printable(port.name)}" if len(outputs) > 1 else ""
        for number, found in enumerate(best(port, y[:_LISTED])):
            largest, *rest = map(str, found)
            largest = f"largest output{of} {largest}, then {', '.join(rest)}" if rest else f"output{of} {largest}"
            yield f"input {number}: {largest}"
    if len(outputs[0]) > _LISTED:
        yield f"... and {plural(len(outputs[0]) - _LISTED, 'more input')}: --output writes all"


def _cycles(counts: Counts, inputs: int, hertz: float, origin: str) -> Iterator[str]:
    """Yield lines with the cycles of a run and what they were spent on."""
    each = f", {counts.cycles / inputs:,.1f} per input" if inputs > 1 else ""
    speed = f"{hertz * inputs / counts.cycles:,.0f} inputs/s ({origin})"
    yield f"cycles {counts.cycles:,}{each}; at {hertz / 1e6:g} MHz {speed}"
    yield "counters: " + ", ".join(f"{name} {count:,}" for name, count in by_name(counts.totals).items())
    yield "where the cycles go: " + shares_text(counts.shares())


def _described(ports: Sequence[OutputPort], outputs: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return shape, type and largest values of the only output, or of each of several, by its name."""
    from etchnet.host.reports.answers import best

    found = {
        port.name: {
            "output_shape": list(y.shape),
            "output_dtype": str(y.dtype),
            "argmax": [int(index) for index in y.reshape(len(y), -1).argmax(axis=1)],
            "best": [[{"index": list(a.index), "score": a.score} for a in answers] for answers in best(port, y)],
        }
        for port, y in zip(ports, outputs, strict=True)
    }
    return next(iter(found.values())) if len(found) == 1 else {"outputs": found}


def _packed(outputs: Sequence[np.ndarray], names: Sequence[str]) -> bytes:
    """Return the bytes of an .npy file of the only output, or of an .npz file of several by their names."""
    # numpy cannot write arrays to pipes, so it writes to memory first.
    contents = io.BytesIO()
    if len(outputs) == 1:
        np.save(contents, outputs[0])
    else:
        with zipfile.ZipFile(contents, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, values in zip(names, outputs, strict=True):
                np.save(member := io.BytesIO(), values)
                archive.writestr(f"{name}.npy", member.getvalue())
    return contents.getvalue()
