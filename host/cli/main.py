"""Entry point of the command line: the command groups shown by help, and the mapping from errors to exit statuses."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module, metadata

import click
from amaranth.back.verilog import YosysError
from amaranth.hdl import UnusedElaboratable

from etchnet.hdl.isa.errors import EtchnetError
from etchnet.host.cli.options import MODEL_HELP
from etchnet.host.tools.printable import printable

__all__ = ["SECTIONS", "cli", "main"]

SECTIONS = {
    "Start here": ("demo", "doctor"),
    "Run a model": ("run", "report", "compare", "bench", "trace", "state"),
    "Choose and build hardware": ("size", "verilog", "prove", "build", "synth", "flow"),
}
"""commands by section, in the order in which help lists them; command NAME is `etchnet.host.cli.NAME.NAME`"""


class _Sections(click.Group):
    """Group that lists commands by section, and imports the module of a command only when the command is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in SECTIONS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = getattr(import_module(f"etchnet.host.cli.{cmd_name}"), cmd_name)
        return command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands first: they matter more than the options of the group."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.list_commands(ctx)))
        for title, names in SECTIONS.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            # Click's default limit of 45 characters would cut off first sentences that fit on the line.
            lines = [(name.ljust(width), c.get_short_help_str(formatter.width)) for name, c in commands.items() if c]
            with formatter.section(title):
                formatter.write_dl(lines)


@click.group(cls=_Sections, epilog=MODEL_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("etchnet"), prog_name="etchnet")
def cli() -> None:
    """Run int8 neural networks on a systolic array: simulate, measure, build.

    Begin with `etchnet demo`, which needs no files. Then `etchnet report MODEL` tells how long your model would take on
    the chip, and `etchnet run MODEL --input X.npy` runs it.

    `etchnet COMMAND --help` shows the options of a command.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with `arguments`, by default those of the process.

    A user's error prints one line on stderr and exits with status 2; an interrupt exits with status 130.
    """
    try:
        cli.main(args=arguments, prog_name="etchnet", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.ClickException as error:
        _fail(error.format_message())
    except click.Abort:
        # Amaranth warns of modules that were made and not used; an interruption leaves many of these.
        warnings.simplefilter("ignore", UnusedElaboratable)
        click.echo("etchnet: interrupted", err=True)
        sys.exit(130)
    except OSError as error:
        _fail(str(error) if error.filename is None else f"{error.filename}: {error.strerror}")
    except (EtchnetError, YosysError) as error:
        _fail(f"{error}{_remedy(error)}")


def _remedy(error: Exception) -> str:
    """Return the options with which a network fits the machine, as a text that continues the error; or nothing."""
    # Imported here so that help and other commands' errors need no compiler.
    from etchnet.host.compiler.capacity import CapacityError, largest

    if not isinstance(error, CapacityError) or not error.short:
        return ""
    if any(value > largest(name) for name, value in error.short.items()):
        return ""
    return "; it fits with " + " ".join(f"--set {name}={value}" for name, value in error.short.items())


def _fail(message: str) -> None:
    click.echo(f"etchnet: {printable(' '.join(message.split()))}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
