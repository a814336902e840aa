"""What the commands share: options, progress, and how results are printed."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from etchnet.hdl.isa.config import Config, ConfigError

if TYPE_CHECKING:
    from etchnet.host.network.network import Network
    from etchnet.sim.engines.link import Engine

__all__ = [
    "UsageError",
    "clock_for",
    "clock_option",
    "engine_option",
    "engine_options",
    "json_option",
    "machine_for",
    "machine_on",
    "machine_options",
    "print_json",
    "progress",
]


_CONTRACT_GIVEN = f"{__name__}.contract_given"
_GIVEN = f"{__name__}.given"


class UsageError(click.ClickException):
    """Input that the command line does not take."""


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[..., None]]:
    """A line on stderr that says what is going on: call it with a text and, where known, the done share."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def report(text: str, share: float | None = None) -> None:
            if share is None:
                bar.update(task, description=text, total=None)
            else:
                bar.update(task, description=text, total=1.0, completed=share)

        yield report


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE as a machine parameter: a whole number where it is one."""
    name, separator, value = text.partition("=")
    if not separator or not name or not value:
        raise UsageError(f"--set takes NAME=VALUE, such as input_words=2048, not {text!r}")
    return name, int(value) if value.lstrip("-").isdigit() else value


def machine_options(function: Callable[..., Any]) -> Any:
    """Options that describe a machine; the command gets them as `config`."""

    @functools.wraps(function)
    def command(
        *args: Any,
        rows: int | None,
        cols: int | None,
        weight_rows: int | None,
        requantisers: int | None,
        settings: Sequence[str],
        config: Path | None,
        **options: Any,
    ) -> Any:
        values = _read_config(config) if config else {}
        values |= dict(_setting(text) for text in settings)
        given = {"rows": rows, "columns": cols, "weight_rows": weight_rows, "requantisers": requantisers}
        values |= {name: value for name, value in given.items() if value is not None}
        click.get_current_context().meta.update({_CONTRACT_GIVEN: "contract" in values, _GIVEN: values})
        return function(*args, config=Config.from_dict(values), **options)

    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="TOML file of machine parameters; the options above take precedence.",
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="NAME=VALUE",
            help="Any machine parameter, such as input_words=2048; may be repeated.",
        ),
        click.option("--requantisers", type=int, help="Requantisers of the output stage; divides columns.  [columns]"),
        click.option("--weight-rows", type=int, help="Weight rows loaded per cycle (W); divides rows.  [1]"),
        click.option("--cols", "--columns", "cols", type=int, help="Columns of the array.  [16]"),
        click.option("--rows", type=int, help="Rows of the array.  [16]"),
    ):
        command = option(command)
    return command


def machine_on(defaults: Mapping[str, Any]) -> Config:
    """The command's machine, with other values where the user gave none."""
    return Config.from_dict({**defaults, **click.get_current_context().meta[_GIVEN]})


def machine_for(config: Config, network: Network) -> Config:
    """A command's machine for a network: it rounds as the network does, unless the config file says how it rounds."""
    if click.get_current_context().meta.get(_CONTRACT_GIVEN, True):
        return config
    return dataclasses.replace(config, contract=network.contract)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def _finite(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


clock_option = click.option(
    "--clock",
    type=click.FloatRange(min=0, min_open=True),
    callback=_finite,
    default=100.0,
    show_default=True,
    help="Clock in MHz that the chip's times are stated for.",
)


def clock_for(engine: Engine, clock: float) -> tuple[float, str]:
    """The clock in Hz that times are stated for, and where cycles come from: a board knows its own clock."""
    if engine.clock_hz is None:
        return clock * 1e6, "simulated"
    given = click.get_current_context().get_parameter_source("clock") is not ParameterSource.DEFAULT
    return clock * 1e6 if given else engine.clock_hz, "counted on the board"


class _EngineType(click.ParamType):  # type: ignore[type-arg]
    """The name of an engine, as `make_engine` takes it."""

    name = "engine"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        from etchnet.host.driver.engines import ENGINES, SERIAL

        return f"[{'|'.join(ENGINES)}|{SERIAL}PORT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from etchnet.host.driver.engines import ENGINES, SERIAL
        from etchnet.host.driver.port import parse_port

        if value.startswith(SERIAL):
            try:
                parse_port(value.removeprefix(SERIAL))
            except ValueError as error:
                self.fail(str(error), param, ctx)
        elif value not in ENGINES:
            self.fail(f"{value!r} is not one of {', '.join(map(repr, ENGINES))}, '{SERIAL}PORT'.", param, ctx)
        return value


engine_option = click.option(
    "--engine",
    type=_EngineType(),
    default="exact",
    show_default=True,
    help="What runs it: a simulator, or the board on a serial port, as in serial:/dev/ttyUSB0?baud=1000000.",
)


def engine_options(engine: str, report: Callable[..., None]) -> dict[str, Any]:
    """What an engine that steps through cycles, or through bytes, reports while it does."""
    if engine == "exact":
        return {}
    if ":" in engine:
        return {"progress": lambda done, total: report(f"engine {engine}, {done:,} of {total:,} bytes", done / total)}
    options: dict[str, Any] = {"progress": lambda cycle: report(f"engine {engine}, cycle {cycle:,}")}
    return options | ({"report": report} if engine == "verilator" else {})


def print_json(result: Any) -> None:
    """Print one JSON object and nothing else."""
    click.echo(json.dumps(result, allow_nan=False))
