"""Fixture with a library whose figures can be computed by hand."""

import pytest
from support import tiny_liberty


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "tiny.lib"
    path.write_text(tiny_liberty.text())
    return path
