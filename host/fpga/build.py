"""From a machine to a bitstream: synthesis, place and route and packing, by tools that pip installs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

from etchnet.hdl.blocks.hierarchy import module_name
from etchnet.hdl.blocks.scan_harness import ScanHarness
from etchnet.hdl.core.array.array import SystolicArray
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.hdl.serial.framing import DEFAULT_BAUD
from etchnet.hdl.serial.uart import Uart
from etchnet.hdl.targets.boards import Board, BoardTop
from etchnet.hdl.targets.files import replacing, write_text
from etchnet.hdl.targets.verilog import generate, generate_component
from etchnet.host.compiler.program import Program
from etchnet.host.fpga.families import FAMILIES, Family
from etchnet.host.fpga.placement import placement_svg
from etchnet.host.tools.tool import MissingPackageError, TookTooLongError, ToolError
from etchnet.host.tools.yosys import YOSYS, run_yosys

__all__ = ["Build", "DoesNotFitError", "Report", "build", "needs"]

Watch = Callable[[str], None]


class DoesNotFitError(EtchnetError, RuntimeError):
    """A machine needs more of something than the device has."""


@dataclass(frozen=True)
class Report:
    """What one design became."""

    board: str
    top: str
    config: Config
    clock: float
    """MHz that the PLL makes, or that was asked for"""
    fmax: dict[int, float]
    """MHz that place and route reached, by seed"""
    seed: int
    """the fastest one: the bitstream is of it"""
    given_up: list[int]
    """seeds whose routing took too long"""
    used: dict[str, int]
    """of what the device has"""
    available: dict[str, int]
    cycles: int | None
    """from one input to the next, for a program inside"""
    tools: list[str]

    @property
    def median(self) -> float:
        """The median of the clock rates reached, in MHz."""
        return median(self.fmax.values())

    @property
    def meets_clock(self) -> bool:
        """Whether the bitstream's design is as fast as its clock."""
        return self.fmax[self.seed] >= self.clock

    @property
    def per_second(self) -> float | None:
        """Inferences per second at the clock."""
        return self.clock * 1e6 / self.cycles if self.cycles else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **dataclasses.asdict(self),
            "config": self.config.to_dict(),
            "fmax_median": self.median,
            "meets_clock": self.meets_clock,
            "inferences_per_second": self.per_second,
        }


@dataclass(frozen=True)
class Build:
    """What is built: a machine, or its array alone, for a board.

    Parameters
    ----------
    board, config
        Where, and what.
    program
        Goes inside, with its weights, if there is one.
    clock
        MHz.
    baud
        Of the serial port.
    array
        The array alone, between shift registers: for its clock rate and its area. There is no bitstream of it.
    seeds
        Of place and route; the bitstream is that of the fastest.
    jobs
        How many of them at once, each in a process of its own.
    limit
        Seconds of place and route after which a seed is given up.
    """

    board: Board
    config: Config
    program: Program | None = None
    clock: float = 0.0
    baud: float = DEFAULT_BAUD
    array: bool = False
    seeds: tuple[int, ...] = (1,)
    jobs: int = 1
    limit: float | None = None

    @property
    def family(self) -> Family:
        """The board's tools."""
        return FAMILIES[self.board.family]


@dataclass(frozen=True)
class _Design:
    """What synthesis leaves in a folder for place and route."""

    top: str
    clock: float
    """MHz that the PLL makes"""
    options: list[str]
    """more arguments of place and route"""
    used: dict[str, int]
    """of what the device has"""


