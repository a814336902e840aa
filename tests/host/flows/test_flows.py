"""Projects for other flows, read and run by tools that did not write them."""

import functools
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from support.command_line import error, run
from support.needs import needs_verilator

from etchnet.hdl.isa.config import Config, ConfigError
from etchnet.hdl.targets.verilog import generate
from etchnet.host.flows.flows import (
    MOST_BITS,
    PDKS,
    TILE,
    fusesoc,
    librelane,
    litex,
    memory_bits,
    testbench,
    tinytapeout,
    write_files,
)
from etchnet.host.tools.yosys import run_yosys
from etchnet.sim.engines.verilated import find_compiler, find_verilator

testbench.__test__ = False  # the name begins like a test's
fusesoc, librelane, litex, tinytapeout = map(functools.cache, (fusesoc, librelane, litex, tinytapeout))

TINY_MEMORIES = [
    f"--set={name}={value}"
    for name, value in TILE.to_dict().items()
    if name.endswith(("_words", "_tiles", "_rows", "passes", "drains")) and name != "weight_rows"
]

SMALL = Config(
    rows=3,
    columns=5,
    weight_tiles=8,
    activation_words=32,
    input_words=16,
    output_words=16,
    accumulator_rows=8,
    passes=16,
    drains=8,
    parameter_tiles=4,
)


