"""Options that several commands share, and the conversion of their values."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from etchnet.hdl.isa.config import Config, ConfigError

if TYPE_CHECKING:
    from etchnet.host.compiler.program import Program
    from etchnet.host.network.network import Network
    from etchnet.sim.engines.link import Engine

__all__ = [
    "MACHINE_DEFAULTS",
    "MODEL_HELP",
    "STDOUT",
    "InOrder",
    "LazyChoice",
    "UsageError",
    "batch_option",
    "clock_for",
    "clock_option",
    "compiled_for",
    "engine_option",
    "engine_options",
    "engines_option",
    "finite",
    "folder_option",
    "given_parameters",
    "input_option",
    "json_option",
    "machine_for",
    "machine_on",
    "machine_options",
    "refuse",
    "require_folder",
]

_CONTRACT_GIVEN = f"{__name__}.contract_given"
_GIVEN = f"{__name__}.given"

# As many digits as any parameter may have, and more; Python refuses to convert thousands.
_INTEGER = re.compile(r"-?\d{1,100}")


STDOUT = "-"
"""path that stands for standard output"""

MODEL_HELP = (
    "A MODEL is a .tflite file, an .onnx file, an .npz file written by Network.save, or "
    '"demo", the network that comes with the package.'
)
"""last sentence in the help of every command that takes a model"""

MACHINE_DEFAULTS = {"rows": "16", "columns": "16", "weight_rows": "1", "requantisers": "columns"}
"""parameters of the default machine in words, for help"""


class InOrder(click.Group):
    """Group whose help lists its commands in the order in which they are defined."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in order."""
        return list(self.commands)


class UsageError(click.ClickException):
    """Error for an option or argument whose value the command does not accept."""


def refuse(reason: str, *names: str) -> None:
    """Raise UsageError if the user gave an option of the current command that has no effect for a `reason`.

    `names` are the names of its parameters; those that the command does not have are skipped.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in names and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{max(parameter.opts, key=len)} has no effect {reason}")


def require_folder(path: Path, option: str = "--output") -> None:
    """Raise UsageError if the folder of the file that an option names does not exist."""
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder of {option} must exist: {path.absolute().parent} does not")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None


def _setting(text: str) -> tuple[str, Any]:
    """Parse NAME=VALUE as a machine parameter; a decimal integer, with an optional minus, becomes an int."""
    name, separator, value = text.partition("=")
    if not separator or not name or not value:
        raise UsageError(f"--set must be NAME=VALUE, such as input_words=2048, not {text!r}")
    return name, int(value) if _INTEGER.fullmatch(value) else value


def machine_options(function: Callable[..., Any], *, defaults: Mapping[str, str] | None = None) -> Any:
    """Add the options that describe a machine; the command receives them as one `Config`, its argument `config`.

    `defaults` are texts for the help of a command whose machine is not the default one by default, by parameter.
    """

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

    shown = MACHINE_DEFAULTS | dict(defaults or {})
    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="TOML file of machine parameters; --set and the four options above override it.",
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="NAME=VALUE",
            help="Set any machine parameter, such as input_words=2048; repeatable.",
        ),
        click.option(
            "--requantisers",
            type=int,
            help=f"Requantisers (n) of the output stage; must divide the columns.  [{shown['requantisers']}]",
        ),
        click.option(
            "--weight-rows",
            type=int,
            help=f"Weight rows loaded per cycle (W); must divide the rows.  [{shown['weight_rows']}]",
        ),
        click.option("--cols", "--columns", "cols", type=int, help=f"Columns of the array.  [{shown['columns']}]"),
        click.option("--rows", type=int, help=f"Rows of the array.  [{shown['rows']}]"),
    ):
        command = option(command)
    return command


def machine_on(defaults: Mapping[str, Any]) -> Config:
    """Return the current command's machine, with `defaults` for the parameters that the user did not set."""
    return Config.from_dict({**defaults, **given_parameters()})


def machine_for(config: Config, network: Network) -> Config:
    """Return `config` with the network's rounding contract, unless the user of the current command chose a contract."""
    if click.get_current_context().meta.get(_CONTRACT_GIVEN, True):
        return config
    return dataclasses.replace(config, contract=network.contract)


def compiled_for(
    config: Config,
    network: Network,
    *,
    batch: int = 1,
    packed: str | None = None,
    once: bool = False,
    parts: Iterable[Network] = (),
) -> Program:
    """Compile a network for the current command's machine, which is the `config` of the program.

    This is `config`, with the network's rounding contract unless the user chose a contract. If the network does not fit
    it, those memories that fall short and that the user did not set are enlarged, and a line on stderr says which. The
    machine also holds each of the networks in `parts`.

    Raises
    ------
    CapacityError
        Memories that the user set are too small, or no machine holds the network.
    """
    from etchnet.host.compiler.capacity import MEMORIES
    from etchnet.host.compiler.compile import compile_network

    context = click.get_current_context()
    machine = machine_for(config, network)
    grow = [name for name in MEMORIES if name not in given_parameters()]
    program = compile_network(network, machine, batch=batch, packed=packed, once=once, grow=grow)
    larger = program.config
    for part in parts:
        larger = compile_network(part, larger, grow=grow).config
    if larger != program.config:
        program = compile_network(network, larger, batch=batch, packed=packed, once=once)
    if program.config != machine and not context.params.get("as_json"):
        click.echo(_growth(machine, program.config), err=True)
    return program


