"""The only module that uses private names of Amaranth, and why it needs them.

Amaranth may rename these in any release. Each function here is the one place to adapt.
"""

from __future__ import annotations

from typing import Any

from amaranth._toolchain.yosys import YosysBinary, YosysError, find_yosys
from amaranth.hdl import Elaboratable

__all__ = ["YosysError", "mark_used", "yosys"]


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
