"""Times of several calls, tested with a fake clock."""

import itertools

import pytest

from etchnet.host.reports import stopwatch


@pytest.fixture
def calls(monkeypatch):
    """Make a function whose calls take 9, 5, 3, 4, 2, 6, ... seconds; return it and the list of its calls."""
    made, now = [], [0.0]
    times = itertools.chain([9, 5, 3, 4, 2], itertools.repeat(6))

    def call():
        made.append(next(times))
        now[0] += made[-1]

    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    return call, made


@pytest.mark.parametrize(("least", "count", "shortest"), [(0.0, 3, 3), (12.5, 4, 2), (20.0, 5, 2)])
def test_the_first_call_does_not_count_and_the_shortest_is_returned(calls, least, count, shortest):
    call, made = calls
    assert stopwatch.shortest(call, least=least) == shortest
    assert len(made) == 1 + count


def test_the_default_can_be_set(calls, monkeypatch):
    call, made = calls
    monkeypatch.setattr(stopwatch, "LEAST", 13.0)
    assert stopwatch.shortest(call) == 2
    assert len(made) == 5


def test_the_median_and_the_quartiles_of_the_calls_are_returned(calls):
    """The calls that count take 2, 3, 4 and 5 seconds: half of them lie between 2.75 and 4.25."""
    call, _ = calls
    found = stopwatch.measured(call, least=12.5)
    assert found == stopwatch.Timing(3.5, 0.75, 4)
    assert found.per(2) == stopwatch.Timing(1.75, 0.375, 4)
    assert found.to_dict() == {"seconds": 3.5, "spread": 0.75, "calls": 4}
