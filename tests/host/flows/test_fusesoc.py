"""The FuseSoC core, read by FuseSoC, and its test bench, run in Verilator."""

import re
import subprocess

import pytest
from support.needs import needs_verilator
from support.verilator import build

from etchnet.host.flows.fusesoc import fusesoc
from etchnet.host.flows.processes import TILE
from etchnet.host.flows.project import write_files
from etchnet.host.flows.testbench import testbench

testbench.__test__ = False  # pytest would take it for a test


def test_the_fusesoc_core_names_the_files_next_to_it():
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
def test_fusesoc_accepts_the_core(tmp_path):
    pytest.importorskip("fusesoc")
    from fusesoc.capi2.coreparser import Core2Parser
    from fusesoc.core import Core

    write_files(fusesoc(TILE), tmp_path)
    core = Core(Core2Parser(), str(tmp_path / "etchnet.core"))
    assert core.get_toplevel({"target": "lint", "is_toplevel": True}) == "etchnet"
    assert core.get_toplevel({"target": "sim", "is_toplevel": True}) == "etchnet_tb"


@needs_verilator
def test_the_test_bench_passes_under_verilator_and_fails_if_a_word_differs(tmp_path):
    write_files(fusesoc(TILE), tmp_path)
    bench = tmp_path / "etchnet_tb.v"
    # One build serves both runs: a plusarg corrupts the last expected word.
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
