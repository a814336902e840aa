"""Fixtures of the tests of commands."""

import pytest

from etchnet.host.reports import stopwatch


@pytest.fixture
def three_calls(monkeypatch):
    """Let benchmarks time a function with three calls only."""
    monkeypatch.setattr(stopwatch, "LEAST", 0.0)
