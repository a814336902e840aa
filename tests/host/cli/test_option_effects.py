"""Every option that is given has an effect or is refused, in every command and mode."""

import re
import shutil

import click
import numpy as np
import pytest
from support.command_line import error, run

from etchnet.host.cli import main
from etchnet.host.network.layers import Conv, Dense
from etchnet.host.network.network import Network
from etchnet.host.reports.stopwatch import Timing

MACHINE = ["--rows", "2", "--cols", "2", "--weight-rows", "1", "--requantisers", "1", "--set", "weight_tiles=64"]
OUT = ["-o", "out"]

MODES = {
    "run": ["run", "model.npz", "--input", "x.npy"],
    "run, picture": ["run", "model.npz", "--input", "x.png"],
    "report": ["report", "model.npz"],
    "report gemm": ["report", "gemm", "--size", "4"],
    "report product": ["report", "gemm", "--a", "a.npy", "--b", "b.npy"],
    "report, stage": ["report", "model.npz", "--dump-after", "emit"],
    "state": ["state", "model.npz", "--cycle", "30"],
    "state, file": ["state", "model.npz", "--cycle", "30", "--input", "x.npy"],
    "state, list": ["state", "model.npz", "--list"],
    "state gemm": ["state", "gemm", "--size", "4", "--cycle", "30"],
    "state product": ["state", "gemm", "--cycle", "12", "--a", "a.npy", "--b", "b.npy"],
    "trace page": ["trace", "model.npz", "-o", "out.html"],
    "trace page, file": ["trace", "model.npz", "-o", "out.html", "--input", "x.npy"],
    "trace gemm": ["trace", "gemm", "--size", "4", "-o", "out.html"],
    "trace product": ["trace", "gemm", "-o", "out.html", "--a", "a.npy", "--b", "b.npy"],
    "trace waveforms": ["trace", "gemm", "-o", "out.vcd", "--size", "3"],
    "compare": ["compare", "dense.npz"],
    "bench model": ["bench", "model.npz"],
    "bench gemm": ["bench", "gemm", "--size", "4", "--engine", "exact"],
    "bench engines": ["bench", "engines", "dense.npz", "--engine", "exact"],
    "bench engines gemm": ["bench", "engines", "gemm", "--size", "4", "--engine", "exact"],
    "flow librelane": ["flow", "librelane", *OUT],
    "flow tinytapeout": ["flow", "tinytapeout", *OUT, "--tiles", "4x4"],
}
"""a command line for each mode"""

VALUES = {
    "a": ["c.npy"],
    "as_json": [],
    "author": ["Ada"],
    "b": ["d.npy"],
    "batch": ["2"],
    "batches": ["2"],
    "clock": ["37"],
    "cols": ["4"],
    "config": ["machine.toml"],
    "count": ["3"],
    "cycle": ["31"],
    "element": ["1,1"],
    "engine": ["amaranth"],
    "engines": ["amaranth"],
    "kind": ["perfetto"],
    "limits": ["0", "9"],
    "listed": [],
    "macros": [],
    "overflow": [],
    "packed": ["whole"],
    "passes": [],
    "pdk": ["gf180mcuD"],
    "registers": ["pixel_reader.pixel_1"],
    "requantisers": ["2"],
    "rows": ["4"],
    "settings": ["accumulator_rows=64"],
    "size": ["5"],
    "sizes": ["5"],
    "smallest": [],
    "source": ["y.npy"],
    "stage": ["schedule"],
    "tiles": ["3x4"],
    "weight_rows": ["2"],
}
"""another value for each option, by the name of its parameter"""

SPECIAL = {
    ("compare", "engines"): ["amaranth,exact"],
    ("bench model", "batch"): ["3"],
    ("compare", "source"): ["z.npy"],
}

EXPECTED = {}
"""what each mode printed and wrote without another option"""

EXCEPT = {
    # The same waveforms, whichever engine writes them; `test_waveforms_of_both_engines_show_the_same_sums` tests them.
    ("trace waveforms", "engine"),
    # The passes are the same with memories that just fit.
    ("report, stage", "smallest"),
}

MACHINE_OPTIONS = {"rows", "cols", "weight_rows", "requantisers", "settings", "config"}
"""options of every command that runs a machine; they are tested with the commands of `MACHINES`"""

MACHINES = ("report", "state gemm", "trace gemm", "bench gemm", "flow tinytapeout", "flow librelane")


def command_of(arguments):
    """Return the click command that a command line runs."""
    command, context = main.cli, click.Context(main.cli)
    for argument in arguments:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(context, argument) or command.get_command(context, "model")
        command = found
    return command


