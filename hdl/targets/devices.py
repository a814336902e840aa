"""FPGAs: the resources of each device, and how much of them a machine may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from etchnet.hdl.blocks.technology import Ecp5, Ice40, Technology
from etchnet.hdl.targets.memory_sizes import ECP5_BLOCKS, GOWIN_BLOCKS, ICE40_BLOCKS, BlockRams

__all__ = ["GW1NR_9", "ICE40_UP5K", "LFE5U_85F", "Device"]

_FULLEST = 0.985
"""share of logic cells that place and route can fill: nextpnr failed to place 5,262 cells on the iCE40's 5,280"""


@dataclass(frozen=True)
class Device:
    """One FPGA device, in any package and speed grade."""

    name: str
    """the vendor's name, by which `etchnet.host.fpga.families` finds the options of its tools"""
    series: str
    """vendor and series, for display"""
    family: Literal["ecp5", "ice40", "gowin"]
    """the family whose tools build for it"""
    technology: Technology
    """its cells that machines instantiate, and its number of hard multipliers"""
    luts: int
    flip_flops: int
    block_rams: int
    blocks: BlockRams
    """the shapes that its block RAMs can take"""
    grid: tuple[int, int]
    """columns and rows of tiles, as nextpnr counts them"""

    def __str__(self) -> str:
        return f"{self.series} {self.name}"

    @property
    def multipliers(self) -> int:
        """The number of hard multipliers."""
        return self.technology.multipliers or 0

    @property
    def resources(self) -> dict[str, int]:
        """Number of each resource, by name. A logic cell has a lookup table and a flip-flop, used together or not."""
        return {
            "logic cells": self.luts,
            "LUTs": self.luts,
            "flip-flops": self.flip_flops,
            "multipliers": self.multipliers,
            "block RAMs": self.block_rams,
        }

    @property
    def placeable(self) -> dict[str, int]:
        """The resources that a design can use: nextpnr rarely places one above 98.5% of the logic cells."""
        return self.resources | {"logic cells": int(_FULLEST * self.luts)}


LFE5U_85F = Device(
    "LFE5U-85F",
    "Lattice ECP5",
    "ecp5",
    Ecp5(156),
    luts=83640,
    flip_flops=83640,
    block_rams=208,
    blocks=ECP5_BLOCKS,
    grid=(127, 96),
)

ICE40_UP5K = Device(
    "UP5K",
    "Lattice iCE40",
    "ice40",
    Ice40(8),
    luts=5280,
    flip_flops=5280,
    block_rams=30,
    blocks=ICE40_BLOCKS,
    grid=(26, 32),
)

GW1NR_9 = Device(
    "GW1NR-9",
    "Gowin",
    "gowin",
    Technology(20),
    luts=8640,
    flip_flops=6480,
    block_rams=26,
    blocks=GOWIN_BLOCKS,
    grid=(47, 29),
)
