"""`etchnet report`: its summary of overflow, and the packing of the input."""

import re

import numpy as np
import pytest
from support.command_line import error, run

from etchnet.host.network.layers import Conv, Dense
from etchnet.host.network.network import Network


@pytest.fixture
def path(tmp_path):
    def save(*layers, shape=None):
        Network(list(layers), shape).save(tmp_path / "model.npz")
        return str(tmp_path / "model.npz")

    return save


def test_overflow_is_one_line_unless_the_bounds_are_asked_for(capsys, path):
    """The bounds are worked out by hand: one product of -128 or 127 and a weight of 3 in each of four rows."""
    model = path(Dense(np.full((4, 2), 3, np.int8), 5, multiplier=1))
    status, out, err = run(capsys, "report", model)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "overflow: impossible in every layer, whatever the input (bounds: --overflow)"
    *_, first, head, row = run(capsys, "report", model, "--overflow")[1].splitlines()
    assert first == "overflow: impossible in every layer, whatever the input"
    assert "accumulators, 32 bits" in head
    assert row.split() == ["0", "layer", "0", "-1,536", "to", "1,524", *2 * ["-1,531", "to", "1,529"], "yes"]


def test_a_layer_that_may_overflow_is_listed_in_any_case(capsys, path):
    safe, unsafe = (Dense(np.ones((2, 2), np.int8), bias, multiplier=1) for bias in (0, (1 << 31) - 1))
    *_, first, head, row = run(capsys, "report", path(safe, unsafe))[1].splitlines()
    assert first == "overflow: some int8 input may overflow layer 1"
    assert head.startswith("layer")
    assert row.startswith("1 layer 1")
    assert row.endswith("NO")


def test_the_packing_of_the_input_is_kept_with_memories_that_fit(capsys, path):
    model = path(Conv(np.ones((3, 3, 1, 4), np.int8), multiplier=1), shape=(6, 6, 1))
    for packed, text in (("none", "as it is"), ("whole", "with all taps side by side")):
        for fit in ([], ["--fit"]):
            status, out, _ = run(capsys, "report", model, "--packed", packed, *fit)
            assert status == 0
            assert f"input sent {text}: " in out


def test_memories_that_options_set_are_kept_with_memories_that_fit(capsys, path):
    model = path(Conv(np.ones((3, 3, 1, 4), np.int8), multiplier=1), shape=(6, 6, 1))
    out = run(capsys, "report", model, "--fit", "--set", "input_words=2048")[1]
    assert re.search(r"input words, each half +\S+ of +2,048 ", out)
    assert re.search(r"output words, each half +16 of +16 ", out)
    assert "passes = 2 (" in error(capsys, "report", model, "--fit", "--set", "passes=2", "--packed", "none")
