"""Commands on models with several inputs and outputs, and on pictures."""

import json

import numpy as np
import pytest
from support.command_line import error, run
from support.strategies import int8

from etchnet.host.exporters.flatbuffer import Graph
from etchnet.host.network.layers import Add, Conv, Dense, Scaling
from etchnet.host.network.network import INPUT, Network

SMALL = ["--rows", "4", "--cols", "4", "--set", "weight_tiles=256"]


@pytest.fixture
def network():
    random = np.random.default_rng(0)
    half = Scaling.of(0.5, left=20)
    layers = [
        Conv.from_scale(int8(random, (1, 1, 3, 4)), scale=0.01),
        Conv.from_scale(int8(random, (1, 1, 2, 4)), scale=0.01),
        Add((0, 0), half, half, Scaling.of(2.0**-19)),
        Dense(int8(random, (32, 5)), 100),
    ]
    return Network(layers, [(2, 4, 3), (2, 4, 2)], [[INPUT], [INPUT - 1], [0, 1], [2]], outputs=[3, 0])


@pytest.fixture
def arguments(tmp_path, network):
    """Save the network and inputs; returns the arguments that name them, and the inputs."""
    network.save(tmp_path / "m.npz")
    a, b = (int8(np.random.default_rng(1), (3, *shape)) for shape in network.input_shapes)
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    given = ["--input", f"input1={tmp_path / 'b.npy'}", "--input", str(tmp_path / "a.npy")]
    return [str(tmp_path / "m.npz"), *given], np.concatenate([a.reshape(3, -1), b.reshape(3, -1)], axis=1)


def test_run_writes_every_output_by_its_name(capsys, tmp_path, network, arguments):
    given, x = arguments
    target = tmp_path / "y.npz"
    status, out, err = run(capsys, "run", *given, "--output", str(target), *SMALL, "--json")
    assert (status, err) == (0, "")
    sums, tensor = network.split_outputs(network.reference(x))
    with np.load(target) as file:
        assert np.array_equal(file["output0"], sums)
        assert np.array_equal(file["output1"], tensor.reshape(3, 2, 4, 4))
    figures = json.loads(out)["outputs"]
    assert figures["output0"]["argmax"] == sums.argmax(axis=1).tolist()
    assert (figures["output0"]["output_dtype"], figures["output1"]["output_shape"]) == ("int32", [3, 2, 4, 4])
    _, out, _ = run(capsys, "run", *given, *SMALL)
    assert "outputs int32 (3, 5), int8 (3, 2, 4, 4)" in out
    assert "largest output of output1 " in out


def test_other_commands_take_such_models(capsys, tmp_path, arguments):
    given, _ = arguments
    assert run(capsys, "compare", *given, "--engines", "exact,exact", *SMALL)[0] == 0
    status, out, _ = run(capsys, "state", *given, *SMALL, "--cycle", "100")
    assert (status, "pass" in out) == (0, True)
    for command in (
        ["report", given[0]],
        ["bench", given[0], "--batch", "2"],
        ["trace", *given, "--output", str(tmp_path / "t.json")],
        ["trace", *given, "--output", str(tmp_path / "t.html")],
        ["verilog", "--network", given[0], "--output", str(tmp_path / "m.v")],
    ):
        status, _, err = run(capsys, *command, *SMALL)
        assert status == 0, (command, err)


def test_files_that_are_no_inputs_of_the_model(capsys, tmp_path, arguments):
    model, a = arguments[0][0], str(tmp_path / "a.npy")
    assert error(capsys, "run", model, "--input", a) == (
        "m.npz has 2 inputs, input0, input1: there must be one file for each, not 1"
    )
    message = error(capsys, "run", model, "--input", a, "--input", a)
    assert "a.npy: inputs must have shape (N, 2, 4, 2), not (3, 2, 4, 3)" in message
    message = error(capsys, "run", *arguments[0], "--output", str(tmp_path / "y.npy"))
    assert message == "--output must end in .npz for a model with 2 outputs, not 'y.npy'"
    assert error(capsys, "run", *arguments[0], "--range", "0", "1") == (
        "--range has no effect unless an input is a picture"
    )


def picture_model(tmp_path, scale, zero_point):
    g = Graph()
    x = g.activation("pixels", (1, 4, 5, 3), scale, zero_point)
    path = tmp_path / f"{scale}.tflite"
    path.write_bytes(g.write(x, g.pool_2d("max", x, g.like(x), window=(1, 1))))
    return path


@pytest.mark.parametrize(
    ("scale", "zero_point", "limits", "text"),
    [
        (1.0, -128, (0, 255), "0 to 255; --range"),
        (1 / 255, -128, (0, 1), "0 to 1; --range"),
        (0.0039, -127, (0, 1), "0 to 1; --range"),
        (2 / 255, 0, (-1, 1), "-1 to 1; --range"),
        (1 / 128, -1, (-1, 1), "-1 to 1; --range"),
        (0.02, -20, (-2.16, 2.94), "-2.16 to 2.94, all that the input holds, which is no usual range; --range"),
    ],
)
def test_pictures_are_read_in_the_range_of_the_input(capsys, tmp_path, scale, zero_point, limits, text):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    image.fromarray(pixels).save(tmp_path / "x.png")
    model, target = picture_model(tmp_path, scale, zero_point), tmp_path / "y.npy"
    command = ["run", str(model), "--input", str(tmp_path / "x.png"), "--output", str(target)]
    status, out, _ = run(capsys, *command)
    assert status == 0
    assert f"pixels 0 to 255 of pixels are read as {text}" in out
    for given, option in ((limits, []), ((-3.0, 7.5), ["--range", "-3", "7.5"])):
        _, out, _ = run(capsys, *command, *option, "--json")
        reals = given[0] + pixels / 255 * (given[1] - given[0])
        ideal = np.clip(reals / scale + zero_point, -128, 127)
        assert np.abs(np.load(target)[0] - ideal).max() <= 0.5 + 1e-4
        assert json.loads(out)["pixel_ranges"]["pixels"] == pytest.approx(list(given))
    for wrong in (("2", "1"), ("0", "nan"), ("-1e+300", "1e+300"), ("0", "inf")):
        message = error(capsys, *command, "--range", *wrong)
        assert f"{' '.join(wrong)} must be from -1e+38 to 1e+38, the smaller first" in message
