"""The Tiny Tapeout project: its form, its ports, and its tiles."""

import json

import pytest
from support.command_line import error
from support.needs import needs_verilator
from support.verilator import verilator

from etchnet.host.flows.processes import PDKS
from etchnet.host.flows.project import write_files
from etchnet.host.flows.tinytapeout import tinytapeout
from etchnet.host.tools.yosys import run_yosys


@pytest.mark.parametrize("pdk", PDKS)
def test_the_tiny_tapeout_project_passes_the_checks_of_its_tools(pdk, tmp_path):
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


def test_the_tile_has_its_ports_and_all_are_connected(tmp_path):
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
def test_the_tile_has_no_lint_warnings_in_verilator(tmp_path):
    """Tiny Tapeout prescribes the name project.v, which differs from the module's name."""
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
    assert message == "--tiles must be one of 8x2, 4x4, 5x4, 6x4, 8x4 for sky130A, not '9x9'"
    arguments = ["--rows", "2", "--cols", "2", "--set", "weight_tiles=4"]
    assert "--tiles is required for this machine" in error(capsys, "flow", "tinytapeout", *out, *arguments)
