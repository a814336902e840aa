"""Inputs from files, and models of networks alone."""

import io
import types

import numpy as np
import pytest
from support.networks import small_network

from etchnet.host.data import fashion
from etchnet.host.importers.load import load_input, load_model, plain_model
from etchnet.host.network.layers import Add, AveragePool, Conv, Dense, Depthwise, MaxPool, Reshape
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.host.network.network import Network
from etchnet.host.reports.compare import default_inputs


@pytest.fixture
def model(tmp_path):
    """Save a small network; returns its path."""
    path = tmp_path / "small.npz"
    small_network().save(path)
    return str(path)


def test_run_reads_text_and_pictures(tmp_path, model):
    loaded = load_model(model)
    (tmp_path / "x.csv").write_text("1,2,3,4,5,6,7,8,9\n\n-1,-2,-3,-4,-5,-6,-7,-8,-9\n")
    x = load_input(tmp_path / "x.csv", loaded)
    assert x.tolist() == [[n + 3 for n in range(1, 10)], [3 - n for n in range(1, 10)]]
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.arange(9, dtype=np.uint8).reshape(3, 3) * 31).save(tmp_path / "x.png")
    assert load_input(tmp_path / "x.png", loaded).tolist() == [[31 * n - 128 for n in range(9)]]


def test_pictures_of_image_models(tmp_path):
    """The demonstration accepts a picture of the data set; pictures of other sizes or shapes are refused."""
    image = pytest.importorskip("PIL.Image")
    demo, picture = load_model("demo"), fashion.held_out().images[:1]
    assert demo.inputs[0].shape == (28, 28, 1)
    image.fromarray(picture[0]).save(tmp_path / "x.png")
    assert np.array_equal(load_input(tmp_path / "x.png", demo), picture.reshape(1, -1).astype(int) - 128)
    image.fromarray(picture.reshape(14, 56)).save(tmp_path / "y.png")
    with pytest.raises(ModelError, match="is 56 pixels wide and 14 high; the model needs 28 wide and 28 high"):
        load_input(tmp_path / "y.png", demo)
    image.fromarray(picture[0, 1:]).save(tmp_path / "z.png")
    with pytest.raises(ModelError, match="is 28 pixels wide and 27 high; the model needs 28 wide and 28 high"):
        load_input(tmp_path / "z.png", demo)
    colour = Conv.from_scale(np.ones((1, 1, 3, 1), np.int8), scale=0.1, input_zero_point=-5)
    Network([colour], (2, 4, 3)).save(tmp_path / "colour.npz")
    values = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    image.fromarray(values).save(tmp_path / "colour.png")
    loaded = load_model(str(tmp_path / "colour.npz"))
    assert load_input(tmp_path / "colour.png", loaded).shape == (1, 24)
    np.save(tmp_path / "images.npy", np.ones((5, 2, 4, 3), np.int8))
    assert load_input(tmp_path / "images.npy", loaded).shape == default_inputs(loaded, 5).shape == (5, 24)


@pytest.mark.parametrize(
    ("layers", "sources", "zero_point"),
    [
        ([Reshape((1, 1, 8)), Dense.from_scale(np.ones((8, 2), np.int8), scale=1, input_zero_point=7)], None, 7),
        (
            [
                MaxPool((2, 2)),
                AveragePool((1, 1)),
                Reshape((2, 1, 1)),
                Conv.from_scale(np.ones((1, 1, 1, 1), np.int8), scale=1, input_zero_point=-9),
            ],
            None,
            -9,
        ),
        ([MaxPool((1, 1)), Add.from_scales((1, 1), 2, zero_points=(3, 4))], [[-1], [0, -1]], 3),
        ([MaxPool((2, 2))], None, 0),
        (
            [
                Depthwise.from_scale(np.ones((1, 1, 2, 1), np.int8), scale=1, input_zero_point=2, zero_point=5),
                Conv.from_scale(np.ones((1, 1, 2, 1), np.int8), scale=1, input_zero_point=5),
            ],
            None,
            2,
        ),
    ],
)
def test_models_of_networks_alone_take_the_zero_point_of_the_first_reader(layers, sources, zero_point):
    model = plain_model("it", Network(layers, (2, 2, 2) if len(layers) != 4 else (2, 3, 1), sources))
    assert model.inputs[0].quantisation == Quantisation(1.0, zero_point)


def test_files_of_several_inputs(tmp_path, monkeypatch):
    """A file can be named, or standard input; the others are in the order of the model."""
    network = Network([MaxPool((1, 1))] * 2, [(1, 1, 3)] * 2, [[-1], [-2]], outputs=[0, 1])
    loaded = plain_model("two", network)
    a, b = np.array([[1, 2, 3]], np.int8), np.array([[4, 5, 6]], np.int8)
    for name, array in {"a.npy": a, "b.npy": b, "=c.npy": a}.items():
        np.save(tmp_path / name, array)
    monkeypatch.chdir(tmp_path)

    def load(*files):
        np.save(data := io.BytesIO(), b)
        monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(data.getvalue())))
        return load_input(files, loaded).ravel().tolist()

    for files in (
        ("a.npy", "b.npy"),
        ("input1=b.npy", "a.npy"),
        ("b.npy", "input0=a.npy"),
        ("a.npy", "-"),
        ("input1=-", "=c.npy"),
    ):
        assert load(*files) == [1, 2, 3, 4, 5, 6]
    for files, message in {
        ("a.npy",): "two has 2 inputs, input0, input1: there must be one file for each, not 1",
        ("a.npy", "b.npy", "b.npy"): "two has 2 inputs, input0, input1: there must be one file for each, not 3",
        ("input0=a.npy", "input0=b.npy"): "input input0 has two files, a.npy and b.npy",
        ("input0=-", "-"): "standard input has one array: only one input may come from it",
        ("a.npy", "input2=a.npy"): "input2=a.npy does not exist, and two has no input input2, only input0, input1",
    }.items():
        with pytest.raises(ModelError, match=f"^{message}$"):
            load(*files)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"", "is not a readable .npy file"),
        ("x.npy", b"\x93NUMPY\x01\x00", "is not a readable .npy file"),
        ("x.csv", b"1,2,three", "is not a readable .csv file"),
        ("x.csv", b"1,2\n3", "is not a readable .csv file"),
        ("x.csv", b"1,2,3", r"inputs must have shape \(N, 9\), not \(1, 3\)"),
        ("x.csv", b"", r"inputs must have shape \(N, 9\)"),
        ("x.csv", b"nan,1,1,1,1,1,1,1,1", "float inputs must be finite"),
    ],
)
def test_inputs_that_cannot_be_read_are_one_clear_error(tmp_path, model, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_input(tmp_path / name, load_model(model))