def is_tried(mode, parameter):
    """Return whether `parameter` is an option that the mode's command line does not need."""
    if not isinstance(parameter, click.Option) or parameter.name in ("help", "output"):
        return False
    if parameter.name in MACHINE_OPTIONS:
        return mode in MACHINES and parameter.name in ("rows", "settings")
    return not (parameter.is_flag and set(parameter.opts) & set(MODES[mode]))


CASES = [
    pytest.param(mode, parameter, id=f"{mode} {max(parameter.opts, key=len)}")
    for mode, line in MODES.items()
    for parameter in command_of(line).params
    if is_tried(mode, parameter)
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Change to a folder with a model, inputs and matrices; time stands still."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    weights = random.integers(-20, 20, (3, 3, 1, 2)).astype(np.int8)
    dense = Dense.from_scale(random.integers(-20, 20, (32, 3)).astype(np.int8), scale=0.01)
    conv = Conv.from_scale(weights, scale=0.01, padding=((1, 1), (1, 1)))
    Network([conv, dense], (4, 4, 1)).save(tmp_path / "model.npz")
    Network([Dense.from_scale(weights[:2, :, 0, 0].T[:, :2], scale=0.01)]).save(tmp_path / "dense.npz")
    for name in "xy":
        np.save(f"{name}.npy", random.integers(-128, 128, (2, 16)).astype(np.int8))
    np.save("z.npy", random.integers(-128, 128, (2, 3)).astype(np.int8))
    for name, shape in (("a", (3, 3)), ("b", (3, 3)), ("c", (5, 3)), ("d", (3, 4))):
        np.save(f"{name}.npy", random.integers(-128, 128, shape))
    (tmp_path / "machine.toml").write_text("activation_words = 99\ninput_words = 512\n")
    monkeypatch.setattr("etchnet.host.reports.bench.shortest", lambda *_, **__: 1.0)
    monkeypatch.setattr("etchnet.host.reports.bench.measured", lambda *_, **__: Timing(1.0, 0.0, 3))
    monkeypatch.setattr("etchnet.host.reports.cpu.Cpu.now", classmethod(lambda cls: cls("CPU", 1, None)))
    monkeypatch.setattr("etchnet.host.reports.bench.runtimes", lambda *_, **__: iter(()))
    return tmp_path


def outcome(capsys, folder, arguments):
    """Run a command; return its status, its output and its files, without what depends on time."""
    before = {path.name for path in folder.iterdir()}
    status, out, err = run(capsys, *arguments)
    out = re.sub(r"compiled in [\d.]+ s|(?<=\(measured\)).*|(?<=compile_seconds\": )[^,}]*", "", out)
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).parts[0] not in before:
            files[str(path.relative_to(folder))] = path.read_bytes()
    for path in folder.iterdir():
        if path.name not in before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return status, out, err, files


@pytest.mark.parametrize(("mode", "parameter"), CASES)
def test_an_option_has_an_effect_or_is_refused(capsys, folder, mode, parameter):
    line = MODES[mode]
    machine = [] if mode == "flow tinytapeout" else MACHINE
    option = max(parameter.opts, key=len)
    if (mode, parameter.name) in EXCEPT:
        pytest.skip("tested elsewhere")
    if "x.png" in line:
        image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
        image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4) * 16).save(folder / "x.png")
    value = SPECIAL.get((mode, parameter.name), VALUES[parameter.name])
    if mode not in EXPECTED:
        EXPECTED[mode] = outcome(capsys, folder, [*line, *machine])
    status, expected, err, files = EXPECTED[mode]
    assert (status, err) == (0, "")
    arguments = [*line, *machine, option, *value]
    if option in line:
        at = line.index(option)
        arguments = [*line[:at], *line[at + 1 + len(value) :], *machine, option, *value]
    status, out, err, found = outcome(capsys, folder, arguments)
    if status == 0:
        assert (out, found) != (expected, files), f"{option} is ignored"
    else:
        assert status == 2
        assert option.lstrip("-") in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("build --board icebreaker -o out --batch 2", "--batch has no effect without a MODEL"),
        ("build --board icebreaker -o out --array --baud 9600", "--baud has no effect with --array"),
        ("size model.npz --dsp 99 --no-check", "--check has no effect without --board"),
        ("synth --tinytapeout --flatten-memories", "--flatten-memories has no effect with --tinytapeout"),
        ("synth --dont-use X", "--dont-use has no effect without --liberty"),
        ("verilog -o out --batch 2", "--batch has no effect without a MODEL"),
    ],
)
def test_slow_commands_refuse_options_without_effect_at_once(capsys, folder, line, message):
    assert error(capsys, *line.split()).startswith(message)
    assert not (folder / "out").exists()
