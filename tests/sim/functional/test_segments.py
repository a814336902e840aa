"""Segments of a step's folds: how they are cut, their sums, and the bounds of the sums."""

import dataclasses

import numpy as np
import pytest
from support.strategies import int8
from support.walks import SQUARE, depthwise_pass

from etchnet.hdl.isa import Destination, Drain, Fold, Pass, TileKind
from etchnet.sim.functional.buffers import Scratch, Values, as_slice, wrap_int32
from etchnet.sim.functional.plan import Plan
from etchnet.sim.functional.segments import EXACT_FLOAT32, segments_of
from etchnet.sim.functional.steps import OperandKind, Term
from etchnet.sim.functional.tracing import GrowableArray, TermLists

DENSE, WORD = TileKind.STORED, TileKind.IDENTITY
SET, ADD, MAX = Fold.SET, Fold.ADD, Fold.MAX


def segments(folds, tiles, *, config=SQUARE):
    """Return the segments of one step, whose folds are (kind, fold) of three pixels each."""
    passes = [
        Pass(kind=kind, weights=config.load_cycles * i, address=i, pixels=3, fold=how)
        for i, (kind, how) in enumerate(folds)
    ]
    passes[-1] = dataclasses.replace(passes[-1], release=True)
    plan = Plan(passes, [Drain(pixels=3, destination=Destination.OUTPUT)], [0] * len(passes), config)
    return segments_of(plan.steps[0], plan, tiles[plan.tiles], np.zeros(plan.values, np.int64))


@pytest.mark.parametrize(
    ("folds", "sizes"),
    [
        ([(DENSE, SET)], [1]),
        ([(DENSE, SET), (DENSE, ADD), (DENSE, ADD)], [3]),
        ([(DENSE, SET), (DENSE, MAX), (DENSE, MAX)], [1, 1, 1]),
        ([(DENSE, SET), (DENSE, ADD), (DENSE, MAX), (DENSE, ADD)], [2, 1, 1]),
        ([(WORD, SET), (WORD, MAX), (WORD, MAX)], [3]),
        ([(WORD, SET), (WORD, ADD), (WORD, MAX), (WORD, MAX)], [2, 2]),
        ([(WORD, SET), (DENSE, ADD), (DENSE, ADD), (WORD, ADD)], [1, 2, 1]),
    ],
)
def test_folds_join_if_one_product_or_reduction_computes_them(folds, sizes):
    random = np.random.default_rng(0)
    tiles = int8(random, (len(folds), 4, 4))
    cells = int8(random, (2, 80, 4)).astype(np.float32)
    values, scratch = Values(cells, np.zeros((2, 0, 4))), Scratch()
    found = segments(folds, tiles)
    assert [s.indices.shape[1] for s in found] == sizes
    first = 0
    for segment, size in zip(found, sizes, strict=True):
        # The sums, folded pixel by pixel in whole numbers.
        wanted = None
        for index in range(first, first + size):
            kind, how = folds[index]
            words = cells[:, segment.indices[:, index - first]].astype(np.int64)
            term = words @ tiles[index].astype(np.int64) if kind == DENSE else words
            if wanted is None:
                wanted = term
            else:
                wanted = np.maximum(wanted, term) if how == MAX else wanted + term
        got = segment.compute(values, scratch)
        assert np.array_equal(got, wanted.reshape(-1, 4))
        assert np.abs(wanted).max() <= segment.bound
        first += size


def test_bounds_of_long_sums_come_from_the_weights():
    config = dataclasses.replace(SQUARE, rows=16, columns=16, depthwise=0, requantisers=16)
    tiles = np.ones((70, 16, 16), np.int8)
    folds = [(DENSE, ADD if i else SET) for i in range(65)]
    (few,) = segments(folds[:64], tiles, config=config)
    assert (few.bound, few.single_product) == (64 * 16 << 14, True)
    assert few.bound == EXACT_FLOAT32
    (many,) = segments(folds, tiles, config=config)
    assert (many.bound, many.single_product) == (65 * 16 * 128, True)
    (cut,) = segments(folds, np.full_like(tiles, -128), config=config)
    assert (cut.bound, cut.single_product) == (65 * 16 << 14, False)


def test_windows_are_bounded_by_the_taps_of_their_channel():
    _, _, p = depthwise_pass(SQUARE, 3, 3, weights=4, release=True)
    rows = len(p.kept(SQUARE))
    plan = Plan([p], [Drain(pixels=rows, destination=Destination.OUTPUT)], [0], SQUARE)
    tile = np.array([[1, 0, 5, 0], [2, 0, -5, 0], [3, -100, 5, 0], [4, 0, -5, 0]], np.int8)
    (segment,) = segments_of(plan.steps[0], plan, tile[None], np.zeros(0, np.int64))
    assert segment.bound == 100 * 128
    assert segment.multiplications == rows * 16


def test_scratch_arrays_are_reused_by_name_and_type():
    scratch = Scratch()
    first = scratch.take("sums", (2, 3), np.float32)
    assert scratch.take("sums", (2, 3), np.float32) is first
    assert np.shares_memory(scratch.take("sums", (3,), np.float32), first)
    assert not np.shares_memory(scratch.take("sums", (2, 3), np.float64), first)
    assert not np.shares_memory(scratch.take("other", (2, 3), np.float32), first)
    larger = scratch.take("sums", (100,), np.float32)
    assert larger.shape == (100,)
    assert np.shares_memory(scratch.take("sums", (2, 3), np.float32), larger)


@pytest.mark.parametrize(
    ("indices", "wanted"),
    [
        ([[3, 4], [5, 6]], slice(3, 7)),
        ([7], slice(7, 8)),
        ([3, 5], None),
        ([4, 3], None),
        ([3, 3, 5], None),
        ([], None),
    ],
)
def test_consecutive_indices_are_a_slice(indices, wanted):
    assert as_slice(np.array(indices, dtype=np.int64)) == wanted


def test_whole_numbers_wrap_to_int32():
    values = np.array([0, -1, 1 << 31, -(1 << 31) - 1, (1 << 32) + 7, (1 << 31) - 1], np.float64)
    assert wrap_int32(values).tolist() == [0, -1, -(1 << 31), (1 << 31) - 1, 7, (1 << 31) - 1]


def test_growable_arrays_keep_what_was_appended():
    array, wanted = GrowableArray(), []
    for count in (1, 1000, 30, 5000, 0, 2):
        assert array.extend(count, np.arange(count)) == len(wanted)
        wanted += range(count)
    assert array.size == len(wanted)
    assert array[np.arange(len(wanted))].tolist() == wanted


def test_equal_lists_of_terms_have_one_number():
    lists = TermLists()
    one, two = Term(SET, OperandKind.WORD), Term(ADD, OperandKind.DENSE, 3)
    first = lists.add(-1, one, 1)
    second = lists.add(first, two, 2)
    assert lists.add(lists.add(second, one, 1), two, 2) == second
    assert lists.terms(second) == [one, two]
    assert [lists.widths[i] for i in (first, second)] == [1, 3]
