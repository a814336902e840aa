"""Orders of axes through a graph: transpositions cost nothing, and operators along any axis equal numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import int8, randoms

from etchnet.host.importers.builder import GraphBuilder
from etchnet.host.network.layers import Add, Concat, Conv, Dense, MaxPool, Reshape, Scaling
from etchnet.host.network.model import ModelError, Quantisation

Q = Quantisation(0.5, 0)
SAME = Add((0, 0), Scaling.of(0.5, left=20), Scaling.of(0.5, left=20), Scaling.of(2.0**-19))


def moved(x, permutation):
    return x.transpose(0, *(axis + 1 for axis in permutation))


def results(model, *arrays):
    return model.finish(model.network.reference(model.prepare(list(arrays) if len(arrays) > 1 else arrays[0])))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.booleans(), randoms(), st.data())
def test_elementwise_operators_and_products_work_in_any_order(shape, first, random, data):
    """Values are transposed, clamped, added to themselves, transposed back or flattened into a product."""
    b = GraphBuilder("m", channels_first=first)
    x, array = b.input("x", shape, Q), int8(random, (3, *shape))
    expected = array
    for number in range(3):
        permutation = data.draw(st.permutations(range(len(shape))))
        x, expected = b.transpose(f"t{number}", x, permutation), moved(expected, permutation)
        high = int(random.integers(0, 100))
        x = b.identity(f"clamp{number}", x, Q, scale=None, high=high)
        expected = np.minimum(expected, high)
    x = b.add("sum", SAME, [x, x], Q, shape=x.shape, as_stored=True)
    total = np.clip(expected.astype(int) * 2, -128, 127)
    weights = int8(random, (expected[0].size, 5))
    product = b.add("dense", Dense(weights), [b.reshape("flat", x, (expected[0].size,))], Q, shape=(5,))
    model = b.finish([x, product])
    kept, sums = results(model, array)
    assert np.array_equal(kept, total)
    assert np.array_equal(sums.ravel(), (total.reshape(3, -1) @ weights.astype(int)).astype(np.int32).ravel())
    assert not any(isinstance(layer, Reshape) for layer in model.network.layers)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.booleans(), randoms(), st.data())
def test_concatenations_and_means_along_any_axis(shape, first, random, data):
    b, rank = GraphBuilder("m", channels_first=first), len(shape)
    axis, permutation = data.draw(st.integers(0, rank - 1)), data.draw(st.permutations(range(rank)))
    shapes = [tuple(shape), tuple(2 if a == permutation[axis] else n for a, n in enumerate(shape))]
    arrays = [int8(random, (2, *each)) for each in shapes]
    given = [b.input(name, each, Q) for name, each in zip("ab", shapes, strict=True)]
    values = [b.transpose("t", value, permutation) for value in given]
    view = b.view("concat", values, [axis])
    joined = np.concatenate([moved(array, permutation) for array in arrays], axis + 1)
    result = b.add(
        "concat",
        Concat(view.at[axis]),
        view.values,
        Q,
        shape=joined.shape[1:],
        as_stored=True,
        order=view.order(joined.shape[1:]),
    )
    axes = sorted(data.draw(st.sets(st.integers(0, rank - 1), min_size=1, max_size=2)))
    sums = b.mean(
        "mean",
        result,
        axes,
        Scaling.of(0.25),
        Q,
        shape=[n for a, n in enumerate(joined.shape[1:]) if a not in axes] or [1],
    )
    model = b.finish([result, sums])
    kept, reduced = results(model, *arrays)
    assert np.array_equal(kept, joined)
    whole = joined.astype(int).sum(axis=tuple(a + 1 for a in axes))
    assert np.array_equal(reduced.ravel(), Scaling.of(0.25).apply(whole, "tflite-double", low=-128, high=127).ravel())


@pytest.mark.parametrize("first", [False, True])
def test_an_input_is_packed_in_the_order_in_which_a_convolution_reads_it(first):
    """A file with images in the other order transposes them before its first convolution; no layer does that."""
    random, b = np.random.default_rng(1), GraphBuilder("m", channels_first=first)
    there, back = ([2, 0, 1], [1, 2, 0]) if first else ([1, 2, 0], [2, 0, 1])
    shape = (5, 6, 3) if first else (3, 5, 6)
    x = b.transpose("there", b.input("x", shape, Q), there)
    conv = Conv.from_scale(int8(random, (2, 2, 3, 4)), scale=0.01)
    y = b.transpose("back", b.add("conv", conv, [x], Q), back)
    model, array = b.finish([y]), int8(random, (2, *shape))
    assert [type(layer) for layer in model.network.layers] == [Conv]
    images = array if first else moved(array, [1, 2, 0])
    wanted = conv.reference(images)
    assert np.array_equal(results(model, array), wanted if first else moved(wanted, [2, 0, 1]))


def test_a_second_order_of_an_input_is_one_clear_error():
    b = GraphBuilder("m")
    x = b.input("x", (4, 5, 6), Q)
    b.add("pool", MaxPool((1, 1)), [x], Q)
    with pytest.raises(ModelError, match=r"second reads x, shape .*, which the machine stores in another order"):
        b.add("second", MaxPool((2, 2)), [b.transpose("t", x, [2, 0, 1])], Q)
    with pytest.raises(ModelError, match="sum reads x, x, which the machine stores in different orders of axes"):
        b.add("sum", SAME, [x, b.transpose("t", x, [2, 1, 0])], Q, shape=(6, 5, 4), as_stored=True)
    with pytest.raises(ModelError, match=r"t must order the axes of shape \(4, 5, 6\), not by \[0, 0, 1\]"):
        b.transpose("t", x, [0, 0, 1])
