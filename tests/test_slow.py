"""The list of slow tests names tests that exist."""

import re
from pathlib import Path

import conftest
from figures import slow_tests

ROOT = Path(__file__).parents[1]


def test_every_slow_test_exists():
    """A test that was renamed would be among the quick ones again."""
    for line in conftest.slow_tests():
        path, _, name = line.partition("::")
        assert re.search(rf"^def {re.escape(name.split('[')[0])}\(", (ROOT / path).read_text(), re.MULTILINE), line


def test_the_list_has_what_takes_long():
    report = """\
============================= slowest durations ==============================
0.70s call     tests/a.py::test_two_parts[x y]
0.40s setup    tests/a.py::test_two_parts[x y]
12.00s call     tests/b.py::test_long
0.99s call     tests/b.py::test_short
"""
    assert slow_tests.slow(report) == ["tests/a.py::test_two_parts[x y]", "tests/b.py::test_long"]
