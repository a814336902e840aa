"""Outputs of commands that are FIFOs, devices or symbolic links: written through, never replaced."""

import os
import stat
import threading

import numpy as np
import pytest
from support.command_line import run

TINY = ["--rows", "2", "--cols", "2", "--set", "weight_tiles=64", "--set", "output_words=16", "--set", "passes=64"]
OUTPUTS = {
    "y.npy": (["run", "demo", "--input", "x.npy", "--output", "y.npy"], b"\x93NUMPY"),
    "page.html": (["trace", "gemm", "--size", "4", *TINY, "-o", "page.html"], b"<!doctype html>"),
    "events.json": (["trace", "gemm", "--size", "4", *TINY, "-o", "events.json"], b'{"traceEvents":['),
    "waves.vcd": (["trace", "gemm", "--size", "4", *TINY, "-o", "waves.vcd"], b"$"),
    "etchnet.json": (["verilog", "--rows", "1", "--cols", "1", "-o", "."], b"{"),
}
"""by output: the command that writes it, and how it begins"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((1, 28, 28, 1), np.int8))
    return tmp_path


def left(folder):
    """Return what a command has left besides its outputs."""
    return {path.name for path in folder.iterdir()} - {"x.npy", "etchnet.v", *OUTPUTS}


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_fifo_is_written_through(capsys, folder, output):
    command, begins = OUTPUTS[output]
    os.mkfifo(output)
    read = []
    reader = threading.Thread(target=lambda: read.append((folder / output).read_bytes()))
    reader.start()
    assert run(capsys, *command)[0] == 0
    reader.join(10)
    assert read[0].lstrip().startswith(begins)
    assert (folder / output).is_fifo()
    assert left(folder) == set()


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_full_device_stays_a_device_and_is_named(capsys, folder, output):
    """The device is one of the test's own: the system's would be lost if this failed."""
    try:
        os.mknod(output, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        (folder / output).open("wb").close()
    except OSError:
        pytest.skip("devices cannot be made here")
    status, out, err = run(capsys, *OUTPUTS[output][0])
    assert (status, out) == (2, "")
    assert err == f"etchnet: {output}: No space left on device\n"
    assert (folder / output).is_char_device()
    assert left(folder) == set()


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_symbolic_link_stays_and_its_file_is_written(capsys, folder, output):
    command, begins = OUTPUTS[output]
    (folder / output).symlink_to("elsewhere")
    assert run(capsys, *command)[0] == 0
    assert (folder / output).is_symlink()
    assert (folder / "elsewhere").read_bytes().lstrip().startswith(begins)
    assert left(folder) == {"elsewhere"}


def test_outputs_go_to_a_fifo_of_any_name(capsys, folder):
    command = list(OUTPUTS["y.npy"][0])
    command[command.index("y.npy")] = "pipe"
    os.mkfifo("pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((folder / "pipe").read_bytes()))
    reader.start()
    assert run(capsys, *command)[0] == 0
    reader.join(10)
    assert read[0].startswith(b"\x93NUMPY")
