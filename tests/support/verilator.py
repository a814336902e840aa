"""Verilator run by hand, on projects in a folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from etchnet.sim.engines.verilated import find_compiler, find_verilator


def verilator(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Verilator in a folder; return how it ended and what it printed."""
    executable, include = find_verilator()
    environment = os.environ | {"VERILATOR_ROOT": str(include.parent)}
    return subprocess.run(
        [executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def build(folder: Path, top: str, *files: str) -> Path:
    """Compile a test bench without optimisation; return the program that runs it."""
    flags = [
        "CFG_CXXFLAGS_PCH_I=-include",
        "CFG_CXXFLAGS_STD=-std=gnu++20",
        "CFG_CXXFLAGS_STD_NEWEST=-std=gnu++20",
        "CFG_CXXFLAGS_COROUTINES=-fcoroutines",
        "CFG_LDLIBS_THREADS=-pthread",
        "OPT_FAST=-O0",
        "OPT_SLOW=-O0",
        "OPT_GLOBAL=-O0",
        f"CXX={find_compiler()}",
    ]
    arguments = [option for flag in flags for option in ("-MAKEFLAGS", flag)]
    built = verilator(folder, "--binary", "--timing", "-Wno-fatal", *arguments, "--top-module", top, *files)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "obj_dir" / f"V{top}"
