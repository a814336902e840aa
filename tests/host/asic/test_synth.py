"""Areas and paths of synthesis, against a library whose figures are computed by hand, and against Yosys's own sums."""

import gzip
import json
import re

import pytest
from support import tiny_liberty
from support.command_line import error, run
from support.tiny_liberty import CELLS, CLOCK_TO_OUTPUT, GATES, PIN, SETUP

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import VerilogDesign
from etchnet.host.asic.liberty import LibertyError, Table, read_liberty
from etchnet.host.asic.netlist import Netlist
from etchnet.host.asic.sta import FANOUT, longest_paths
from etchnet.host.asic.synth import synthesise
from etchnet.host.tools import tool as tools
from etchnet.host.tools import yosys
from etchnet.host.tools.yosys import SynthesisError, run_yosys

TINY = ["--rows", "2", "--cols", "2"]


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "tiny.lib"
    path.write_text(tiny_liberty.text())
    return path


def circuit(text, library, **options):
    return synthesise(
        Config(), design=VerilogDesign(Config(), {"etchnet.v": text}, "top"), libraries=[library], **options
    )


def gate(name, pins):
    """The delay of a gate whose output goes to so many pins."""
    base, slope = GATES[name][3:]
    return base + slope * PIN * pins


def test_a_table_is_linear_between_its_points_and_beyond_the_last():
    table = Table([0.0, 1.0], [1.0, 2.0, 4.0], [[0.0, 1.0, 2.0], [10.0, 11.0, 12.0]])
    assert table(0.5, 1.0) == 5
    assert table(0.0, 3.0) == 1.5
    assert table(1.0, 6.0) == 13
    assert table(2.0, 1.0) == 20
    assert table(-1.0, 0.0) == 0


def test_a_library_is_read_with_its_units(library):
    tiny = read_liberty(library)
    assert (tiny.name, tiny.nanoseconds) == ("tiny", 1.0)
    assert {name: cell.area for name, cell in tiny.cells.items()} == CELLS
    assert [name for name, cell in tiny.cells.items() if cell.sequential] == ["DFF"]
    arc = tiny.cells["NAND2"].pins["Y"].arcs[1]
    assert (arc.related, arc.sense) == ("B", "negative_unate")
    assert arc.tables["cell_rise"](5.0, 0.03) == pytest.approx(0.19)
    library.write_text(tiny_liberty.text().replace('"1ns"', '"10ps"'))
    assert read_liberty(library).nanoseconds == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: text.index("cell (BUF)")], "group library has no end"),
        (lambda text: text.replace("area : 1.0", "area : x"), "cell INV: could not convert string to float: 'x'"),
        (lambda text: text.replace('"1ns"', '"1 minute"'), "time_unit must be a time such as 1ns, not '1 minute'"),
        (lambda text: text.replace("0.05, 2.05", "0.05"), "must have as many values as its indexes say, not 2"),
        (lambda text: "module top; endmodule", "':' or '(' was expected"),
        (lambda text: "library (x) { }", "has no cell"),
        (lambda text: "", "it must hold one group"),
    ],
)
def test_what_is_no_library_is_refused_by_name(library, change, message):
    library.write_text(change(tiny_liberty.text()))
    with pytest.raises(LibertyError, match=re.escape(message)) as refused:
        read_liberty(library)
    assert str(library) in str(refused.value)


def test_areas_and_the_longest_path_are_those_computed_by_hand(library):
    found = circuit(
        """module top (input clk, input a, input b, output reg q);
             reg first, second;
             always @(posedge clk) begin first <= a; second <= b; q <= first & second; end
           endmodule""",
        library,
    )
    # AND is a NAND2 and an INV here; a NOR2 and two INV would be larger.
    assert found.area == 3 * CELLS["DFF"] + CELLS["NAND2"] + CELLS["INV"]
    assert (found.cells, found.flip_flops, found.memory_bits) == (5, 3, 0)
    path = found.path
    assert [kind for kind, _ in path.steps] == ["NAND2", "INV"]
    assert path.start in ("first", "second")
    assert path.end == "q/D"
    delay = CLOCK_TO_OUTPUT + PIN + gate("NAND2", 1) + gate("INV", 1) + SETUP
    assert path.delay == pytest.approx(delay)
    assert found.megahertz == pytest.approx(1e3 / delay)


def test_paths_go_through_modules_and_areas_count_every_instance(library):
    found = circuit(
        """module inverter (input a, output y); assign y = ~a; endmodule
           module pair (input clk, input a, output reg q);
             wire y; inverter i (.a(a), .y(y)); always @(posedge clk) q <= y;
           endmodule
           module top (input clk, input a, output q);
             wire middle; pair one (.clk(clk), .a(a), .q(middle)); pair two (.clk(clk), .a(middle), .q(q));
           endmodule""",
        library,
    )
    assert {b.name: (b.instances, b.area) for b in found.blocks} == {
        "pair": (2, CELLS["DFF"]),
        "inverter": (2, CELLS["INV"]),
        "top": (1, 0),
    }
    assert (found.path.start, found.path.end) == ("one.q", "two.q/D")
    assert found.path.delay == pytest.approx(CLOCK_TO_OUTPUT + PIN + gate("INV", 1) + SETUP)


