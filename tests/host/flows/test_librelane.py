"""The LibreLane project, read by LibreLane, and memories that consist of macros."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from support.command_line import error
from support.needs import needs_verilator
from support.verilator import build

from etchnet.hdl.isa.config import Config, ConfigError
from etchnet.host.flows.librelane import librelane
from etchnet.host.flows.processes import PDKS, TILE
from etchnet.host.flows.project import MOST_BITS, memory_bits, write_files
from etchnet.host.tools.yosys import run_yosys


def test_the_librelane_project_has_every_process_and_a_separate_memory_file(tmp_path):
    yaml = pytest.importorskip("yaml")
    files = librelane(TILE)
    values = yaml.safe_load(files["config.yaml"])
    assert [name.removeprefix("dir::") for name in values["VERILOG_FILES"]] == ["src/etchnet.v", "src/etchnet_ram.v"]
    assert {name for name in values if name.startswith("pdk::")} == {f"pdk::{pdk}" for pdk in PDKS}
    assert values["pdk::ihp-sg13g2"]["CLOCK_PERIOD"] == PDKS["ihp-sg13g2"].period
    for key in ("PNR_SDC_FILE", "SIGNOFF_SDC_FILE"):
        assert values[key].removeprefix("dir::") in files
    # Both files together are the machine, and only the file to be replaced contains the memory block.
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
    """Return the memory block of macros in docs/asic.md, and a model of the macro."""
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
    """Random reads and writes give the same data as the block that it replaces, for several shapes."""
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
def test_librelane_knows_every_variable(tmp_path):
    pytest.importorskip("librelane")
    from librelane.config import Config as FlowConfig
    from librelane.config.flow import flow_common_variables
    from librelane.flows import Flow

    write_files(librelane(TILE), tmp_path)
    classic = Flow.factory.get("Classic")
    variables = {v.name: v for v in (*flow_common_variables, *classic.config_vars)}
    variables |= {v.name: v for step in classic.Steps for v in step.config_vars}
    # LibreLane reads only the name of the cell library here, so the processes need no other files.
    wanted = [v for v in variables.values() if not v.pdk or v.name in ("STD_CELL_LIBRARY", "PAD_CELL_LIBRARY")]
    for pdk in PDKS.values():
        settings = tmp_path / "pdks" / pdk.name / "libs.tech" / "librelane"
        (settings / "cells").mkdir(parents=True)
        (settings / "config.tcl").write_text('set ::env(STD_CELL_LIBRARY) "cells"\n')
        (settings / "cells" / "config.tcl").write_text("")
        found, _ = FlowConfig.load(str(tmp_path / "config.yaml"), wanted, pdk=pdk.name, pdk_root=str(tmp_path / "pdks"))
        assert (found["DESIGN_NAME"], float(found["CLOCK_PERIOD"])) == ("etchnet", pdk.period)


def test_memories_too_large_for_flip_flops_are_refused_unless_they_are_macros(capsys, tmp_path, generated_once):
    single = Config(rows=1, columns=1)
    bits = memory_bits(generated_once(single))
    assert bits > MOST_BITS > memory_bits(generated_once(TILE))
    with pytest.raises(ConfigError, match=f"must have at most 16,384 bits, not {bits:,}"):
        librelane(single)
    assert f"{bits:,} bits of memory: replace src/etchnet_ram.v" in librelane(single, macros=True)["config.yaml"]
    message = error(capsys, "flow", "librelane", "-o", str(tmp_path / "a"), "--set", "weight_tiles=1024")
    assert message.endswith("choose a smaller machine, or memory macros (etchnet flow librelane --macros)")
    assert not (tmp_path / "a").exists()
