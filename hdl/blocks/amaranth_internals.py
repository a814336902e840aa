"""The only module that uses private names of Amaranth, and why it needs them.

Amaranth may rename these in any release. Each function here is the one place to adapt.
"""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from pathlib import Path
from typing import Any

from amaranth._toolchain.yosys import YosysBinary, YosysError, find_yosys
from amaranth.hdl import Elaboratable, Fragment, _ir
from amaranth.hdl import _nir as cells
from amaranth.lib import wiring

from etchnet.hdl.blocks.hierarchy import ports_of

__all__ = ["YosysError", "cells", "driven_signals", "mark_used", "netlist", "yosys"]


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

    Amaranth has public functions only for the text. Ports have their names of generated Verilog (`ports_of`); clock and
    reset are the ports `clk` and `rst`.

    Parameters
    ----------
    component
        The top component.
    platform
        Passed to every `elaborate`.
    """
    ports: Any = [(name, *port) for name, port in ports_of(component).items()]
    return _ir.build_netlist(Fragment.get(component, platform), ports=ports)


def driven_signals(fragment: Fragment) -> dict[str, Any]:
    """Return the signals that an elaborated component assigns, by the path of the module and their name.

    The parts of a path are joined by dots; signals of the component itself have no path. The data of the read ports of
    a memory are called ``read_0`` and so on, in its path. If several signals of a module have the same name, such as a
    register and the port of a submodule, it is that of the only register among them; if there are more, of none.

    Proofs state invariants of registers that are no ports, and a component has no public way to name those.
    """
    found: dict[str, Any] = {}

    def visit(part: Any, path: str) -> None:
        signals = {s.duid: s for group in part.statements.values() for s in group._lhs_signals()}
        ordered = [signals[duid] for duid in sorted(signals)]
        clocked = {
            s.duid for domain, group in part.statements.items() if domain != "comb" for s in group._lhs_signals()
        }
        named = defaultdict(list)
        for signal in ordered:
            named[_variable_name(signal, ordered)].append(signal)
        for name, same in named.items():
            if len(same) > 1:
                same = [signal for signal in same if signal.duid in clocked]
            if len(same) == 1:
                found[path + name] = same[0]
        for number, port in enumerate(getattr(part, "_read_ports", ())):
            found[f"{path}read_{number}"] = port._data
        for number, (inner, name, _) in enumerate(part.subfragments):
            visit(inner, f"{path}{name or number}.")

    visit(fragment, "")
    return found


def _variable_name(signal: Any, ordered: list[Any]) -> str:
    """Return the name of a signal; if it is unnamed because of a tuple assignment, that of the variable it went to.

    Amaranth names a signal after the variable that it is assigned to, but in ``a, b = Signal(), Signal()`` only the
    last. `ordered` is all signals of the module in the order in which they were made.
    """
    if not signal.name.startswith("$"):
        return str(signal.name)
    file, line = signal.src_loc
    unnamed = [other.duid for other in ordered if other.name.startswith("$") and other.src_loc == signal.src_loc]
    for statement in _assignments(file).get(line, ()):
        targets = [target.id for target in statement.targets[0].elts if isinstance(target, ast.Name)]
        if len(targets) == len(unnamed) + 1:
            return str(targets[unnamed.index(signal.duid)])
    return str(signal.name)


@functools.cache
def _assignments(file: str) -> dict[int, list[Any]]:
    """Return the tuple assignments of a source file by the line of their first value."""
    found: dict[int, list[Any]] = {}
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            found.setdefault(node.lineno, []).append(node)
    return found
