"""`etchnet compare`."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from etchnet.hdl.isa.config import Config
from etchnet.host.cli.options import (
    MODEL_HELP,
    UsageError,
    compiled_for,
    engine_options,
    input_option,
    json_option,
    machine_options,
)
from etchnet.host.cli.output import plural, print_json, progress
from etchnet.host.cli.subject import inputs_of

__all__ = ["compare"]


@click.command(epilog=MODEL_HELP)
@click.argument("model")
@click.option(
    "--engines",
    metavar="ENGINE,ENGINE",
    default="exact,amaranth",
    show_default=True,
    help="Two of exact, amaranth and verilator.",
)
@input_option("Inputs", default="one random input")
@machine_options
@json_option
def compare(
    model: str, config: Config, engines: str, source: Sequence[Path], limits: tuple[float, float] | None, as_json: bool
) -> None:
    """Run a model on two engines and find the first difference.

    Compares every output of every layer, every counter and the cycle of every link word. The exit status is 0 if all
    are equal. Otherwise it is 1, and the first layer, element, pass and cycle that differ are printed.
    """
    from etchnet.host.driver.engines import ENGINES, make_engine
    from etchnet.host.importers.load import load_model
    from etchnet.host.reports.compare import compare as compare_engines

    pair = engines.split(",")
    if len(pair) != 2 or any(name not in ENGINES for name in pair):
        raise UsageError(f"--engines must be two of {', '.join(ENGINES)}, separated by a comma, not {engines!r}")
    with progress(quiet=as_json) as say:
        say(f"loading {model}")
        loaded = load_model(model)
        x = inputs_of(loaded, source, limits)
        say("compiling")
        parts = map(loaded.network.upto, range(len(loaded.names)))
        config = compiled_for(config, loaded.network, parts=parts).config
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
            f"cycle of every link word, for {plural(len(x), 'input')}"
        )
    else:
        click.echo(f"{loaded.name}, layer {difference.layer} ({difference.name}): {difference.message}")
    if difference is not None:
        sys.exit(1)
