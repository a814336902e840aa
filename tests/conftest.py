"""Settings of hypothesis, and where the tests keep compiled machines."""

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


def pytest_collection_modifyitems(config, items):
    """Leave campaigns out unless they are asked for."""
    if "campaign" in config.getoption("-m"):
        return
    for item in items:
        if "campaign" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="a campaign: run with -m campaign"))


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Verilator as cocotb starts it."""
    from support.cocotb_runner import make_runner

    return make_runner(tmp_path, monkeypatch)
