"""The only module that uses private names of Amaranth, and why it needs them.

Amaranth may rename these in any release. Each function here is the one place to adapt.
"""

from __future__ import annotations

from typing import Any

from amaranth._toolchain.yosys import YosysBinary, YosysError, find_yosys
from amaranth.hdl import Elaboratable, Fragment, Value, _ir
from amaranth.hdl import _nir as cells
from amaranth.lib import wiring

__all__ = ["YosysError", "cells", "mark_used", "netlist", "yosys"]


def mark_used(component: Elaboratable) -> None:
    """Keep Amaranth from warning that `component` is never elaborated.

    Amaranth sets the flag itself when a component is elaborated as a submodule. Here a component may instead be
    elaborated as a Verilog module of its own, or be elaborated by calling its `elaborate`.
    """
    untyped: Any = component
    untyped._MustUse__used = True


def yosys() -> type[YosysBinary]:
    """Return the Yosys that Amaranth converts to Verilog with; raise YosysError if none is installed.

    Amaranth's own conversion to Verilog takes one design and a fixed script. The project converts many modules at once,
    with a script of its own, on the same Yosys: the one on the path, or the one that `amaranth[builtin-yosys]`
    installs.
    """
    return find_yosys(lambda version: version >= (0, 40))


def netlist(component: wiring.Component, *, platform: Any = None) -> cells.Netlist:
    """Return the registers and memories of `component`, and the logic between them, from which Amaranth writes RTLIL.

    Amaranth has public functions only for the text. Ports are named after the component's members, their parts joined
    by ``_``, as in generated Verilog; clock and reset are the ports `clk` and `rst`.

    Parameters
    ----------
    component
        The top component.
    platform
        Passed to every `elaborate`.
    """
    ports: Any = []
    for path, _, value in component.signature.flatten(component):
        signal: Any = Value.cast(value)
        if len(signal):
            ports.append(("_".join(map(str, path)), signal, None))
    return _ir.build_netlist(Fragment.get(component, platform), ports=ports)
