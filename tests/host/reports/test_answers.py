"""The largest values of outputs, as real numbers."""

import numpy as np
import pytest

from etchnet.host.network.model import OutputPort, Quantisation
from etchnet.host.reports.answers import best, scores


def port(shape, dtype="int8", scale=0.5, zero_point=2):
    return OutputPort("y", shape, Quantisation(scale, zero_point), dtype)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("int8", [[-1.0, 0.5]]),
        ("uint8", [[-1.0, 0.5]]),
        ("float32", [[0, 3]]),
        ("int32", [[0, 3]]),
        ("int64", [[0, 3]]),
    ],
)
def test_scores_are_real_numbers(dtype, expected):
    assert scores(port((2,), dtype), np.array([[0, 3]], dtype)).tolist() == expected


def test_the_largest_come_first_and_ties_as_in_argmax():
    y = np.array([[5, 7, -3, 7], [1, 1, 1, 1]], np.int8)
    found = best(port((4,), scale=1.0, zero_point=0), y)
    assert [[a.index for a in answers] for answers in found] == [[(1,), (3,), (0,)], [(0,), (1,), (2,)]]
    assert [answers[0].index[0] for answers in found] == y.argmax(axis=1).tolist()
    assert [str(answer) for answer in found[0]] == ["1 (7)", "3 (7)", "0 (5)"]


def test_positions_leave_out_axes_of_size_1():
    y = np.arange(6, dtype=np.int8).reshape(1, 1, 2, 3)
    assert [str(a) for a in best(port((1, 2, 3)), y, most=1)[0]] == ["(1, 2) (1.5)"]
    assert [str(a) for a in best(port((1, 1)), np.array([[[4]]], np.int8))[0]] == ["1"]
