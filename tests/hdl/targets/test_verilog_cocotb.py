"""The generated Verilog in Verilator, driven at its pins by the cocotb tests of `bench_accelerator`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from cocotb_tools.runner import Runner
from support.cocotb_runner import build_bench, run_bench
from support.strategies import int8

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import generate
from etchnet.host.compiler.compile import compile_network
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network

# Not a multiple of the batch: the last repeat is padded with zeros.
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
    """Two layers with ReLU between them, nonzero zero points, and results over the whole range."""
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


def _build(runner: Runner, folder: Path, config: Config, network: Network, *, initial: bool = False) -> None:
    """Generate and build one machine in `folder`, and write the files that the bench reads."""
    program = compile_network(network, config, batch=BATCH)
    generate(config, init=program.image() if initial else None).write(folder)
    (folder / "setup.json").write_text(json.dumps({"config": config.to_dict(), "batch": BATCH}))
    network.save(folder / "network.npz")
    np.save(folder / "inputs.npy", int8(np.random.default_rng(18), (INPUTS, network.input_size)))
    build_bench(runner, folder)


def _run(runner: Runner, folder: Path, tests: set[str]) -> None:
    run_bench(runner, folder, "bench_accelerator", tests)


def test_machine_loaded_over_its_link(runner: Runner, tmp_path: Path) -> None:
    config = Config(rows=4, columns=3, weight_rows=2, requantisers=3, **MEMORIES)
    _build(runner, tmp_path, config, _network((10, 8, 7), wide=False))
    _run(runner, tmp_path, LOADED)


def test_machine_with_a_built_in_network(runner: Runner, tmp_path: Path) -> None:
    """Another machine: column tiles that share memory words, fewer requantisers, a wide link, int32 results."""
    config = Config(rows=6, columns=2, weight_rows=3, requantisers=1, link_bits=64, multiplier_latency=2, **MEMORIES)
    _build(runner, tmp_path, config, _network((13, 7, 5), wide=True), initial=True)
    # Tests run in the order in which the bench has them: loading overwrites the initial contents of the memories.
    _run(runner, tmp_path, INITIAL | LOADED)
