"""Settings of hypothesis and of the garbage collector, and which tests are left out or slow."""

import gc
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# What tests share (`support`, `figures`), and the benches that cocotb imports by name.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "cocotb")]

settings.register_profile(
    "default", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("campaign", parent=settings.get_profile("default"), derandomize=False, max_examples=1000)
settings.load_profile("default")

LEFT_OUT = {"campaign": "a campaign", "place_and_route": "minutes of synthesis, or of place and route"}
"""markers of tests that run only where `-m` names them, and what these are"""


def slow_tests() -> set[str]:
    """Return the tests of `slow.txt`, which `figures/slow_tests.py` writes from measured times."""
    return set(Path(__file__).with_name("slow.txt").read_text().splitlines())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Leave out what takes minutes unless it is asked for, and mark what takes seconds, before `-m` chooses."""
    asked, slow = config.getoption("-m"), slow_tests()
    for item in items:
        if item.nodeid in slow:
            item.add_marker(pytest.mark.slow)
        for marker, what in LEFT_OUT.items():
            if marker in item.keywords and marker not in asked:
                item.add_marker(pytest.mark.skip(reason=f"{what}: run with -m {marker}"))


def pytest_collection_finish():
    """Collect garbage more rarely, and without going through the modules and tests that stay until the end.

    Elaboration makes millions of objects that live as long as the design, so that at Python's own threshold of 700 a
    tenth of the time of the tests is spent on looking for garbage among them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Verilator as cocotb starts it."""
    from support.cocotb_runner import make_runner

    return make_runner(tmp_path, monkeypatch)
