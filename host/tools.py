"""Tools that other people wrote, run as programs: found, watched while they run, and asked what went wrong."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MissingFpgaToolError", "Tool", "ToolError"]

_POLL = 0.1
_QUOTED = 3
"""lines of a log that an error quotes where the tool names none"""


class ToolError(RuntimeError):
    """A tool did not do what it was asked for; the message is its own line, and names its log."""


class MissingFpgaToolError(ToolError):
    """A tool is not installed."""


@dataclass(frozen=True)
class Tool:
    """A program from a package of WebAssembly, or of the same name on the PATH.

    Files are named relative to the folder it runs in, and lie in it: programs of WebAssembly see no other.
    """

    name: str
    """of the native program"""
    package: str = ""
    """the module of the package that has it, as `module:function`; without one, the program comes by its name"""
    distribution: str = ""
    """the package as pip calls it"""

    def command(self) -> list[str]:
        """What starts it.

        Raises
        ------
        MissingFpgaToolError
            It is not installed.
        """
        module, _, function = self.package.partition(":")
        if module and importlib.util.find_spec(module):
            call = f"import sys, {module} as tool; sys.exit(tool.{function}(sys.argv[1:]))"
            return [sys.executable, "-c", call]
        beside = Path(sys.executable).with_name(self.name)
        if found := (str(beside) if not module and beside.exists() else None) or shutil.which(self.name):
            return [found]
        raise MissingFpgaToolError(f'{self.name} was not found: pip install "etchnet[fpga]"')

    def version(self) -> str:
        """Name and version, as far as either can be told."""
        try:
            return f"{self.distribution or self.name} {importlib.metadata.version(self.distribution)}"
        except importlib.metadata.PackageNotFoundError:
            return self.name

    def run(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        log: str,
        watch: Callable[[str], None] = lambda line: None,
        stdin: str = "",
    ) -> str:
        """Run it in `folder`, with all it says in the file `log` there, which is returned; `watch` is told every line.

        An interruption kills it; the log stays.

        Raises
        ------
        ToolError
            It failed.
        """
        path = folder / log
        (source := folder / f".{log}.stdin").write_text(stdin)
        try:
            with path.open("w") as output, source.open() as given:
                process = subprocess.Popen(
                    [*self.command(), *arguments], cwd=folder, stdin=given, stdout=output, stderr=subprocess.STDOUT
                )
            try:
                with path.open(errors="replace") as said:
                    running = True
                    while running:
                        running = process.poll() is None
                        for line in said:
                            watch(line.rstrip())
                        if running:
                            time.sleep(_POLL)
            except BaseException:
                process.kill()
                process.wait()
                raise
        finally:
            source.unlink()
        text = path.read_text(errors="replace")
        if process.returncode:
            raise ToolError(f"{self.name}: {_reason(text)} (see {path})")
        return text


def _reason(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or line.startswith("error")]
    if errors:
        return errors[-1].split("ERROR:", 1)[-1].strip()
    return " / ".join(lines[-_QUOTED:]) or "it failed and said nothing"
