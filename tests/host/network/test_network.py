"""Networks as graphs: sources and readers, subgraphs, and files."""

import numpy as np
import pytest
from support.strategies import int8

from etchnet.host.network.layers import Add, Concat, Conv, Dense, MaxPool, NetworkError, Scaling
from etchnet.host.network.network import INPUT, Network, needed_layers


def diamond():
    """Return a convolution, two pools that read it, and their concatenation."""
    random = np.random.default_rng(1)
    layers = [
        Conv.from_scale(int8(random, (2, 2, 3, 4)), scale=0.002),
        MaxPool((1, 1), high=5),
        MaxPool((3, 3), padding=((1, 1), (1, 1))),
        Concat(),
    ]
    return Network(layers, (5, 6, 3), [[INPUT], [0], [0], [1, 2]])


def test_shapes_and_sources_of_a_graph():
    network = diamond()
    assert network.shapes == ((4, 5, 4), (4, 5, 4), (4, 5, 4), (4, 5, 8))
    assert (network.input_size, network.output_size, network.output_shape) == (90, 160, (4, 5, 8))
    assert network.source_shapes(3) == [(4, 5, 4), (4, 5, 4)]
    assert network.readers(0) == [1, 2]
    assert network.readers(INPUT) == [0]
    assert network.multiplications == 4 * 5 * 48
    assert network.weight_count == 48


def test_defaults_are_filled_in():
    network = Network([Dense.from_scale(np.ones((3, 4), np.int8), scale=0.1), Dense(np.ones((4, 2), np.int8))])
    assert network.input_shape == (1, 1, 3)
    assert network.sources == ((INPUT,), (0,))
    with pytest.raises(NetworkError, match=r"input_shapes must be \(height, width, channels\) of each input, not None"):
        Network([MaxPool((1, 1))])


def test_an_input_of_a_damaged_file_is_not_allocated():
    with pytest.raises(NetworkError, match="input_shapes must have at most 268435456 values"):
        Network([MaxPool((1, 1))], (1 << 40, 1 << 40, 2))
    with pytest.raises(NetworkError, match="outputs must have at most 268435456 values, not 536870912"):
        Network([MaxPool((1, 1))], (1 << 13, 1 << 13, 1), outputs=[0] * 8)


def test_the_network_up_to_a_layer_has_only_the_layers_needed():
    network = diamond()
    part = network.upto(2)
    assert [type(layer) for layer in part.layers] == [Conv, MaxPool]
    assert part.sources == ((INPUT,), (0,))
    x = int8(np.random.default_rng(2), (3, network.input_size))
    assert np.array_equal(part.reference(x), network.tensors(x)[2].reshape(3, -1))


def test_a_file_holds_the_whole_network(tmp_path):
    scaling = Scaling.of(0.3, left=20)
    network = Network(
        [*diamond().layers, Add((1, 2), scaling, scaling, Scaling.of(0.01))],
        (5, 6, 3),
        [[INPUT], [0], [0], [1, 2], [3, 3]],
        "tflite-single",
    )
    network.save(tmp_path / "network.npz")
    loaded = Network.load(tmp_path / "network.npz")
    assert (loaded.shapes, loaded.sources, loaded.contract) == (network.shapes, network.sources, "tflite-single")
    assert loaded.layers[1:] == network.layers[1:]
    x = int8(np.random.default_rng(3), (2, network.input_size))
    assert np.array_equal(loaded.reference(x), network.reference(x))


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([[INPUT], [0], [0]], "sources must name those of 4 layers, not 3"),
        ([[INPUT], [0], [0], [1, 3]], "layer 3 must read inputs or layers before it, not 3"),
        ([[INPUT], [0], [0], []], "layer 3 must have some sources, not 0"),
        ([[INPUT], [0, 0], [0], [1, 2]], "layer 1 must have 1 sources, not 2"),
        ([[INPUT], [0], [0], [1]], "no layer reads the result of layer 2, and it is not an output"),
    ],
)
def test_errors_name_invalid_graphs(sources, message):
    with pytest.raises(NetworkError, match=message):
        Network(diamond().layers, (5, 6, 3), sources)


def test_needed_layers_are_renumbered():
    """By hand: layer 4 needs layers 0 and 2, and reads the input too."""
    sources = [[INPUT], [0], [0], [1], [2, INPUT]]
    assert needed_layers(sources, [4]) == ([0, 2, 4], [[INPUT], [0], [1, INPUT]], [2])
    assert needed_layers(sources, [0, INPUT]) == ([0], [[INPUT]], [0, INPUT])
