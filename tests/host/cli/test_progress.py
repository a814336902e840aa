"""Commands that may take seconds say what they are doing, from the loading of the model on."""

import contextlib
from importlib import import_module

import numpy as np
import pytest
from support.command_line import run
from support.networks import small_network

from etchnet.host.importers import load

SMALL = ["--rows", "4", "--cols", "4"]

COMMANDS = [
    ("run", "MODEL", "--input", "x.npy"),
    ("report", "MODEL"),
    ("trace", "MODEL", "-o", "out.html"),
    ("state", "MODEL", "--cycle", "3"),
    ("compare", "MODEL", "--engines", "exact,exact"),
    ("bench", "MODEL"),
    ("bench", "engines", "MODEL", "--engine", "exact", "--batch", "1"),
    ("verilog", "MODEL", "-o", "out"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_first_thing_that_is_said_is_that_the_model_is_loaded(capsys, monkeypatch, tmp_path, three_calls, command):
    monkeypatch.chdir(tmp_path)
    small_network().save("model.npz")
    np.save("x.npy", np.zeros((1, 9), np.int8))
    said, original = [], load._loaded

    @contextlib.contextmanager
    def recorded(*, quiet):
        yield lambda text, share=None: said.append(text)

    def loading(name):
        said.append("loads")
        return original(name)

    monkeypatch.setattr(import_module(f"etchnet.host.cli.{command[0]}"), "progress", recorded)
    monkeypatch.setattr(load, "_loaded", loading)
    status, _, err = run(capsys, *(part.replace("MODEL", "model.npz") for part in command), *SMALL)
    assert (status, err) == (0, "")
    assert said[:2] == ["loading model.npz", "loads"]
    assert len(said) > 2
    assert all(said)
