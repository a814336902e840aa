"""LiteX module of the machine."""

from __future__ import annotations

import json

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import TOP, generate
from etchnet.host.flows.project import describe

__all__ = ["litex"]


def litex(config: Config) -> dict[str, str]:
    """Return the files of a LiteX module around the Verilog, as texts by name.

    The module has one stream to the machine and one from it.
    """
    design = generate(config)
    ports = json.loads(design.files[f"{TOP}.json"])["ports"]
    endpoints = {"link_in": "sink", "link_out": "source"}
    wires = []
    for name, port in ports.items():
        prefix = "i" if port["direction"] == "input" else "o"
        link, _, part = name.rpartition("_")
        if link in endpoints:
            wires.append(f"{prefix}_{name}=self.{endpoints[link]}.{'data' if part == 'payload' else part},")
        else:
            wires.append(f"{prefix}_{name}={ {'clk': 'ClockSignal', 'rst': 'ResetSignal'}[name] }(domain),")
    lines = "\n".join(f"            {wire}" for wire in wires)
    text = f'''\
"""Etchnet, {describe(config)}, as a LiteX module. Generated; do not edit."""

import os

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import ClockSignal, Instance, ResetSignal

LINK_BITS = {config.link_bits}


class Etchnet(LiteXModule):
    """Machine of {TOP}.v, which takes packets of link words from `sink` and sends results to `source`.

    Both streams have `LINK_BITS` bits in `data`; `first` and `last` are not used. If `platform` is given, the Verilog
    file next to this one is added to its sources.
    """

    def __init__(self, platform=None, domain="sys"):
        self.sink = stream.Endpoint([("data", LINK_BITS)])
        self.source = stream.Endpoint([("data", LINK_BITS)])
        self.specials += Instance(
            "{design.top}",
{lines}
        )
        if platform is not None:
            platform.add_source(os.path.join(os.path.dirname(os.path.abspath(__file__)), "{TOP}.v"))
'''
    return {**design.files, f"{TOP}_litex.py": text}
