"""The generated Verilog in Verilator, driven at its pins by the cocotb tests of `bench_accelerator`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import find_libpython
import numpy as np
import pytest
from cocotb_tools.runner import Runner, get_runner
from strategies import int8

from etchnet.hdl.config import Config
from etchnet.hdl.verilog import TOP, generate
from etchnet.host.compiler import compile_network
from etchnet.host.network import Dense, Network
from etchnet.sim.verilated import MissingToolError, find_compiler, find_verilator

# No multiple of the batch: the last repeat is filled up with zeros.
BATCH, INPUTS = 3, 20

LOADED = {
    "outputs_and_counters_when_links_are_always_ready",
    "outputs_and_counters_under_back_pressure",
    "nothing_is_lost_while_the_outgoing_link_waits",
    "reset_in_mid_run",
}
INITIAL = {"network_from_initial_contents"}

MEMORIES = {
    "weight_tiles": 64,
    "activation_words": 64,
    "input_words": 16,
    "output_words": 32,
    "accumulator_rows": 8,
    "passes": 128,
    "drains": 32,
    "parameter_tiles": 16,
}


def _network(sizes: tuple[int, int, int], *, wide: bool) -> Network:
    """Two layers with ReLU between them, zero points that are not zero, and results all over their range."""
    random = np.random.default_rng(19)
    inputs, hidden, outputs = sizes
    first = Dense.from_scale(
        int8(random, (inputs, hidden)),
        random.integers(-20_000, 20_000, hidden),
        scale=random.uniform(0.001, 0.004, hidden),
        input_zero_point=-3,
        zero_point=-100,
        low=-100,
    )
    weights, bias = int8(random, (hidden, outputs)), random.integers(-20_000, 20_000, outputs)
    if wide:
        return Network([first, Dense(weights, bias, input_zero_point=-100)])
    scale = random.uniform(0.001, 0.004, outputs)
    return Network([first, Dense.from_scale(weights, bias, scale=scale, input_zero_point=-100, zero_point=5)])


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Verilator as cocotb starts it."""
    try:
        verilator, include = find_verilator()
        compiler = find_compiler()
    except MissingToolError as error:
        pytest.skip(str(error))
    if shutil.which("make") is None:
        pytest.skip("cocotb builds with make: put it on the PATH")
    if find_libpython.find_libpython() is None:
        pytest.skip("cocotb needs Python's shared library, which this Python comes without")

    # cocotb looks for `verilator` on the PATH. The package's own is a Perl script; this one does without.
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "verilator").write_text(f'#!/bin/sh\nexec {shlex.quote(str(verilator))} "$@"\n')
    (folder / "verilator").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("VERILATOR_ROOT", str(include.parent))
    # The package's makefile names the tools of the machine that it was made on. One source file at a time would need
    # precompiled headers, whose options it does not know either.
    tools = {"CXX": compiler, "LINK": compiler, "AR": "ar", "PYTHON3": sys.executable}
    options = {"VM_PARALLEL_BUILDS": "0", "OPT_FAST": "-O0", "OPT_GLOBAL": "-O0"}
    monkeypatch.setenv("MAKEFLAGS", " -- " + " ".join(f"{k}={v}" for k, v in (tools | options).items()))
    return get_runner("verilator")


def _build(runner: Runner, folder: Path, config: Config, network: Network, *, initial: bool = False) -> None:
    """Generate and build one machine in `folder`, and lay out what the bench reads."""
    program = compile_network(network, config, batch=BATCH)
    generate(config, init=program.image() if initial else None).write(folder)
    (folder / "setup.json").write_text(json.dumps({"config": config.to_dict(), "batch": BATCH}))
    network.save(folder / "network.npz")
    np.save(folder / "inputs.npy", int8(np.random.default_rng(18), (INPUTS, network.inputs)))
    runner.build(
        sources=[folder / f"{TOP}.v"],
        hdl_toplevel=TOP,
        build_dir=folder / "build",
        timescale=("1ns", "1ns"),
        build_args=["--no-timing", "--x-initial", "unique", "-CFLAGS", "-std=c++17", "-LDFLAGS", "-pthread"],
    )


def _run(runner: Runner, folder: Path, tests: set[str]) -> None:
    """Run `tests` of the bench in the machine in `folder`, one after the other; all of them have to pass.

    Registers wake up with anything.
    """
    results = runner.test(
        test_module="bench_accelerator",
        hdl_toplevel=TOP,
        test_filter=rf"\.({'|'.join(sorted(tests))})$",
        seed=1,
        test_args=["+verilator+rand+reset+2", "+verilator+seed+17"],
        # Where $readmemh finds the files of initial contents.
        test_dir=folder,
        results_xml=str(folder / "results.xml"),
    )
    # The runner raises if a test failed, but not if there was none.
    outcomes = {case.get("name"): {part.tag for part in case} for case in ElementTree.parse(results).iter("testcase")}
    assert set(outcomes) == tests
    assert not {"failure", "error", "skipped"} & set().union(*outcomes.values())


def test_machine_loaded_over_its_link(runner: Runner, tmp_path: Path) -> None:
    config = Config(rows=4, columns=3, weight_rows=2, requantisers=3, **MEMORIES)
    _build(runner, tmp_path, config, _network((10, 8, 7), wide=False))
    _run(runner, tmp_path, LOADED)


def test_machine_built_with_a_network_inside(runner: Runner, tmp_path: Path) -> None:
    """Another machine: column tiles that share memory words, fewer requantisers, a wide link, int32 results."""
    config = Config(rows=6, columns=2, weight_rows=3, requantisers=1, link_bits=64, multiplier_latency=2, **MEMORIES)
    _build(runner, tmp_path, config, _network((13, 7, 5), wide=True), initial=True)
    _run(runner, tmp_path, INITIAL)
    # Loading writes over what memories were built with.
    _run(runner, tmp_path, LOADED)
