"""Building and running benches of cocotb in Verilator."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import find_libpython
import pytest
from cocotb_tools.runner import Runner, get_runner

from etchnet.hdl.targets.verilog import TOP
from etchnet.sim.engines.verilated import MissingToolError, cache_folder, find_compiler, find_verilator


def make_runner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Return Verilator as cocotb starts it; skip the test if a tool is missing. See the fixture `runner`."""
    try:
        verilator, include = find_verilator()
        compiler = find_compiler()
    except MissingToolError as error:
        pytest.skip(str(error))
    if shutil.which("make") is None:
        pytest.skip("cocotb builds with make: put it on the PATH")
    if find_libpython.find_libpython() is None:
        pytest.skip("cocotb needs Python's shared library, which this Python lacks")

    # cocotb looks for `verilator` on the PATH. The package's own needs Perl; this one does not.
    tools_folder = folder / "bin"
    tools_folder.mkdir()
    (tools_folder / "verilator").write_text(f'#!/bin/sh\nexec {shlex.quote(str(verilator))} "$@"\n')
    (tools_folder / "verilator").chmod(0o755)
    cached = [sys.executable, str(Path(__file__).with_name("object_cache.py")), str(cache_folder())]
    (tools_folder / "cached").write_text(f'#!/bin/sh\nexec {shlex.join(cached)} "$@"\n')
    (tools_folder / "cached").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools_folder), prepend=os.pathsep)
    monkeypatch.setenv("VERILATOR_ROOT", str(include.parent))
    # The package's makefile names the tools of the machine that it was built on. Compiling one source file at a time
    # would need precompiled headers, whose options the makefile does not know either.
    tools = {"OBJCACHE": "cached", "CXX": compiler, "LINK": compiler, "AR": "ar", "PYTHON3": sys.executable}
    options = {"VM_PARALLEL_BUILDS": "0", "OPT_FAST": "-O0", "OPT_GLOBAL": "-O0"}
    monkeypatch.setenv("MAKEFLAGS", " -- " + " ".join(f"{k}={v}" for k, v in (tools | options).items()))
    return get_runner("verilator")


def build_bench(runner: Runner, folder: Path, top: str = TOP) -> None:
    """Build the module `top` of the Verilog in `folder`."""
    runner.build(
        sources=[folder / f"{TOP}.v"],
        hdl_toplevel=top,
        build_dir=folder / "build",
        timescale=("1ns", "1ns"),
        build_args=["--no-timing", "--x-initial", "unique", "-CFLAGS", "-std=c++17", "-LDFLAGS", "-pthread"],
    )


def run_bench(runner: Runner, folder: Path, bench: str, tests: Iterable[str], top: str = TOP) -> None:
    """Run `tests` of a bench in the build in `folder`, one after the other; all of them must pass.

    Registers power up with arbitrary values.
    """
    results = folder / "results.xml"
    results.unlink(missing_ok=True)
    # The runner exits if a test failed, which the file says too, but not if there was none.
    with contextlib.suppress(SystemExit):
        runner.test(
            test_module=bench,
            hdl_toplevel=top,
            test_filter=rf"\.({'|'.join(sorted(tests))})$",
            seed=1,
            test_args=["+verilator+rand+reset+2", "+verilator+seed+17"],
            # The logs of the bus models take longer than the simulation.
            extra_env={"COCOTB_LOG_LEVEL": "WARNING"},
            # $readmemh finds the files of initial contents here.
            test_dir=folder,
            results_xml=str(results),
        )
    outcomes = {case.get("name"): {part.tag for part in case} for case in ElementTree.parse(results).iter("testcase")}
    assert set(outcomes) == set(tests)
    assert not {"failure", "error", "skipped"} & set().union(*outcomes.values())
