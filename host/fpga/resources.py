"""Resources that a design uses after synthesis and after packing, and the check against those of the device."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from etchnet.hdl.isa.errors import EtchnetError
from etchnet.hdl.targets.boards import Board
from etchnet.host.fpga.families.base import Family

__all__ = ["DoesNotFitError", "after_packing", "after_synthesis", "check_fits"]


class DoesNotFitError(EtchnetError, RuntimeError):
    """Error for a machine that needs more of a resource than the device has; the message names the resource."""


def after_synthesis(cells: Mapping[str, int], family: Family[Any]) -> dict[str, int]:
    """Return the resources that a netlist uses, by name, from the number of its cells by type."""
    used: dict[str, float] = {}
    for cell, count in cells.items():
        for pattern, (resource, each) in family.cells.items():
            if re.fullmatch(pattern, cell):
                used[resource] = used.get(resource, 0) + each * count
    return {name: round(count) for name, count in used.items()}


def after_packing(log: str, family: Family[Any]) -> dict[str, int]:
    """Return the logic cells that a design uses, from nextpnr's log; empty if the log has no packing report yet."""
    found = [
        each * int(match[1])
        for name, each in family.logic.items()
        if (match := re.search(rf"^Info:\s+{name}:\s+(\d+)/", log, re.MULTILINE))
    ]
    return {"logic cells": sum(found)} if found else {}


def check_fits(board: Board, used: Mapping[str, int], limits: Mapping[str, int] | None = None) -> None:
    """Check that a design needs no more of any resource than `limits`, by default those of the board's device.

    Raises
    ------
    DoesNotFitError
        The design needs more; the message names every such resource.
    """
    available = board.device.resources
    over = [
        f"{used[name]:,} {name} of {available[name]:,}"
        for name, most in (limits or available).items()
        if used.get(name, 0) > most
    ]
    if over:
        raise DoesNotFitError(f"the machine does not fit the {board.name}: it needs {' and '.join(over)}")
