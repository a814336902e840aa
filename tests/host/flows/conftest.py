"""Fixture that generates Verilog only once for all projects of the same machine."""

import functools
import importlib

import pytest

from etchnet.hdl.targets.verilog import generate

_generate = functools.cache(generate)


@pytest.fixture(autouse=True)
def generated_once(monkeypatch):
    for name in ("fusesoc", "librelane", "litex", "tinytapeout"):
        monkeypatch.setattr(importlib.import_module(f"etchnet.host.flows.{name}"), "generate", _generate)
