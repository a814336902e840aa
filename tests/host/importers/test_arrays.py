"""Arrays from files and from standard input."""

import io
import os
import threading
import types
from pathlib import Path

import numpy as np
import pytest

from etchnet.host.importers.arrays import read_array
from etchnet.host.network.model import ModelError


def saved(array):
    np.save(file := io.BytesIO(), array)
    return file.getvalue()


def piped(monkeypatch, data):
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))


def test_standard_input_holds_an_array(monkeypatch):
    array = np.arange(6, dtype=np.int8).reshape(2, 3)
    piped(monkeypatch, saved(array))
    found = read_array(Path("-"))
    assert found.dtype == np.int8
    assert np.array_equal(found, array)


def test_a_pipe_of_any_name_holds_an_array(tmp_path):
    array = np.arange(6, dtype=np.int8).reshape(2, 3)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[saved(array)])
    writer.start()
    found = read_array(tmp_path / "pipe")
    writer.join()
    assert np.array_equal(found, array)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it does not begin as numpy's files do"),
        (b"no array", "it does not begin as numpy's files do"),
        (saved(np.arange(9))[:-3], "."),
        (saved(np.array([{}], object)), "."),
    ],
)
def test_standard_input_that_is_no_array_is_refused(monkeypatch, data, reason):
    piped(monkeypatch, data)
    with pytest.raises(ModelError, match=rf"standard input is not a readable \.npy file: {reason}"):
        read_array(Path("-"))


def test_text_holds_whole_or_real_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("1, -2\n\n3 4\n")
    assert read_array(path).tolist() == [[1, -2], [3, 4]]
    assert read_array(path).dtype == np.int64
    path.write_text("1,2.5\n")
    assert read_array(path).tolist() == [[1, 2.5]]
    path.write_text("1,2\n3\n")
    with pytest.raises(ModelError, match=r"a\.csv is not a readable \.csv file"):
        read_array(path)


def test_an_archive_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(2))
    with pytest.raises(ModelError, match="it is an archive, such as"):
        read_array(tmp_path / "a.npz")
