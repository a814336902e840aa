"""Models with several inputs and outputs: ports, and what they accept."""

import numpy as np
import pytest
from support.strategies import int8

from etchnet.host.network.layers import Conv, Dense
from etchnet.host.network.model import InputPort, Model, ModelError, OutputPort, Quantisation
from etchnet.host.network.network import INPUT, Network
from etchnet.host.network.order import AxisOrder
from etchnet.host.network.steps import Dequantise, Quantise, Requantise

Q, UNSIGNED = Quantisation(0.5, 3), Quantisation(0.5, 131, dtype="uint8")
FIRST = AxisOrder.of((3, 2, 4), (1, 2, 0))


def model():
    """Return a model of a uint8 image (channel, y, x) and a float vector, with an int32 and a float output."""
    random = np.random.default_rng(0)
    layers = [
        Dense(int8(random, (5, 2)), [7, -7]),
        Conv.from_scale(int8(random, (1, 1, 3, 3)), scale=0.01, input_zero_point=3),
    ]
    network = Network(layers, [(2, 4, 3), (1, 1, 5)], [[INPUT - 1], [INPUT]], outputs=[1, 0])
    return Model(
        "m",
        network,
        ["dense", "conv"],
        [
            InputPort("image", (3, 2, 4), UNSIGNED, "uint8", FIRST, (Requantise(UNSIGNED, Q),)),
            InputPort("vector", (5,), Q, "float32", steps=(Quantise(Q),)),
        ],
        [
            OutputPort("map", (3, 2, 4), Q, "float32", FIRST, (Dequantise(Q),)),
            OutputPort("sums", (2,), Q, "int32"),
        ],
    )


def test_inputs_and_outputs_are_those_of_the_file():
    made, random = model(), np.random.default_rng(1)
    image = random.integers(0, 256, (6, 3, 2, 4)).astype(np.uint8)
    vector = random.normal(0, 9, (6, 5)).astype(np.float32)
    x = made.prepare({"vector": vector, "image": image})
    assert np.array_equal(x, made.prepare([image, vector]))
    stored = (image.astype(int) - 128).transpose(0, 2, 3, 1)
    assert np.array_equal(x[:, :24], stored.reshape(6, -1))
    y = made.network.reference(x)
    assert y.dtype == np.int32
    found, sums = made.finish(y)
    conv, dense = (tensor.reshape(6, -1) for tensor in made.network.tensors(x)[::-1])
    assert np.array_equal(found, ((conv.astype(np.float32) - 3) / 2).reshape(6, 2, 4, 3).transpose(0, 3, 1, 2))
    assert (found.dtype, sums.dtype) == (np.float32, np.int32)
    assert np.array_equal(sums, dense)
    again = made.restore(x)
    assert [array.dtype for array in again] == [np.uint8, np.float32]
    assert np.array_equal(again[0], image)
    assert np.array_equal(made.prepare(again), x)
    assert repr(made) == "Model('m', 2 layers, (3, 2, 4), (5,) -> (3, 2, 4), (2,), 19 weights)"


def test_reals_are_quantised_and_int8_is_taken_for_float_inputs():
    made = model()
    reals = np.linspace(-100, 100, 24).reshape(1, 3, 2, 4)
    already = np.arange(5, dtype=np.int8)[None]
    x = made.prepare([reals, already])
    assert np.array_equal(x[:, 24:], already)
    assert np.array_equal(x, made.prepare([UNSIGNED.quantise(reals), already]))


IMAGE, VECTOR = np.zeros((2, 3, 2, 4), np.uint8), np.zeros((2, 5), np.float32)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (IMAGE, "inputs must be a list of 2 arrays, image, vector, not ndarray"),
        ([IMAGE], "inputs must be a list of 2 arrays, image, vector, not 1 arrays"),
        ({"image": IMAGE}, "inputs must be named image, vector, not image"),
        ([IMAGE, VECTOR[:1]], "all inputs must have batches of the same size, not 2 of image, 1 of vector"),
        ([IMAGE[:, :2], VECTOR], r"image: inputs must have shape \(N, 3, 2, 4\), not \(2, 2, 2, 4\)"),
        ([IMAGE.astype(np.int8), VECTOR], r"image: inputs must be uint8 \(already quantised\) or float, not int8"),
        ([IMAGE, VECTOR.astype(int)], r"vector: inputs must be int8 \(already quantised\) or float, not int64"),
        ([IMAGE, VECTOR * np.nan], "vector: float inputs must be finite"),
    ],
)
def test_other_inputs_are_one_clear_error(x, message):
    with pytest.raises(ModelError, match=message):
        model().prepare(x)
