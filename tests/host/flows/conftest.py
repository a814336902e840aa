"""Verilog that several projects of the same machine share is generated once."""

import functools
import importlib

import pytest

from etchnet.hdl.targets.verilog import generate

_generate = functools.cache(generate)


@pytest.fixture(autouse=True)
def generated_once(monkeypatch):
    for name in ("fusesoc", "librelane", "litex", "tinytapeout"):
        monkeypatch.setattr(importlib.import_module(f"etchnet.host.flows.{name}"), "generate", _generate)
