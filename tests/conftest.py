"""Settings of hypothesis, and where the tests keep compiled machines."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The modules that tests share are found from any folder and with any import mode.
sys.path.insert(0, str(Path(__file__).parent))

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
    from cocotb_runner import make_runner

    return make_runner(tmp_path, monkeypatch)