def build(what: Build, folder: Path, *, report: Watch = lambda text: None) -> Report:
    """Build in `folder`, where all files and logs stay; `report` is told what goes on.

    Raises
    ------
    DoesNotFitError
        The device is too small: the message says of what.
    ToolError
        A tool is missing, or failed, or no seed was routed in time.
    """
    family, board = what.family, what.board
    for tool in (YOSYS, family.router, family.packer, family.pll):
        tool.command()
    folder.mkdir(parents=True, exist_ok=True)
    # What another build left would pass for this one's.
    bitstream = f"etchnet.{family.bitstream}"
    for name in (bitstream, "report.json", "machine.toml", "placement.svg"):
        (folder / name).unlink(missing_ok=True)
    design = _synthesise(what, folder, report)
    fmax = _route_all(what, folder, design, report)
    seed = max(fmax, key=lambda seed: fmax[seed])
    for stem in ("placed", "nextpnr", "timing"):
        for path in folder.glob(f"{stem}.{seed}.*"):
            path.replace(folder / f"{stem}{path.suffix}")
    for path in folder.glob("placed.*.*"):
        path.unlink()
    if not what.array:
        report("packing the bitstream")
        with replacing(folder / bitstream) as path:
            family.packer.run(family.pack(board, path.name), folder=folder, log="pack.log")
    fastest = f"{fmax[seed]:.1f} MHz, seed {seed}"
    title = f"{board.name}: {what.config.rows} x {what.config.columns}{' array' if what.array else ''}, {fastest}"
    write_text(folder / "placement.svg", placement_svg(folder / "placed.json", board.grid, title))
    used = design.used if what.array else {**_packed(family, (folder / "nextpnr.log").read_text()), **design.used}
    cycles = what.program.repeat_cycles if what.program else None
    tools = sorted({tool.version() for tool in (YOSYS, family.router, family.packer)})
    given_up = [other for other in what.seeds if other not in fmax]
    result = Report(
        board.name,
        design.top,
        what.config,
        design.clock,
        fmax,
        seed,
        given_up,
        used,
        what.board.resources,
        cycles,
        tools,
    )
    write_text(folder / "report.json", json.dumps(result.to_dict(), indent=2) + "\n")
    write_text(folder / "machine.toml", what.config.to_toml())
    return result


def needs(what: Build, folder: Path, *, report: Watch = lambda text: None) -> dict[str, int]:
    """What a build takes of its device, by synthesis and packing without placing, in `folder`.

    Raises
    ------
    DoesNotFitError
        The device is too small: the message says of what.
    ToolError
        A tool is missing, or failed.
    """
    design = _synthesise(what, folder, report)
    report("packing cells")
    arguments = ["--json", "netlist.json", "--pack-only", *what.family.place(what.board)]
    said = what.family.router.run(arguments, folder=folder, log="packing.log")
    found = {**_packed(what.family, said), **design.used}
    _check(what.board, found, what.board.placeable)
    return found


def _synthesise(what: Build, folder: Path, report: Watch) -> _Design:
    """From a machine to a netlist that is not too large for the device."""
    family, board = what.family, what.board
    clock = what.clock or board.clock
    try:
        pins, oscillator = board.pins()
    except ImportError:
        raise MissingPackageError('amaranth-boards was not found: pip install "etchnet[fpga]"') from None
    report("generating Verilog")
    sources = ["etchnet.v"]
    if what.array:
        array, scan = SystolicArray(what.config), ScanHarness(SystolicArray(what.config))
        for name, block in (("etchnet.v", scan), ("array.v", array)):
            (folder / name).write_text(generate_component(block, technology=board.technology))
        top = module_name(scan)
    else:
        said = family.pll.run(family.pll_arguments(board, oscillator, clock), folder=folder, log="pll.log")
        text = (folder / "pll.v").read_text()
        clock = _achieved(said + text, clock)
        for given, wanted in family.pll_edits.items():
            text = text.replace(given, wanted)
        (folder / "pll.v").write_text(text)
        sources.append("pll.v")
        image = what.program.image() if what.program else None
        design = generate(
            what.config,
            init=image,
            run=what.program.command(1) if what.program else None,
            wrapper=partial(_top, clock=clock, baud=what.baud, board=board),
            technology=board.technology,
        )
        design.write(folder)
        top = design.top
    name, text_of = family.constraints
    (folder / name).write_text("" if what.array else text_of(pins))

    synthesis = f"{family.synthesis} -top {top} -json netlist.json"
    run_yosys(f"read_verilog -sv {' '.join(sources)}; {synthesis}", folder=folder, report=report)
    netlist = json.loads((folder / "netlist.json").read_text())
    module = netlist["modules"][top]
    options = family.refine(module)
    (folder / "netlist.json").write_text(json.dumps(netlist))
    cells: Mapping[str, int] = Counter(cell["type"] for cell in module["cells"].values())
    if what.array:
        # Its area is that of the array without what feeds it.
        alone = module_name(array)
        statistics = "tee -q -o cells.json stat -json"
        run_yosys(
            f"read_verilog -sv array.v; {family.synthesis} -top {alone}; {statistics}",
            folder=folder,
            log="yosys.array.log",
            report=report,
        )
        cells = json.loads((folder / "cells.json").read_text())["design"]["num_cells_by_type"]
    used = _used(cells, family)
    _check(board, used)
    return _Design(top, clock, options, used)


