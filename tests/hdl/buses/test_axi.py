"""The machine on AXI buses: its Verilog, and masters of cocotbext-axi in front of it (`bench_axi`)."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cocotb_tools.runner import Runner
from support.cocotb_runner import build_bench, run_bench
from support.needs import needs_verilator
from support.strategies import int8

from etchnet.hdl.buses.axi import Axi
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import VerilogDesign, generate
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network
from etchnet.host.tools.yosys import run_yosys
from etchnet.sim.engines.verilated import find_verilator

TOP = "etchnet_axi"
CONFIG = Config(
    rows=4,
    columns=3,
    weight_rows=2,
    requantisers=3,
    weight_tiles=64,
    activation_words=64,
    input_words=16,
    output_words=32,
    accumulator_rows=8,
    passes=128,
    drains=32,
    parameter_tiles=16,
)
BENCHES = {
    "network_over_the_streams",
    "counters_while_a_run_goes_on",
    "every_address",
    "strobes",
    "reads_and_writes_at_once",
    "interrupts",
    "frames_of_several_halves",
    "reset_in_the_middle_of_a_transfer",
}


@pytest.fixture(scope="module")
def design() -> VerilogDesign:
    return generate(CONFIG, wrapper=Axi)


def network() -> Network:
    """Two layers with ReLU between them."""
    random = np.random.default_rng(29)
    hidden = Dense.from_scale(
        int8(random, (10, 8)),
        random.integers(-20_000, 20_000, 8),
        scale=0.002,
        input_zero_point=-3,
        zero_point=-100,
        low=-100,
    )
    last = Dense.from_scale(
        int8(random, (8, 7)), random.integers(-20_000, 20_000, 7), scale=0.003, input_zero_point=-100, zero_point=5
    )
    return Network([hidden, last])


def bench(runner: Runner, design: VerilogDesign, folder: Path, tests: set[str]) -> None:
    """Build the machine in `folder`, write the files that the bench reads, and run some of its tests."""
    design.write(folder)
    (folder / "setup.json").write_text(json.dumps({"config": design.config.to_dict(), "batch": 3}))
    network().save(folder / "network.npz")
    np.save(folder / "inputs.npy", int8(np.random.default_rng(28), (18, 10)))
    build_bench(runner, folder, TOP)
    run_bench(runner, folder, "bench_axi", tests, TOP)


def test_a_machine_with_third_party_masters(runner: Runner, design: VerilogDesign, tmp_path: Path) -> None:
    bench(runner, design, tmp_path, BENCHES)


def test_a_machine_with_wide_streams(runner: Runner, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, rows=6, columns=2, weight_rows=3, requantisers=1, link_bits=64)
    bench(runner, generate(config, wrapper=Axi), tmp_path, {"network_over_the_streams"})


def test_the_manifest_describes_the_ports(design: VerilogDesign) -> None:
    manifest = json.loads(design.files["etchnet.json"])
    assert (manifest["top"], design.top) == (TOP, TOP)
    ports = manifest["ports"]
    assert "clk" not in ports
    assert "rst" not in ports
    assert {name: p["width"] for name, p in ports.items() if "axis" in name} == {
        "s_axis_tdata": 32,
        "s_axis_tkeep": 4,
        "s_axis_tvalid": 1,
        "s_axis_tready": 1,
        "m_axis_tdata": 32,
        "m_axis_tkeep": 4,
        "m_axis_tlast": 1,
        "m_axis_tvalid": 1,
        "m_axis_tready": 1,
    }
    head = design.verilog[design.verilog.index(f"module {TOP}(") :].split(");")[0]
    assert set(head.split("(")[1].replace(",", " ").split()) == set(ports)


@needs_verilator
@pytest.mark.parametrize("link_bits", [32, 64])
def test_verilator_lints_it_clean(link_bits: int, tmp_path: Path) -> None:
    generate(Config(rows=3, columns=5, link_bits=link_bits), wrapper=Axi).write(tmp_path)
    verilator, include = find_verilator()
    done = subprocess.run(
        [verilator, "--lint-only", "-Wall", "--quiet", "--top-module", TOP, "etchnet.v"],
        cwd=tmp_path,
        env={"VERILATOR_ROOT": str(include.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_no_output_depends_on_an_input_in_the_same_cycle(design: VerilogDesign, tmp_path: Path) -> None:
    """AXI requires it. Yosys follows every input through everything except flip-flops."""
    design.write(tmp_path)
    flipflops = ",".join(f"${kind}" for kind in ("dff", "dffe", "sdff", "sdffe", "sdffce"))
    script = f"""\
read_verilog etchnet.v
hierarchy -check -top {TOP}
proc
check -assert
flatten
opt_clean
select -set inputs i:* i:aclk %d
select -assert-any @inputs %co* o:* %i
select -assert-none @inputs %co*:-{flipflops} o:* %i
"""
    run_yosys(script, folder=tmp_path)


def test_a_machine_without_status_is_refused() -> None:
    with pytest.raises(ValueError, match="machine must be a Machine with status=True"):
        Axi(Machine(CONFIG))
