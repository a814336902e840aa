"""`etchnet run`: answers, standard input and standard output."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from support.command_line import error, run

from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network

COMMAND = [sys.executable, "-m", "etchnet.host.cli.main", "run"]


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Save a network whose outputs are its four inputs, and twelve inputs; return the path of the network."""
    monkeypatch.chdir(tmp_path)
    Network([Dense.from_scale(np.eye(4, dtype=np.int8), scale=1.0)]).save("identity.npz")
    np.save("x.npy", np.array([[3, 9, -5, 9], [-1, -2, -3, -4], *10 * [[0, 0, 0, 1]]], np.int8))
    return "identity.npz"


def test_the_three_largest_outputs_are_printed_for_the_first_inputs(capsys, path):
    status, out, err = run(capsys, "run", path, "--input", "x.npy")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "identity.npz on exact: 12 inputs, output int8 (12, 4)"
    assert lines[1] == "input 0: largest output 1 (9), then 3 (9), 0 (3)"
    assert lines[2] == "input 1: largest output 0 (-1), then 1 (-2), 2 (-3)"
    assert lines[10].startswith("input 9: ")
    assert lines[11] == "... and 2 more inputs: --output writes all"


def test_json_has_positions_and_scores(capsys, path):
    found = json.loads(run(capsys, "run", path, "--input", "x.npy", "--json")[1])
    assert found["argmax"] == [1, 0, *10 * [3]]
    assert found["best"][0] == [{"index": [1], "score": 9}, {"index": [3], "score": 9}, {"index": [0], "score": 3}]


def test_inputs_and_outputs_pass_through_pipes(path, tmp_path):
    data = (tmp_path / "x.npy").read_bytes()
    done = subprocess.run(
        [*COMMAND, path, "--input", "-", "--output", "-"], input=data, capture_output=True, check=True
    )
    assert np.array_equal(np.load(io.BytesIO(done.stdout)), np.load(tmp_path / "x.npy"))
    assert done.stderr.startswith(b"identity.npz on exact: 12 inputs, output int8 (12, 4)\n")


def test_two_outputs_to_one_stream_are_refused(capsys, path):
    message = error(capsys, "run", path, "--input", "x.npy", "--output", "-", "--json")
    assert message == "--json and --output - both write to standard output: give one of them"


def test_the_folder_of_the_output_is_named_before_the_run(capsys, path):
    message = error(capsys, "run", path, "--input", "x.npy", "--output", "/nosuch/y.npy")
    assert message == "the folder of --output must exist: /nosuch does not"
