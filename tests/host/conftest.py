"""Fixture with which commands and projects generate the Verilog of the same machine only once."""

import functools
import importlib

import pytest

from etchnet.hdl.targets import verilog

PLACES = [
    "hdl.targets.verilog",
    "host.asic.synth",
    "host.flows.fusesoc",
    "host.flows.librelane",
    "host.flows.litex",
    "host.flows.tinytapeout",
]
"""modules in which commands and projects find `generate`"""

_original = verilog.generate
_cached = functools.cache(_original)


def _generate(config, *, init=None, run=None, **options):
    """Do what `generate` does; a machine without a program inside is generated once."""
    return _original(config, init=init, run=run, **options) if init or run else _cached(config, **options)


@pytest.fixture(scope="package", autouse=True)
def generated_once():
    """Replace `generate` in these modules by a function that tests may call too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in PLACES:
            patch.setattr(importlib.import_module(f"etchnet.{name}"), "generate", _generate)
        yield _generate
