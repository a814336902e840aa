"""`etchnet report --dump-after`: the result of a compiler stage, as text and as JSON."""

import json

import numpy as np
import pytest
from support.command_line import error, run

from etchnet.host.compiler.compile import PIPELINE
from etchnet.host.network.layers import Conv, Dense, Reshape
from etchnet.host.network.network import Network

MACHINE = ["--rows", "4", "--cols", "4"]


@pytest.fixture
def model(tmp_path):
    """Save a network with a convolution to 5 channels and a classifier of 2 x 2 pixels; return its path."""
    layers = [
        Conv.from_scale(np.ones((2, 2, 3, 5), np.int8), scale=0.01),
        Reshape((1, 1, 20)),
        Dense(np.ones((20, 2), np.int8)),
    ]
    path = tmp_path / "small.npz"
    Network(layers, (3, 3, 3)).save(path)
    return str(path)


def dump(capsys, model, stage, *options):
    """Return what the command prints after a stage."""
    status, out, _ = run(capsys, "report", model, *MACHINE, "--dump-after", stage, *options)
    assert status == 0
    return out


@pytest.mark.parametrize("stage", [stage.name for stage in PIPELINE])
def test_every_stage_prints_its_result(capsys, model, stage):
    text = dump(capsys, model, stage)
    values = json.loads(dump(capsys, model, stage, "--json"))
    assert text.splitlines()[0] == f"stage: {stage}"
    assert values["stage"] == stage
    assert all(name in text for name in values)


def test_the_layers_and_fusion_groups_are_those_of_the_model(capsys, model):
    dumps = {}
    for stage in ("strip_reshapes", "fuse", "allocate"):
        dumps[stage] = json.loads(dump(capsys, model, stage, "--json"))
    assert [layer["kind"] for layer in dumps["strip_reshapes"]["layers"]] == ["Conv", "Dense"]
    assert [group["layer"] for group in dumps["fuse"]["groups"]] == [0, 2]
    # 4 pixels of 5 channels in words of 4.
    assert dumps["allocate"]["activation_words"] == 4 * 2


def test_the_packing_of_the_input_can_be_chosen(capsys, model):
    for packed, shapes in (("none", []), ("row", ["3 x 2 x 6"]), ("whole", ["2 x 2 x 12"])):
        found = json.loads(dump(capsys, model, "arrange", "--packed", packed, "--json"))
        assert (found["im2col"], [tensor["shape"] for tensor in found["tensors"]]) == (packed, shapes)


def test_a_stage_that_does_not_exist_is_refused(capsys, model):
    assert "'emit'" in error(capsys, "report", model, *MACHINE, "--dump-after", "link")