def _check(board: Board, used: Mapping[str, int], limits: Mapping[str, int] | None = None) -> None:
    """Refuse what needs more of something than the device has, or than `limits`."""
    over = [
        f"{used[name]:,} {name} of {board.resources[name]:,}"
        for name, most in (limits or board.resources).items()
        if used.get(name, 0) > most
    ]
    if over:
        raise DoesNotFitError(f"the machine does not fit the {board.name}: it needs {' and '.join(over)}")


def _packed(family: Family, said: str) -> dict[str, int]:
    """The logic cells of a design, from what place and route says behind packing; nothing before it says so."""
    found = [
        each * int(match[1])
        for name, each in family.logic.items()
        if (match := re.search(rf"^Info:\s+{name}:\s+(\d+)/", said, re.MULTILINE))
    ]
    return {"logic cells": sum(found)} if found else {}


def _top(machine: Any, *, clock: float, baud: float, board: Board) -> BoardTop:
    uart = Uart(machine, clock_hz=clock * 1e6, baud=baud, buffer_bytes=board.buffer_bytes)
    return BoardTop(uart, family=board.family)


def _achieved(said: str, wanted: float) -> float:
    """The clock that a PLL's generator says it makes, in MHz."""
    patterns = (r"clkout0 frequency: ([\d.]+)", r"F_PLLOUT: +([\d.]+) MHz \(achieved\)", r"Achieved[^\d]*([\d.]+)")
    for pattern in patterns:
        if found := re.search(pattern, said):
            return float(found[1])
    return wanted


def _used(cells: Mapping[str, int], family: Family) -> dict[str, int]:
    used: dict[str, float] = {}
    for cell, count in cells.items():
        for pattern, (what, each) in family.cells.items():
            if re.fullmatch(pattern, cell):
                used[what] = used.get(what, 0) + each * count
    return {name: round(count) for name, count in used.items()}


def _route_all(what: Build, folder: Path, design: _Design, report: Watch) -> dict[int, float]:
    """Place and route with every seed, some at a time; returns MHz of those that are routed in time."""
    stopped = Event()
    with ThreadPoolExecutor(what.jobs) as pool:
        routes = {seed: pool.submit(_route, what, folder, design, seed, report, stopped) for seed in what.seeds}
        try:
            reached = {seed: route.result() for seed, route in routes.items()}
        except BaseException:
            # What runs is killed with the next line that it says; what does not never begins.
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    fmax = {seed: mhz for seed, mhz in reached.items() if mhz is not None}
    if not fmax:
        raise ToolError(
            f"{what.family.router.name} routed none of {len(reached)} seeds within {what.limit:g} s",
            log=folder / f"nextpnr.{what.seeds[0]}.log",
        )
    return fmax


def _route(what: Build, folder: Path, design: _Design, seed: int, report: Watch, stopped: Event) -> float | None:
    """Place and route, until `stopped`; returns MHz, or nothing if it takes too long."""
    family = what.family
    packed: dict[str, int] = {}

    def watch(line: str) -> None:
        if stopped.is_set():
            raise InterruptedError("place and route was stopped")
        if logic := _packed(family, line):
            packed["logic cells"] = packed.get("logic cells", 0) + logic["logic cells"]
            _check(what.board, packed)
        if found := re.search(r"Info: +(Packing|Placing|Running|Routing|HeAP|SA placement|Max frequency)[^.]*", line):
            report(f"seed {seed}: {found[0].removeprefix('Info:').strip()}")
        elif found := re.search(r"iter=(\d+) .*overused=(\d+)", line):
            report(f"seed {seed}: routing, round {found[1]}, {int(found[2]):,} wires used twice")

    arguments = [
        "--json",
        "netlist.json",
        "--seed",
        str(seed),
        "--freq",
        f"{design.clock:g}",
        "--timing-allow-fail",
        "--report",
        f"timing.{seed}.json",
        "--write",
        f"placed.{seed}.json",
        *design.options,
        *family.place(what.board),
        *family.placed(f"placed.{seed}"),
    ]
    try:
        family.router.run(arguments, folder=folder, log=f"nextpnr.{seed}.log", watch=watch, limit=what.limit)
    except TookTooLongError:
        return None
    except ToolError as error:
        if "legal placement" in str(error) and packed:
            cells = f"{packed['logic cells']:,} logic cells of {what.board.luts:,}"
            raise DoesNotFitError(
                f"the machine does not fit the {what.board.name}: no placement was found with {cells}"
            ) from None
        raise
    timing = json.loads((folder / f"timing.{seed}.json").read_text())
    # There is one clock: the oscillator drives the PLL alone.
    return min(found["achieved"] for found in timing["fmax"].values())