def verilator(folder, *arguments):
    executable, include = find_verilator()
    environment = os.environ | {"VERILATOR_ROOT": str(include.parent)}
    return subprocess.run(
        [executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def build(folder, top, *files):
    """A program that runs a test bench."""
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


@pytest.mark.parametrize("config", [TILE, SMALL], ids=["2x2", "3x5"])
def test_memory_bits_are_those_that_yosys_finds(config, tmp_path):
    design = generate(config)
    design.write(tmp_path)
    log = run_yosys("read_verilog etchnet.v; hierarchy -top etchnet; proc; flatten; stat", folder=tmp_path)
    assert memory_bits(design) == int(re.findall(r"(\d+) memory bits", log)[-1])


def test_the_fusesoc_core_names_the_files_that_lie_beside_it():
    yaml = pytest.importorskip("yaml")
    files = fusesoc(TILE)
    first, _, text = files["etchnet.core"].partition("\n")
    assert first == "CAPI=2:"
    core = yaml.safe_load(text)
    named = [name for fileset in core["filesets"].values() for name in fileset["files"]]
    assert sorted([*named, "etchnet.core", "etchnet.json"]) == sorted(files)
    assert set(core["targets"]) == {"default", "lint", "sim", "synth"}
    for target in core["targets"].values():
        assert set(target["filesets"]) <= set(core["filesets"])
        sources = "".join(files[f] for fileset in target["filesets"] for f in core["filesets"][fileset]["files"])
        assert re.search(rf"^module {target['toplevel']}\b", sources, re.MULTILINE)


@pytest.mark.filterwarnings("default")
def test_fusesoc_itself_takes_the_core(tmp_path):
    pytest.importorskip("fusesoc")
    from fusesoc.capi2.coreparser import Core2Parser
    from fusesoc.core import Core

    write_files(fusesoc(TILE), tmp_path)
    core = Core(Core2Parser(), str(tmp_path / "etchnet.core"))
    assert core.get_toplevel({"target": "lint", "is_toplevel": True}) == "etchnet"
    assert core.get_toplevel({"target": "sim", "is_toplevel": True}) == "etchnet_tb"


@needs_verilator
def test_the_test_bench_passes_under_verilator_and_fails_where_a_word_differs(tmp_path):
    write_files(fusesoc(TILE), tmp_path)
    bench = tmp_path / "etchnet_tb.v"
    # One build for both: a plusarg spoils the last word that must come back.
    spoiled = bench.read_text().replace(
        "  end\nendmodule", '    if ($test$plusargs("spoil")) expected[EXPECTED-1] = 7;\n  end\nendmodule'
    )
    assert spoiled != bench.read_text()
    bench.write_text(spoiled)
    program = build(tmp_path, "etchnet_tb", "etchnet.v", "etchnet_tb.v")
    good = subprocess.run([program], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stdout
    assert re.search(r"^PASSED: \d+ words, \d+ cycles$", good.stdout, re.MULTILINE)
    bad = subprocess.run([program, "+spoil"], capture_output=True, text=True, check=False)
    assert bad.returncode != 0
    assert "FAILED: word" in bad.stdout


def test_the_test_bench_is_not_all_zeros():
    words = re.findall(r"expected\[\d+\] = 32'h(\w+);", testbench(TILE))
    assert len(set(words)) > 5
    assert sum(word != "00000000" for word in words) > len(words) // 3


def test_librelane_gets_every_process_and_the_memory_block_apart(tmp_path):
    yaml = pytest.importorskip("yaml")
    files = librelane(TILE)
    values = yaml.safe_load(files["config.yaml"])
    assert [name.removeprefix("dir::") for name in values["VERILOG_FILES"]] == ["src/etchnet.v", "src/etchnet_ram.v"]
    assert {name for name in values if name.startswith("pdk::")} == {f"pdk::{pdk}" for pdk in PDKS}
    assert values["pdk::ihp-sg13g2"]["CLOCK_PERIOD"] == PDKS["ihp-sg13g2"].period
    for key in ("PNR_SDC_FILE", "SIGNOFF_SDC_FILE"):
        assert values[key].removeprefix("dir::") in files
    # Together they are the machine, and the memory block is in the one file to be replaced.
    assert "module etchnet_ram " not in files["src/etchnet.v"]
    assert re.findall(r"^module (\w+)", files["src/etchnet_ram.v"], re.MULTILINE) == ["etchnet_ram"]
    write_files(files, tmp_path)
    run_yosys(
        "read_verilog src/etchnet.v src/etchnet_ram.v; hierarchy -check -top etchnet; proc; check -assert",
        folder=tmp_path,
    )
    assert yaml.safe_load(librelane(TILE, period=12.5)["config.yaml"])["pdk::sky130A"] == {"CLOCK_PERIOD": 12.5}


@pytest.fixture
def macros(tmp_path):
    """The memory block that docs/asic.md makes of macros, and a macro."""
    page = (Path(__file__).parents[3] / "docs" / "asic.md").read_text()
    (block,) = re.findall(r"^```verilog\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "documented.v").write_text(block.replace("module etchnet_ram", "module documented_ram"))
    (tmp_path / "macro.v").write_text(
        """module two_port_256x32 (input clk, input [3:0] write_bytes, input [7:0] write_address,
             input [31:0] write_data, input read, input [7:0] read_address, output reg [31:0] read_data);
             reg [31:0] words [0:255];
             integer i;
             always @(posedge clk) begin
               for (i = 0; i < 4; i = i + 1)
                 if (write_bytes[i]) words[write_address][8*i +: 8] <= write_data[8*i +: 8];
               if (read) read_data <= words[read_address];
             end
           endmodule"""
    )
    write_files({"etchnet_ram.v": librelane(TILE)["src/etchnet_ram.v"]}, tmp_path)
    return tmp_path


def test_the_documented_memory_block_has_the_ports_and_parameters_of_the_one_it_replaces(macros):
    run_yosys(
        "read_verilog documented.v macro.v etchnet_ram.v; proc; write_json before.json; "
        "hierarchy -check -top documented_ram; proc; check -assert",
        folder=macros,
    )
    modules = json.loads((macros / "before.json").read_text())["modules"]
    old, new = modules["etchnet_ram"], modules["documented_ram"]
    assert old["parameter_default_values"] == new["parameter_default_values"]
    assert {n: p["direction"] for n, p in old["ports"].items()} == {n: p["direction"] for n, p in new["ports"].items()}


@needs_verilator
@pytest.mark.campaign
def test_the_documented_memory_block_reads_what_was_written(macros):
    """Random reads and writes of memories of several shapes, beside the block that it replaces."""
    (macros / "tb.v").write_text(
        """module pair #(parameter W = 8, D = 2, L = 1, A = 1) (input clk);
             reg [L-1:0] lanes; reg [A-1:0] to, from; reg [W-1:0] word; reg read;
             wire [W-1:0] one, two;
             integer n = 0, i;
             reg known = 0;
             etchnet_ram #(.WIDTH(W), .DEPTH(D), .LANES(L), .ADDRESS(A)) a (clk, lanes, to, word, read, from, one);
             documented_ram #(.WIDTH(W), .DEPTH(D), .LANES(L), .ADDRESS(A)) b (clk, lanes, to, word, read, from, two);
             always @(posedge clk) begin
               n <= n + 1;
               // First every word is written, then any.
               lanes <= n < D ? {L{1'b1}} : $urandom;
               to <= n < D ? n : $urandom % D;
               for (i = 0; i < W; i = i + 1) word[i] <= $urandom;
               from <= $urandom % D;
               read <= n > D + 2 && $urandom % 4 != 0;
               known <= read ? !(|lanes && to == from) : known;
               if (known && one !== two) begin $display("FAILED: %0d x %0d", D, W); $fatal(1); end
             end
           endmodule
           module tb;
             reg clk = 0;
             always #1 clk = !clk;
             pair #(8, 600, 1, 10) a(clk); pair #(96, 300, 3, 9) b(clk); pair #(16, 2, 2, 1) c(clk);
             pair #(128, 5, 4, 3) d(clk); pair #(1184, 7, 37, 3) e(clk); pair #(24, 257, 3, 9) f(clk);
             initial begin #20000 $display("PASSED"); $finish; end
           endmodule"""
    )
    done = build(macros, "tb", "tb.v", "documented.v", "etchnet_ram.v", "macro.v")
    assert "PASSED" in subprocess.run([done], capture_output=True, text=True, check=True).stdout


@pytest.mark.filterwarnings("default")
def test_librelane_itself_knows_every_variable(tmp_path):
    pytest.importorskip("librelane")
    from librelane.config import Config as FlowConfig
    from librelane.config.flow import flow_common_variables
    from librelane.flows import Flow

    write_files(librelane(TILE), tmp_path)
    classic = Flow.factory.get("Classic")
    variables = {v.name: v for v in (*flow_common_variables, *classic.config_vars)}
    variables |= {v.name: v for step in classic.Steps for v in step.config_vars}
    # Processes without their files: of a process, only the name of its cells is asked for.
    wanted = [v for v in variables.values() if not v.pdk or v.name in ("STD_CELL_LIBRARY", "PAD_CELL_LIBRARY")]
    for pdk in PDKS.values():
        settings = tmp_path / "pdks" / pdk.name / "libs.tech" / "librelane"
        (settings / "cells").mkdir(parents=True)
        (settings / "config.tcl").write_text('set ::env(STD_CELL_LIBRARY) "cells"\n')
        (settings / "cells" / "config.tcl").write_text("")
        found, _ = FlowConfig.load(str(tmp_path / "config.yaml"), wanted, pdk=pdk.name, pdk_root=str(tmp_path / "pdks"))
        assert (found["DESIGN_NAME"], float(found["CLOCK_PERIOD"])) == ("etchnet", pdk.period)


def test_memories_that_flip_flops_cannot_hold_are_refused_unless_they_are_macros(capsys, tmp_path):
    single = Config(rows=1, columns=1)
    bits = memory_bits(generate(single))
    assert bits > MOST_BITS > memory_bits(generate(TILE))
    with pytest.raises(ConfigError, match=f"memories of {bits:,} bits would become flip-flops, and at most 16,384 may"):
        librelane(single)
    assert f"{bits:,} bits of memory: replace src/etchnet_ram.v" in librelane(single, macros=True)["config.yaml"]
    message = error(capsys, "flow", "librelane", "-o", str(tmp_path / "a"), "--rows", "1", "--cols", "1")
    assert message.endswith("choose a smaller machine, or memories of the process (--macros)")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("pdk", PDKS)
def test_the_tiny_tapeout_project_is_of_the_form_that_its_tools_check(pdk, tmp_path):
    yaml = pytest.importorskip("yaml")
    files = tinytapeout(pdk=pdk, author="A. N. Author")
    info = yaml.safe_load(files["info.yaml"])
    project = info["project"]
    assert info["yaml_version"] == 6
    assert all(project[key] for key in ("title", "author", "description", "language", "top_module", "clock_hz"))
    assert sorted(info["pinout"]) == sorted(f"{port}[{i}]" for port in ("ui", "uo", "uio") for i in range(8))
    assert project["top_module"].startswith("tt_um_")
    assert all(f"src/{name}" in files for name in project["source_files"])
    assert project["clock_hz"] == round(1e9 / json.loads(files["src/config.json"])["CLOCK_PERIOD"])
    assert {"## How it works", "## How to test"} <= set(files["docs/info.md"].splitlines())
    process = PDKS[pdk]
    width, height = process.tiles[project["tiles"]]
    assert process.area <= 0.71 * width * height


def test_the_tile_has_its_ports_and_nothing_loose(tmp_path):
    files = tinytapeout()
    write_files(files, tmp_path)
    run_yosys(
        "read_verilog src/project.v src/etchnet.v; hierarchy -check -top tt_um_etchnet; proc; check -assert; "
        "write_json ports.json",
        folder=tmp_path,
    )
    ports = json.loads((tmp_path / "ports.json").read_text())["modules"]["tt_um_etchnet"]["ports"]
    assert {name: (port["direction"], len(port["bits"])) for name, port in ports.items()} == {
        **dict.fromkeys(("clk", "ena", "rst_n"), ("input", 1)),
        **dict.fromkeys(("ui_in", "uio_in"), ("input", 8)),
        **dict.fromkeys(("uo_out", "uio_out", "uio_oe"), ("output", 8)),
    }


@needs_verilator
def test_verilator_lints_the_tile_clean(tmp_path):
    """The name of project.v is Tiny Tapeout's."""
    write_files(tinytapeout(), tmp_path)
    done = verilator(
        tmp_path / "src",
        "--lint-only",
        "-Wall",
        "-Wno-DECLFILENAME",
        "--quiet",
        "--top-module",
        "tt_um_etchnet",
        "project.v",
        "etchnet.v",
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_tiles_are_those_of_the_process(capsys, tmp_path):
    out = ["-o", str(tmp_path / "a")]
    message = error(capsys, "flow", "tinytapeout", *out, "--tiles", "9x9")
    assert message == "tiles must be one of 8x2, 4x4, 5x4, 6x4, 8x4 for sky130A, not '9x9'"
    arguments = ["--rows", "2", "--cols", "2", "--set", "weight_tiles=2"]
    assert "tiles must be given for this machine" in error(capsys, "flow", "tinytapeout", *out, *arguments)


def litex_module(files, monkeypatch, tmp_path):
    """The generated module in front of stand-ins for LiteX and Migen, and what it makes an instance of."""

    class Endpoint:
        def __init__(self, layout):
            ((name, bits),) = layout
            assert (name, bits) == ("data", 32)
            self.__dict__ |= {part: f"{id(self)}.{part}" for part in ("data", "valid", "ready")}

    class LiteXModule:
        def __init__(self):
            self.specials = []

        def __setattr__(self, name, value):
            if name == "specials" and not isinstance(value, list):
                value = [value]
            super().__setattr__(name, value)

        def __getattr__(self, name):
            if name == "specials":
                return []
            raise AttributeError(name)

    def instance(kind, **ports):
        return [(kind, ports)]

    stream = types.SimpleNamespace(Endpoint=Endpoint)
    for name, content in (
        ("litex", {}),
        ("litex.gen", {"LiteXModule": LiteXModule}),
        ("litex.soc", {}),
        ("litex.soc.interconnect", {"stream": stream}),
        ("migen", {"Instance": instance, "ClockSignal": lambda d: ("clock", d), "ResetSignal": lambda d: ("reset", d)}),
    ):
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    namespace = {"__file__": str(tmp_path / "etchnet_litex.py"), "__name__": "etchnet_litex"}
    exec(compile(files["etchnet_litex.py"], "etchnet_litex.py", "exec"), namespace)
    return namespace["Etchnet"]


def test_the_litex_module_connects_every_port_of_the_manifest(monkeypatch, tmp_path):
    files = litex(TILE)
    added = []
    machine = litex_module(files, monkeypatch, tmp_path)(
        platform=types.SimpleNamespace(add_source=added.append), domain="chip"
    )
    ((kind, ports),) = machine.specials
    manifest = json.loads(files["etchnet.json"])
    assert kind == manifest["top"]
    assert set(ports) == {f"{port['direction'][0]}_{name}" for name, port in manifest["ports"].items()}
    assert (ports["i_clk"], ports["i_rst"]) == (("clock", "chip"), ("reset", "chip"))
    assert ports["i_link_in_payload"] == machine.sink.data
    assert ports["o_link_in_ready"] == machine.sink.ready
    assert ports["o_link_out_valid"] == machine.source.valid
    assert added == [str(tmp_path / "etchnet.v")]


@pytest.mark.filterwarnings("default")
def test_litex_itself_makes_verilog_of_it(monkeypatch, tmp_path):
    pytest.importorskip("litex")
    pytest.importorskip("migen")
    from migen.fhdl.verilog import convert

    write_files(litex(TILE), tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    from etchnet_litex import Etchnet

    machine = Etchnet()
    text = str(convert(machine, ios={*machine.sink.flatten(), *machine.source.flatten()}))
    assert "etchnet etchnet(" in text


def test_the_commands_write_a_project_and_say_what_comes_next(capsys, tmp_path):
    for name in ("fusesoc", "librelane", "tinytapeout", "litex"):
        out = tmp_path / name
        status, printed, err = run(
            capsys,
            "flow",
            name,
            "-o",
            str(out),
            "--rows",
            "1",
            "--cols",
            "1",
            *(["--macros"] if name == "librelane" else []),
            *TINY_MEMORIES,
            *(["--tiles", "8x2"] if name == "tinytapeout" else []),
        )
        assert (status, err) == (0, ""), err
        *files, then = printed.splitlines()
        assert then.startswith("next: ")
        assert sorted(line.split(":")[0] for line in files) == sorted(str(p) for p in out.rglob("*") if p.is_file())
    status, printed, _ = run(capsys, "flow", "tinytapeout", "-o", str(out), "--json")
    assert Config.from_dict(json.loads(printed)["config"]) == TILE
