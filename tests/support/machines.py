"""Small machines for tests of single components."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Instance, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.amaranth_internals import mark_used
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa.config import Config


def small(**changed: Any) -> Config:
    """Return a machine with an array of 4 x 4 and memories of a few words."""
    values: dict[str, Any] = {
        "rows": 4,
        "columns": 4,
        "weight_tiles": 8,
        "activation_words": 32,
        "input_words": 16,
        "output_words": 16,
        "accumulator_rows": 16,
        "passes": 16,
        "drains": 8,
        "parameter_tiles": 4,
        "line_words": 16,
    }
    return Config(**values | changed)


SIZE = {
    "weight_tiles": 2048,
    "activation_words": 2048,
    "input_words": 512,
    "output_words": 1024,
    "parameter_tiles": 256,
}
"""memories that hold the programs of small networks"""

COMPILED = Config(rows=4, columns=4, residual_words=256, depthwise=2, line_words=16, accumulator_rows=16, **SIZE)
"""the machine of tests that need some compiled machine, with every kind of memory: it is compiled once"""


class Played(wiring.Component):
    """The ports of a machine, for a bench to drive, and a register that shows resets: 0 after one, then 1."""

    has_status = True

    def __init__(self, config: Config) -> None:
        self.config, self.started = config, Signal()
        links = stream.Signature(config.link_bits)
        super().__init__({"link_in": In(links), "link_out": Out(links), "status": Out(Machine.status_layout())})

    def elaborate(self, platform: Any) -> Module:
        """Add the register."""
        m = Module()
        m.d.sync += self.started.eq(1)
        return m


class Recorder:
    """A platform that records the components which the one that it elaborates instantiates."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def instance(self, name: str, component: wiring.Component, *, reset: Value | None = None) -> Instance:
        """Record a component."""
        mark_used(component)
        self.found.append(component)
        return Instance(name)
