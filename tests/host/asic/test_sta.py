"""Longest paths, compared with delays that were computed by hand, and with ABC."""

import json

import pytest
from support.tiny_liberty import CELLS, CLOCK_TO_OUTPUT, PIN, SETUP, gate

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import VerilogDesign
from etchnet.host.asic.liberty import read_liberty
from etchnet.host.asic.netlist import Netlist
from etchnet.host.asic.sta import FANOUT, ceil_log, longest_paths
from etchnet.host.asic.synth import synthesise
from etchnet.host.tools.yosys import run_yosys


def circuit(text, library, **options):
    return synthesise(
        Config(), design=VerilogDesign(Config(), {"etchnet.v": text}, "top"), libraries=[library], **options
    )


def test_areas_and_the_longest_path_are_those_computed_by_hand(library):
    found = circuit(
        """module top (input clk, input a, input b, output reg q);
             reg first, second;
             always @(posedge clk) begin first <= a; second <= b; q <= first & second; end
           endmodule""",
        library,
    )
    # AND is mapped to a NAND2 and an INV; a NOR2 and two INV would be larger.
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


def test_delays_equal_those_of_abc(library):
    """The circuit is a multiplier without registers; ABC writes its own delay, in whole picoseconds, to a file."""
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


def inverters(*nets):
    """Return a netlist of inverters from each net to the next."""
    cells = {
        f"i{k}": {"type": "INV", "connections": {"A": [a], "Y": [b]}}
        for k, (a, b) in enumerate(zip(nets, nets[1:], strict=False))
    }
    ports = {"a": {"direction": "input", "bits": [nets[0]]}, "y": {"direction": "output", "bits": [nets[-1]]}}
    return Netlist({"modules": {"top": {"cells": cells, "ports": ports, "netnames": {}}}}, "top")


def test_a_chain_is_as_long_as_its_gates(library):
    cells = read_liberty(library).cells
    (path,) = longest_paths(inverters(2, 3, 4, 5), cells)
    assert (path.start, path.end, path.end_module, path.levels) == ("an input", "y", "", 3)
    assert path.delay == pytest.approx(2 * gate("INV", 1) + gate("INV", 0))
    assert [at for _, at in path.steps] == pytest.approx([gate("INV", 1), 2 * gate("INV", 1), path.delay])


def test_a_loop_of_gates_has_no_longest_path(library):
    cells = read_liberty(library).cells
    with pytest.raises(ValueError, match="combinational loop: 3 gates are in it or after it"):
        longest_paths(inverters(3, 4, 5, 3), cells)


def test_a_tree_has_as_few_stages_as_its_branches_allow():
    for value in range(1, 300):
        assert 16 ** ceil_log(value, 16) >= value
        assert value == 1 or 16 ** (ceil_log(value, 16) - 1) < value
