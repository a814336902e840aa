"""`etchnet verilog`."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import click

from etchnet.hdl.isa.config import Config
from etchnet.host.cli.options import (
    MODEL_HELP,
    UsageError,
    batch_option,
    compiled_for,
    folder_option,
    json_option,
    machine_options,
    refuse,
)
from etchnet.host.cli.output import plural, print_json, progress

__all__ = ["verilog"]


@click.command(epilog=MODEL_HELP)
@click.argument("model", required=False)
@folder_option
@click.option("--network", metavar="MODEL", help="The same as the argument MODEL.")
@batch_option
@click.option(
    "--bus",
    type=click.Choice(["link", "axi"]),
    default="link",
    show_default=True,
    help="Bare link, or AXI4-Streams with AXI4-Lite registers, their C header and their SVD file.",
)
@machine_options
@json_option
def verilog(
    model: str | None, config: Config, output: Path, network: str | None, batch: int, bus: str, as_json: bool
) -> None:
    """Write the machine as Verilog, with a manifest.

    The manifest lists parameters, ports and memories. With a MODEL, the memories are initialised with its weights and
    program, compiled for batches of --batch inputs, so that the host need not load anything.
    """
    from etchnet.hdl.buses.axi import Axi
    from etchnet.hdl.buses.register_exports import register_files
    from etchnet.hdl.targets.verilog import generate
    from etchnet.host.importers.load import load_model

    if model is not None and network is not None:
        raise UsageError("MODEL and --network are the same: give one of them")
    model = model or network
    if model is None:
        refuse("without a MODEL", "batch")
    init = run = None
    start = time.perf_counter()
    with progress(quiet=as_json) as report:
        if model is not None:
            report(f"loading {model}")
            loaded = load_model(model).network
            report("compiling")
            program = compiled_for(config, loaded, batch=batch)
            config = program.config
            init, run = program.image(), program.command(1)
        report("generating Verilog")
        design = generate(config, init=init, run=run, wrapper=Axi if bus == "axi" else None)
        if bus == "axi":
            design = dataclasses.replace(design, files={**design.files, **register_files(config)})
    paths = design.write(output)
    seconds = time.perf_counter() - start
    modules = sum(line.startswith("module ") for line in design.verilog.splitlines())
    sizes = {path: path.stat().st_size for path in paths}
    if as_json:
        print_json(
            {
                "files": [str(path) for path in paths],
                "bytes": {path.name: size for path, size in sizes.items()},
                "top": design.top,
                "modules": modules,
                "seconds": seconds,
                "config": config.to_dict(),
            }
        )
        return
    click.echo(
        f"{paths[0]}: {sizes[paths[0]]:,} bytes, {plural(modules, 'module')}, top module {design.top}, {seconds:.1f} s"
    )
    for path in paths[1:]:
        click.echo(f"{path}: {sizes[path]:,} bytes")