def given_parameters() -> Mapping[str, Any]:
    """Return the parameters of the machine that the user of the current command set, by name."""
    found: Mapping[str, Any] = click.get_current_context().meta.get(_GIVEN, {})
    return found


def _growth(before: Config, after: Config) -> str:
    from etchnet.host.reports.area import board_summary

    old = before.to_dict()
    grown = [f"{name} = {value}" for name, value in after.to_dict().items() if value != old[name]]
    return f"memories enlarged for this model: {', '.join(grown)}; {board_summary(after)}"


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def finite(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Return an option's number, or None where it is not given; click calls it. Raises BadParameter for inf and nan."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


clock_option = click.option(
    "--clock",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    default=100.0,
    show_default=True,
    help="Clock of the chip in MHz, with which cycles are converted to time.",
)

batch_option = click.option(
    "--batch", type=click.IntRange(1), default=1, show_default=True, help="Inputs that are computed together."
)

folder_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write to."
)


def input_option(title: str, *, default: str = "") -> Callable[..., Any]:
    """Make the options `--input`, files of a model's inputs, and `--range`, how pictures are read.

    The command receives `source`, paths, and `limits`, the real numbers of pixels 0 and 255 or None. Help calls the
    files `title`, and names the inputs used without them, `default`; if there is none, --input is required.
    """
    files = click.option(
        "--input",
        "source",
        type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
        multiple=True,
        metavar="[NAME=]FILE",
        required=not default,
        help=f"{title}: .npy (- for standard input), .txt, .csv, or a picture; once for each input of the model."
        + (f"  [{default}]" if default else ""),
    )
    limits = click.option(
        "--range",
        "limits",
        type=(float, float),
        callback=_finite_range,
        metavar="LOW HIGH",
        help="Real numbers of pixels 0 and 255 of pictures.  [the range that the model's input holds]",
    )

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        decorated: Callable[..., Any] = files(limits(function))
        return decorated

    return add


def _finite_range(
    ctx: click.Context, parameter: click.Parameter, value: tuple[float, float] | None
) -> tuple[float, float] | None:
    """Return the numbers of --range; raises BadParameter unless float32 holds them and the smaller is first."""
    if value is not None and not -1e38 <= value[0] < value[1] <= 1e38:
        raise click.BadParameter("{:g} {:g} must be from -1e+38 to 1e+38, the smaller first.".format(*value))
    return value


def clock_for(engine: Engine, clock: float) -> tuple[float, str]:
    """Return the clock in Hz that converts cycles to time, and how the cycles were obtained, as text.

    A board reports its own clock, which an explicit --clock (`clock`, in MHz) overrides. Simulators use --clock.
    """
    if engine.clock_hz is None:
        return clock * 1e6, "simulated"
    given = click.get_current_context().get_parameter_source("clock") is not ParameterSource.DEFAULT
    return clock * 1e6 if given else engine.clock_hz, "counted on the board"


class LazyChoice(click.ParamType):  # type: ignore[type-arg]
    """Choice of one name, like `click.Choice`, whose names are computed on first use because that needs slow imports.

    Parameters
    ----------
    choices
        Function that returns the names.
    """

    name = "choice"

    def __init__(self, choices: Callable[[], Sequence[str]]) -> None:
        self._choices = choices

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the names in the form that help shows."""
        return f"[{'|'.join(self._choices())}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return `value`; raises BadParameter if it is not one of the names."""
        return click.Choice(self._choices()).convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names that begin with `incomplete`."""
        return click.Choice(self._choices()).shell_complete(ctx, param, incomplete)


def _engines() -> Sequence[str]:
    from etchnet.host.driver.engines import ENGINES

    return ENGINES


class _EngineType(click.ParamType):  # type: ignore[type-arg]
    """Name of an engine, in the form that `make_engine` accepts."""

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
        return str(value)


engine_option = click.option(
    "--engine",
    type=_EngineType(),
    default="exact",
    show_default=True,
    help="Simulator, or a board on a serial port, such as serial:/dev/ttyUSB0?baud=1000000.",
)

engines_option = click.option(
    "--engine",
    "engines",
    type=LazyChoice(_engines),
    multiple=True,
    help="Engine to time; repeatable.  [exact, and verilator where it is installed]",
)


def engine_options(engine: str, report: Callable[..., None]) -> dict[str, Any]:
    """Return the keyword arguments with which `make_engine` makes an engine that reports its progress to `report`."""
    if engine == "exact":
        return {}
    if ":" in engine:
        return {"progress": lambda done, total: report(f"engine {engine}, {done:,} of {total:,} bytes", done / total)}
    options: dict[str, Any] = {"progress": lambda cycle: report(f"engine {engine}, cycle {cycle:,}")}
    return options | ({"report": report} if engine == "verilator" else {})