def test_delays_are_those_that_abc_finds(library):
    """A multiplier without registers; ABC writes its own delay, in whole picoseconds, to a file."""
    folder = library.parent
    (folder / "m.v").write_text("module m (input [5:0] a, b, output [11:0] y); assign y = a * b; endmodule\n")
    (folder / "abc.script").write_text("strash\n&get -n\n&dch -f\n&nf\n&put\nbuffer\nstime -d\n")
    run_yosys(
        "read_verilog m.v; synth -noabc -top m; abc -liberty tiny.lib -script abc.script; opt_clean -purge; "
        "write_json m.json",
        folder=folder,
    )
    area, delay = (folder / "stats.txt").read_text().split()[4:6]
    cells = read_liberty(library).cells
    netlist = Netlist(json.loads((folder / "m.json").read_text()), "m")
    assert sum(n * cells[kind].area for kind, n in netlist.counts("m").items()) == pytest.approx(float(area), abs=1)
    assert longest_paths(netlist, cells)[0].delay == pytest.approx(float(delay) / 1e3, abs=0.002)


def test_wide_nets_are_buffered_by_a_tree(library):
    pins = FANOUT * FANOUT
    found = circuit(
        f"""module top (input clk, input a, input [{pins - 1}:0] b, output reg [{pins - 1}:0] q);
             reg all;
             always @(posedge clk) begin all <= a; q <= ~({{{pins}{{all}}}} & b); end
           endmodule""",
        library,
    )
    tree = CLOCK_TO_OUTPUT + FANOUT * PIN + gate("BUF", FANOUT)  # one stage: 16 buffers, each for 16 gates
    assert found.path.start == "all"
    assert found.path.delay == pytest.approx(tree + gate("NAND2", 1) + SETUP)


def test_without_a_library_gates_and_levels_are_counted():
    text = """module top (input clk, input [3:0] a, output reg q);
                reg [3:0] r;
                always @(posedge clk) begin r <= a; q <= (r[0] & r[1]) & (r[2] ^ r[3]); end
              endmodule"""
    found = synthesise(Config(), design=VerilogDesign(Config(), {"etchnet.v": text}, "top"))
    assert (found.cells, found.flip_flops, found.path.levels, found.megahertz, found.area) == (8, 5, 2, None, 0)


def test_a_library_without_a_needed_cell_says_so(library, tmp_path):
    library.write_text(re.sub(r"cell \(DFF\).*", "}", tiny_liberty.text(), flags=re.DOTALL))
    text = "module top (input clk, input a, output reg q); always @(posedge clk) q <= a; endmodule"
    with pytest.raises(SynthesisError, match="_DFF_P_"):
        circuit(text, library)


def test_the_array_adds_up_to_what_yosys_says(library, capsys, tmp_path):
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
    # Every bit is a flip-flop, and the read registers are theirs, not the macro's.
    assert flat["memory_bits"] == 0
    assert flat["flip_flops"] - apart["flip_flops"] == 3 * 2 * 2 * 8 + 2 * 8


def test_the_project_for_a_tile_is_synthesised_with_its_adapters(capsys):
    _, printed, _ = run(capsys, "synth", "--tinytapeout", "--top", "byte_sink", "--json")
    found = json.loads(printed)
    # A word of 32 bits, a count of four bytes, and whether it is full.
    assert (found["flip_flops"], found["memory_bits"], found["config"]["rows"]) == (32 + 2 + 1, 0, 2)


def test_the_table_as_text_and_as_markdown(capsys, library):
    arguments = ["synth", *TINY, "--top", "element", "--liberty", str(library)]
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    for part in ("processing_element", "longest path:", "estimated before layout and without wires:", "tiny"):
        assert part in out
    arguments[arguments.index("element")] = "array"
    status, out, _ = run(capsys, *arguments, "--markdown")
    assert " kinds, mean | 4 | " in out
    assert out.startswith("| block, without those inside | instances |")
    assert "exclude each other" in error(capsys, *arguments, "--markdown", "--json")


def test_a_compressed_library_is_the_same(library, tmp_path):
    packed = tmp_path / "tiny.lib.gz"
    packed.write_bytes(gzip.compress(library.read_bytes()))
    assert read_liberty(packed) == read_liberty(library)
    packed.write_bytes(packed.read_bytes()[:100])
    with pytest.raises(LibertyError, match="cannot be read"):
        read_liberty(packed)


def test_what_is_wrong_is_one_line(capsys, library, tmp_path, monkeypatch):
    assert "--top must be machine, array, element, or one of" in error(capsys, "synth", *TINY, "--top", "cache")
    message = error(capsys, "synth", *TINY, "--liberty", str(library), "--dont-use", "MUX*")
    assert message == "--dont-use 'MUX*' names no cell of tiny"
    broken = tmp_path / "broken.lib"
    broken.write_text("library (broken) {")
    assert f"{broken} is not a Liberty file" in error(capsys, "synth", *TINY, "--liberty", str(broken))
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    assert error(capsys, "synth", *TINY, "--top", "element") == 'yosys was not found: pip install "etchnet[fpga]"'


def test_an_error_of_yosys_is_its_own_line_and_its_log_stays(tmp_path):
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
