"""Allocation by lifetimes: no overlap, and the smallest memory possible for few tensors."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchnet.host.compiler.allocation import Lifetime, allocate


@st.composite
def lifetimes(draw, *, most, size=50, steps=10):
    """Draw up to `most` tensors of random sizes and lifetimes."""
    found = []
    for _ in range(draw(st.integers(0, most))):
        first = draw(st.integers(0, steps - 1))
        found.append(Lifetime(draw(st.integers(1, size)), first, first + draw(st.integers(0, 3))))
    return found


def words_at_once(tensors):
    """Return the largest number of words in memory in one step: no allocation takes fewer."""
    steps = range(max((t.last for t in tensors), default=0) + 1)
    return max((sum(t.size for t in tensors if t.first <= step <= t.last) for step in steps), default=0)


def fewest_words(tensors):
    """Return the smallest memory that holds the tensors, by trying all addresses."""
    whole = sum(t.size for t in tensors)
    for words in range(words_at_once(tensors), whole + 1):
        for addresses in itertools.product(*(range(words - t.size + 1) for t in tensors)):
            memory = [set(range(a, a + t.size)) for a, t in zip(addresses, tensors, strict=True)]
            if not any(
                memory[i] & memory[j]
                for i, j in itertools.combinations(range(len(tensors)), 2)
                if tensors[i].first <= tensors[j].last and tensors[j].first <= tensors[i].last
            ):
                return words
    return whole


@given(lifetimes(most=12))
def test_tensors_that_live_at_once_do_not_overlap(tensors):
    addresses, words = allocate(tensors)
    assert words_at_once(tensors) <= words <= sum(t.size for t in tensors)
    memory = {}
    for tensor, address in zip(tensors, addresses, strict=True):
        assert 0 <= address <= words - tensor.size
        for step in range(tensor.first, tensor.last + 1):
            for word in range(address, address + tensor.size):
                assert (step, word) not in memory
                memory[step, word] = tensor
    assert words == max((word + 1 for _, word in memory), default=0)


@given(lifetimes(most=3, size=4, steps=4))
def test_three_tensors_take_the_fewest_words_possible(tensors):
    assert allocate(tensors)[1] == fewest_words(tensors)


@pytest.mark.parametrize("sizes", [[40, 30, 20, 10, 1], [64, 64, 64, 64], [5, 40, 30, 2]])
def test_a_chain_of_layers_takes_the_largest_pair_of_neighbours(sizes):
    chain = [Lifetime(size, step, step + 1) for step, size in enumerate(sizes)]
    assert allocate(chain)[1] == max(a + b for a, b in itertools.pairwise(sizes))


def test_no_tensors_take_no_words():
    assert allocate([]) == ([], 0)
