"""The wings of the house, and the order in which they may import one another."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("hdl", "sim", "host")
LEVELS = [
    ["hdl.isa"],
    ["hdl.blocks"],
    ["hdl.core"],
    ["hdl.buses", "hdl.serial"],
    ["hdl.targets"],
    ["sim.arithmetic", "sim.timing"],
    ["sim.functional"],
    ["sim.engines"],
    ["sim.state"],
    ["host.network", "host.tools"],
    ["host.compiler", "host.exporters", "host.data"],
    ["host.importers", "host.driver", "host.fpga"],
    ["host.reports", "host.trace", "host.flows", "host.asic", "host.proofs"],
    ["host.demo"],
    ["host.cli"],
]
"""Wings, lowest first; those on one level do not know each other."""


def sources() -> list[Path]:
    """List every source file of the package."""
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def summary(folder: Path) -> str:
    """Return the first line of a folder's docstring."""
    doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    return (doc or "").partition("\n")[0]
