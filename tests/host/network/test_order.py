"""Orders of axes equal numpy's transpositions."""

import doctest
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from etchnet.host.network import order as module
from etchnet.host.network.order import AxisOrder


@st.composite
def shapes_and_axes(draw):
    shape = draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=5))
    return tuple(shape), tuple(draw(st.permutations(range(len(shape)))))


def values(shape):
    return np.arange(2 * math.prod(shape)).reshape(2, -1)


def transposed(x, shape, axes):
    return x.reshape(2, *shape).transpose(0, *(a + 1 for a in axes)).reshape(2, -1)


@given(shapes_and_axes())
def test_an_order_is_a_transposition_and_its_inverse_undoes_it(drawn):
    shape, axes = drawn
    order, x = AxisOrder.of(shape, axes), values(shape)
    stored = order.to_machine(x)
    assert np.array_equal(stored, transposed(x, shape, axes))
    assert np.array_equal(order.to_file(stored), x)
    assert np.array_equal(x[0][order.indices(x.shape[1])], stored[0])
    assert order.inverse.inverse == order


@given(shapes_and_axes(), st.data())
def test_equal_permutations_are_equal_objects(drawn, data):
    """An order does not depend on the shape from which it was made."""
    shape, axes = drawn
    order = AxisOrder.of(shape, axes)
    split = tuple(part for size in shape for part in ((2, size // 2) if size % 2 == 0 else (size, 1)))
    assert AxisOrder.of(split, [2 * a + i for a in axes for i in (0, 1)]) == order
    identity = np.array_equal(transposed(values(shape), shape, axes), values(shape))
    assert (order == AxisOrder()) == identity


@given(shapes_and_axes(), st.data())
def test_a_transposition_moves_no_stored_value(drawn, data):
    shape, axes = drawn
    order, x = AxisOrder.of(shape, axes), values(shape)
    permutation = data.draw(st.permutations(range(len(shape))))
    found = order.transposed(shape, permutation)
    assert np.array_equal(found.to_machine(transposed(x, shape, permutation)), order.to_machine(x))


@given(shapes_and_axes(), shapes_and_axes())
def test_orders_that_follow_each_other(first, second):
    one, other = AxisOrder.of(*first), AxisOrder.of(*second)
    count = math.lcm(math.prod(first[0]), math.prod(second[0]))
    one = AxisOrder.of((count // math.prod(first[0]), *first[0]), [0, *(a + 1 for a in first[1])])
    other = AxisOrder.of((count // math.prod(second[0]), *second[0]), [0, *(a + 1 for a in second[1])])
    both = one.then(other)
    if both is not None:
        x = np.arange(count)[None]
        assert np.array_equal(both.to_machine(x), other.to_machine(one.to_machine(x)))


@given(shapes_and_axes(), st.data())
def test_the_axes_of_another_shape(drawn, data):
    """A tensor keeps its order when its shape changes; its axes are known where each is stored as a whole."""
    shape, axes = drawn
    order = AxisOrder.of(shape, axes)
    found = order.of_axes(shape)
    assert found is not None
    assert sorted(found) == list(range(len(shape)))
    assert [a for a in found if shape[a] > 1] == [a for a in axes if shape[a] > 1]
    merged = data.draw(st.integers(0, len(shape) - 1))
    other = (*shape[:merged], math.prod(shape[merged : merged + 2]), *shape[merged + 2 :])
    kept = order.of_axes(other)
    if kept is not None:
        assert AxisOrder.of(other, kept) == order


def test_examples_and_orders_that_no_axes_describe():
    assert doctest.testmod(module).failed == 0
    order = AxisOrder.of((4, 6), (1, 0))
    assert order.of_axes((24,)) is None
    assert order.of_axes((3, 8)) is None
    assert order.of_axes((2, 2, 6)) == (2, 0, 1)
    assert order.of_axes((4, 3, 2)) == (1, 2, 0)
    assert AxisOrder.of((4, 6), (1, 0)).then(AxisOrder.of((4, 6), (1, 0))) is None
