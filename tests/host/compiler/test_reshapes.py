"""Reshapes that need no passes: networks without them compute the same."""

import numpy as np
import pytest
from support.strategies import int8

from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.reshapes import reshaped_in_place, rewrite_network, stored_tensor, strip_reshapes
from etchnet.host.network.layers import Conv, Dense, MaxPool, Reshape
from etchnet.host.network.network import INPUT, Network

POOL = MaxPool((1, 1))


def dense(terms, channels):
    """Return a fully connected layer."""
    return Dense.from_scale(int8(np.random.default_rng(0), (terms, channels)), scale=0.01)


@pytest.mark.parametrize(
    ("layers", "shape", "kept"),
    [
        ([Reshape((2, 3, 4)), POOL], (1, 1, 24), [1]),  # the host packs the input in another shape
        ([POOL, Reshape((1, 1, 24)), dense(24, 5)], (2, 3, 4), [0, 2]),  # a classifier reads values in their order
        ([POOL, Reshape((3, 2, 4)), Reshape((1, 1, 24)), dense(24, 5)], (2, 3, 4), [0, 3]),
        ([POOL, Reshape((2, 3, 4)), POOL], (2, 3, 4), [0, 2]),  # the same shape
        ([POOL, Reshape((1, 1, 24))], (2, 3, 4), [0]),  # results are read in their order
        ([POOL, Reshape((3, 2, 4)), POOL], (2, 3, 4), [0, 1, 2]),
    ],
)
def test_networks_without_needless_reshapes_compute_the_same(layers, shape, kept):
    network = Network(layers, shape)
    stripped, origin = strip_reshapes(network)
    assert origin == kept
    x = int8(np.random.default_rng(1), (3, network.input_size))
    assert np.array_equal(stripped.reference(x), network.reference(x))


@pytest.mark.parametrize(
    ("rows", "columns", "before", "after", "in_place"),
    [
        (4, 4, (2, 3, 8), (3, 2, 8), True),  # the same channels
        (4, 4, (2, 3, 8), (2, 6, 4), True),  # whole words
        (4, 4, (2, 3, 8), (2, 4, 6), False),  # values of a word would move
        (8, 4, (2, 3, 8), (2, 6, 4), False),
        (8, 3, (2, 3, 6), (2, 6, 3), False),  # words have lanes without a channel
    ],
)
def test_reshapes_of_whole_words_share_memory(rows, columns, before, after, in_place):
    network = Network([POOL, Reshape(after), POOL], before)
    config = Config(rows=rows, columns=columns, depthwise=0, residual_words=0)
    assert reshaped_in_place(network, config) == ({1} if in_place else set())


def test_a_chain_of_reshapes_is_stored_in_the_first_tensor():
    network = Network([POOL, Reshape((3, 2, 4)), Reshape((1, 6, 4)), POOL], (2, 3, 4))
    assert [stored_tensor(network, tensor, {1, 2}) for tensor in (INPUT, 0, 1, 2, 3)] == [INPUT, 0, 0, 0, 3]
    assert stored_tensor(network, 2, {2}) == 1


def test_rewritten_networks_keep_the_layers_that_their_result_needs():
    layer = Conv.from_scale(int8(np.random.default_rng(0), (1, 1, 4, 4)), scale=0.05)
    network = Network([layer, POOL, layer], (2, 3, 4))
    skipping, kept = rewrite_network(network, network.layers, [(INPUT,), (0,), (0,)])
    assert kept == [0, 2]
    assert skipping.sources == ((INPUT,), (0,))
    x = int8(np.random.default_rng(1), (2, network.input_size))
    assert np.array_equal(skipping.reference(x), network.reference(x))
    shorter, kept = rewrite_network(network, network.layers, network.sources, outputs=[1], input_shapes=[(3, 2, 4)])
    assert kept == [0, 1]
    assert shorter.input_shape == (3, 2, 4)
