"""What some tests need and not every machine has."""

import os
import shutil

import pytest

from etchnet.sim.engines.verilated import MissingToolError, find_compiler, find_verilator

MODELS, DATA = os.environ.get("ETCHNET_MODELS"), os.environ.get("ETCHNET_DATA")
needs_models = pytest.mark.skipif(not MODELS, reason="ETCHNET_MODELS names no folder")
needs_data = pytest.mark.skipif(not (MODELS and DATA), reason="ETCHNET_MODELS or ETCHNET_DATA names no folder")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on the PATH")


def _has_verilator() -> bool:
    try:
        find_verilator()
        find_compiler()
    except MissingToolError:
        return False
    return True


needs_verilator = pytest.mark.skipif(not _has_verilator(), reason="no Verilator or no C++ compiler")
