"""Commands on models from files, and `compare` on RTL with faults."""

import io
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from support.command_line import error, run
from support.faults import late
from support.needs import needs_verilator
from support.networks import small_network
from support.strategies import int8

import etchnet.hdl.core.array.array
import etchnet.hdl.core.machine
from etchnet.host.network.layers import Conv, Dense
from etchnet.host.network.network import Network

SMALL = ["--rows", "4", "--cols", "4"]


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "small.npz"
    small_network().save(path)
    return str(path)


@pytest.fixture
def inputs(tmp_path):
    x = int8(np.random.default_rng(1), (5, 9))
    np.save(tmp_path / "x.npy", x)
    return str(tmp_path / "x.npy"), x


# run


@pytest.mark.parametrize("engine", ["exact", "amaranth", pytest.param("verilator", marks=needs_verilator)])
def test_run_writes_the_outputs_of_the_reference(capsys, tmp_path, model, inputs, engine):
    target = tmp_path / "y.npy"
    # The default machine with a larger memory runs the real models too, so it is compiled only once.
    machine = ["--set", "input_words=2048"] if engine == "verilator" else SMALL
    status, out, err = run(
        capsys, "run", model, "--input", inputs[0], "--output", str(target), "--engine", engine, *machine, "--json"
    )
    assert (status, err) == (0, "")
    figures = json.loads(out)
    assert np.array_equal(np.load(target), small_network().reference(inputs[1]))
    assert figures["inputs"] == 5
    assert sum(figures["shares"].values()) == pytest.approx(1)
    status, out, _ = run(capsys, "run", model, "--input", inputs[0], *machine)
    assert f"cycles {figures['counters']['cycles']:,}" in out


def test_run_writes_into_a_pipe(capsys, tmp_path, model, inputs):
    os.mkfifo(pipe := tmp_path / "y.npy")
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    status, _, err = run(capsys, "run", model, "--input", inputs[0], "--output", str(pipe), *SMALL)
    reader.join(10)
    assert (status, err) == (0, "")
    assert pipe.is_fifo()
    assert np.array_equal(np.load(io.BytesIO(read[0])), small_network().reference(inputs[1]))


def test_an_output_file_that_cannot_be_written_is_one_line_with_its_name(capsys, tmp_path, model, inputs):
    target = tmp_path / "missing" / "y.npy"
    message = error(capsys, "run", model, "--input", inputs[0], "--output", str(target), *SMALL)
    assert message == f"the folder of --output must exist: {target.parent} does not"


def test_wrong_arguments_are_one_line(capsys, tmp_path, model, inputs):
    for name in ("model.pt", ""):
        message = error(capsys, "report", name)
        assert message == f"a model must be a .tflite, an .onnx or an .npz file, or demo, not {name!r}"
    assert "does not exist" in error(capsys, "report", str(tmp_path / "none.npz"))
    assert "No such file" in error(capsys, "report", str(tmp_path / "none.tflite"))
    assert "does not exist" in error(capsys, "run", model, "--input", str(tmp_path / "none.npy"))
    assert "--output must end in .npy" in error(capsys, "run", model, "--input", inputs[0], "--output", "y.txt")
    assert "--engines must be two of" in error(capsys, "compare", model, "--engines", "exact")
    assert "is not a TensorFlow Lite file" in error(capsys, "report", str(write(tmp_path / "a.tflite", b"GGUF")))


def write(path, content):
    path.write_bytes(content)
    return path


# report


def test_report_prints_cycles_memories_and_passes(capsys, model):
    status, out, err = run(capsys, "report", model, *SMALL, "--passes")
    assert (status, err) == (0, "")
    for part in (
        "cycles from operands in memory to the last result",
        "weight load",
        "limited by",
        "activation words",
        "overflow: impossible in every layer",
        "first_cycle",
    ):
        assert part in out
    status, out, _ = run(capsys, "report", model, *SMALL, "--passes", "--json")
    figures = json.loads(out)
    assert figures["cycles"] == figures["counters"]["cycles"]
    assert len(figures["passes"]) == sum(layer["passes"] for layer in figures["layers"])
    # Passes fill the time from the first to the last without overlap.
    ends = [p["last_cycle"] + 1 + q["idle"] for p, q in zip(figures["passes"], figures["passes"][1:], strict=False)]
    assert ends == [p["first_cycle"] for p in figures["passes"][1:]]


# compare


def test_equal_engines_are_equal(capsys, model, inputs):
    status, out, err = run(capsys, "compare", model, "--engines", "exact,amaranth", "--input", inputs[0], *SMALL)
    assert (status, err) == (0, "")
    assert "are equal in every output of every layer" in out


def test_a_difference_is_exit_status_1(capsys, monkeypatch, model):
    monkeypatch.setattr(etchnet.hdl.core.array.array, "delay", late)
    status, out, _ = run(capsys, "compare", model, *SMALL, "--json")
    assert status == 1
    figures = json.loads(out)
    assert figures["equal"] is False
    assert figures["difference"]["layer"] == 0


# bench


def test_bench_of_a_model(capsys, three_calls, model):
    status, out, _ = run(capsys, "bench", model, *SMALL, "--batch", "4", "--json")
    assert status == 0
    figures = json.loads(out)
    assert figures["cycles"]["alone"] > figures["cycles"]["batch"]
    assert figures["inferences_per_second"]["numpy float32, 1 thread, batch 4"] > 0


def test_bench_of_a_network_of_convolutions(capsys, three_calls, tmp_path):
    """The default batch is the best one, and 1 if more do not fit. Every runtime is timed or is left out by name."""
    layers = [
        Conv.from_scale(np.ones((3, 3, 2, 4), np.int8), scale=0.05, zero_point=-128),
        Dense.from_scale(np.ones((64, 3), np.int8), scale=0.01, input_zero_point=-128),
    ]
    path = str(tmp_path / "conv.npz")
    Network(layers, (6, 6, 2)).save(Path(path))
    status, out, _ = run(capsys, "bench", path, *SMALL, "--json")
    figures = json.loads(out)
    assert status == 0
    assert figures["batch"] > 1
    assert figures["cycles"]["batch"] < figures["cycles"]["back_to_back"]
    assert any("ONNX Runtime" in text for text in (*figures["cpu"], *figures["left_out"]))
    (tmp_path / "c.toml").write_text("input_words = 64\n")
    status, out, _ = run(capsys, "bench", path, *SMALL, "--config", str(tmp_path / "c.toml"))
    assert status == 0
    for part in ("one at a time", "numpy float32", "ONNX Runtime"):
        assert part in out
    assert "at once" not in out


def test_bench_of_int32_results(capsys, three_calls, tmp_path):
    Network([Dense(np.ones((9, 4), np.int8))]).save(tmp_path / "sums.npz")
    status, out, _ = run(capsys, "bench", str(tmp_path / "sums.npz"), *SMALL, "--json")
    figures = json.loads(out)
    assert status == 0
    assert figures["inferences_per_second"]["numpy float32, 1 thread, batch 1"] > 0
    assert [line.split(" is left out")[0] for line in figures["left_out"]] == ["LiteRT", "ONNX Runtime"]
