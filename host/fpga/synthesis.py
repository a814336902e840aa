"""Synthesis of a machine to the netlist that nextpnr reads: Verilog, PLL, pin constraints and Yosys."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from etchnet.hdl.blocks.hierarchy import module_name
from etchnet.hdl.blocks.scan_harness import ScanHarness
from etchnet.hdl.core.array.array import SystolicArray
from etchnet.hdl.serial.uart import Uart
from etchnet.hdl.targets.boards import Board, BoardTop
from etchnet.hdl.targets.verilog import generate, generate_component
from etchnet.host.fpga.request import BuildRequest, Progress
from etchnet.host.fpga.resources import after_synthesis, check_fits
from etchnet.host.tools.tool import MissingPackageError
from etchnet.host.tools.yosys import run_yosys

__all__ = ["Netlist", "synthesise"]

_ACHIEVED = (r"clkout0 frequency: ([\d.]+)", r"F_PLLOUT: +([\d.]+) MHz \(achieved\)", r"Achieved[^\d]*([\d.]+)")
"""lines in which ecppll, icepll and gowin_pll report the clock that their PLL generates, in MHz"""


@dataclass(frozen=True)
class Netlist:
    """Result of synthesis, in addition to the files that it writes."""

    top: str
    """name of the top module"""
    clock: float
    """clock in MHz that the PLL generates; for the array alone, the requested clock"""
    options: list[str]
    """additional arguments of nextpnr"""
    used: dict[str, int]
    """resources that the netlist uses, by name"""


@dataclass(frozen=True)
class _Sources:
    """Verilog files in the build's folder, their top module, and the clock in MHz."""

    files: list[str]
    top: str
    clock: float


def synthesise(request: BuildRequest, folder: Path, report: Progress) -> Netlist:
    """Write `netlist.json` and the file of pin constraints to `folder`.

    Raises
    ------
    DoesNotFitError
        The netlist is too large for the device.
    ToolError
        A tool is missing, or failed.
    """
    family, board = request.family, request.board
    try:
        pins, oscillator = board.pins()
    except ImportError:
        raise MissingPackageError('amaranth-boards was not found: pip install "etchnet[fpga]"') from None
    report("generating Verilog")
    sources = _array_sources(request, folder) if request.array else _machine_sources(request, folder, oscillator)
    (folder / family.pins).write_text("" if request.array else family.constraints(pins))

    command = family.synthesis_command(board.device)
    script = f"read_verilog -sv {' '.join(sources.files)}; {command} -top {sources.top} -json netlist.json"
    run_yosys(script, folder=folder, report=report)
    netlist = json.loads((folder / "netlist.json").read_text())
    module = netlist["modules"][sources.top]
    options = family.refine(module, board.device)
    (folder / "netlist.json").write_text(json.dumps(netlist))
    cells: Mapping[str, int] = Counter(cell["type"] for cell in module["cells"].values())
    if request.array:
        cells = _array_cells(request, folder, command, report)
    used = after_synthesis(cells, family)
    check_fits(board, used)
    return Netlist(sources.top, sources.clock, options, used)


def _machine_sources(request: BuildRequest, folder: Path, oscillator: float) -> _Sources:
    """Write the machine with its serial port, and a PLL for the oscillator's clock in MHz."""
    family, board = request.family, request.board
    wanted = request.clock or board.clock
    log = family.pll.run(family.pll_arguments(board, oscillator, wanted), folder=folder, log="pll.log")
    text = (folder / "pll.v").read_text()
    reported = next((found for pattern in _ACHIEVED if (found := re.search(pattern, log + text))), None)
    clock = float(reported[1]) if reported else wanted
    for old, new in family.pll_edits.items():
        text = text.replace(old, new)
    (folder / "pll.v").write_text(text)
    program = request.program
    design = generate(
        request.config,
        init=program.image() if program else None,
        run=program.command(1) if program else None,
        wrapper=partial(_top, clock=clock, baud=request.baud, board=board),
        technology=board.device.technology,
    )
    design.write(folder)
    return _Sources(["etchnet.v", "pll.v"], design.top, clock)


def _top(machine: Any, *, clock: float, baud: float, board: Board) -> BoardTop:
    uart = Uart(machine, clock_hz=clock * 1e6, baud=baud, buffer_bytes=board.buffer_bytes)
    return BoardTop(uart, family=board.device.family)


def _array_sources(request: BuildRequest, folder: Path) -> _Sources:
    """Write one file with the array between shift registers, and one with only the array."""
    array, harness = SystolicArray(request.config), ScanHarness(SystolicArray(request.config))
    for name, block in (("etchnet.v", harness), ("array.v", array)):
        (folder / name).write_text(generate_component(block, technology=request.board.device.technology))
    return _Sources(["etchnet.v"], module_name(harness), request.clock or request.board.clock)


def _array_cells(request: BuildRequest, folder: Path, command: str, report: Progress) -> Mapping[str, int]:
    """Return the number of cells of the array by type, without the shift registers around it."""
    top = module_name(SystolicArray(request.config))
    script = f"read_verilog -sv array.v; {command} -top {top}; tee -q -o cells.json stat -json"
    run_yosys(script, folder=folder, log="yosys.array.log", report=report)
    cells: Mapping[str, int] = json.loads((folder / "cells.json").read_text())["design"]["num_cells_by_type"]
    return cells
