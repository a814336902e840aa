"""Synthesis: areas and memories of each block, compared with Yosys's own sums, and errors."""

import json
import re

import pytest
from support import tiny_liberty
from support.command_line import error, run

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import VerilogDesign
from etchnet.host.asic.synth import synthesise
from etchnet.host.tools import tool as tools
from etchnet.host.tools import yosys
from etchnet.host.tools.yosys import SynthesisError, run_yosys

TINY = ["--rows", "2", "--cols", "2"]


def test_a_library_without_a_needed_cell_is_refused(library, tmp_path):
    library.write_text(re.sub(r"cell \(DFF\).*", "}", tiny_liberty.text(), flags=re.DOTALL))
    text = "module top (input clk, input a, output reg q); always @(posedge clk) q <= a; endmodule"
    with pytest.raises(SynthesisError, match="_DFF_P_"):
        synthesise(Config(), design=VerilogDesign(Config(), {"etchnet.v": text}, "top"), libraries=[library])


def test_areas_of_the_array_add_up_to_the_sum_of_yosys(library, capsys, tmp_path):
    out = tmp_path / "out"
    status, printed, err = run(
        capsys, "synth", *TINY, "--top", "array", "--liberty", str(library), "-o", str(out), "--json"
    )
    assert (status, err) == (0, "")
    found = json.loads(printed)
    assert found == json.loads((out / "synth.json").read_text())
    chip = re.findall(r"Chip area for (?:top )?module '\S+': ([\d.]+)", (out / "yosys.log").read_text())
    assert found["area"] == pytest.approx(float(chip[-1]))
    elements = [block for block in found["blocks"] if block["name"].startswith("processing_element")]
    assert sum(block["instances"] for block in elements) == 4
    assert len(elements) > 1
    assert found["element"]["area"] == pytest.approx(sum(b["area"] * b["instances"] for b in elements) / 4)
    assert found["area"] == pytest.approx(sum(b["area"] * b["instances"] for b in found["blocks"]))
    assert sorted(p.name for p in out.iterdir()) == [
        "abc.script",
        "design.v",
        "memory.v",
        "netlist.json",
        "synth.json",
        "synth.ys",
        "yosys.log",
    ]


def test_memories_are_left_out_and_their_bits_counted_unless_flattened(capsys):
    arguments = ["synth", *TINY, "--set", "weight_tiles=3", "--top", "weight_memory", "--json"]
    _, printed, _ = run(capsys, *arguments)
    apart = json.loads(printed)
    assert apart["memory_bits"] == 3 * 2 * 2 * 8
    _, printed, _ = run(capsys, *arguments, "--flatten-memories")
    flat = json.loads(printed)
    # Every memory bit is a flip-flop, and read registers are part of the design instead of the macro.
    assert flat["memory_bits"] == 0
    assert flat["flip_flops"] - apart["flip_flops"] == 3 * 2 * 2 * 8 + 2 * 8


def test_the_project_for_a_tile_is_synthesised_with_its_adapters(capsys):
    _, printed, _ = run(capsys, "synth", "--tinytapeout", "--top", "byte_sink", "--json")
    found = json.loads(printed)
    # The adapter holds a word of 32 bits, a count of four bytes, and a flag for a complete word.
    assert (found["flip_flops"], found["memory_bits"], found["config"]["rows"]) == (32 + 2 + 1, 0, 2)


def test_the_table_as_text_and_as_markdown(capsys, library):
    arguments = ["synth", *TINY, "--top", "element", "--liberty", str(library)]
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    for part in ("processing_element", "longest path:", "estimated clock without wires, before layout:", "tiny"):
        assert part in out
    arguments[arguments.index("element")] = "array"
    status, out, _ = run(capsys, *arguments, "--markdown")
    assert " kinds, mean | 4 | " in out
    assert out.startswith("| block, without its parts | instances |")
    assert "cannot be given together" in error(capsys, *arguments, "--markdown", "--json")


def test_errors_are_one_line(capsys, library, tmp_path, monkeypatch):
    assert "--top must be machine, array, element, or one of" in error(capsys, "synth", *TINY, "--top", "cache")
    message = error(capsys, "synth", *TINY, "--liberty", str(library), "--dont-use", "MUX*")
    assert message == "--dont-use 'MUX*' matches no cell of tiny"
    broken = tmp_path / "broken.lib"
    broken.write_text("library (broken) {")
    assert f"{broken} is not a Liberty file" in error(capsys, "synth", *TINY, "--liberty", str(broken))
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    assert error(capsys, "synth", *TINY, "--top", "element") == 'yosys was not found: pip install "etchnet[fpga]"'


def test_an_error_of_yosys_is_quoted_and_its_log_is_kept(tmp_path):
    said = []
    with pytest.raises(SynthesisError, match=r"^yosys: Module `nothing' not found!$"):
        run_yosys(
            "read_verilog <<E\nmodule a; endmodule\nE\nhierarchy -top nothing", folder=tmp_path, report=said.append
        )
    assert [path.name for path in tmp_path.iterdir()] == ["yosys.log"]
    assert "hierarchy" in (tmp_path / "yosys.log").read_text()
    assert said[0].startswith("starting Yosys")


def test_an_interruption_stops_yosys_and_leaves_nothing(capsys, monkeypatch, tmp_path):
    killed = []

    class Process(tools.subprocess.Popen):
        def kill(self):
            killed.append(self)
            super().kill()

    class Interrupt:
        def match(self, line):
            raise KeyboardInterrupt

    monkeypatch.setattr(tools.subprocess, "Popen", Process)
    monkeypatch.setattr(yosys, "_PASS", Interrupt())
    status, out, err = run(capsys, "synth", *TINY, "--top", "element", "-o", str(tmp_path / "out"))
    assert (status, out, err.strip()) == (130, "", "etchnet: interrupted")
    assert killed[0].poll() is not None
    assert not (tmp_path / "out").exists()
