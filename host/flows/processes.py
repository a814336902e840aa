"""Open processes, and a machine that is small enough for them with memories of flip-flops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from etchnet.hdl.isa.config import Config

__all__ = ["PDKS", "TILE", "Pdk"]

TILE = Config(
    rows=2,
    columns=2,
    requantisers=1,
    weight_tiles=2,
    activation_words=2,
    input_words=2,
    output_words=4,
    accumulator_rows=4,
    passes=2,
    drains=2,
    parameter_tiles=1,
    residual_words=0,
)
"""nearly the smallest machine that can multiply matrices of any size"""


@dataclass(frozen=True)
class Pdk:
    """Process, with the area and clock of the machine `TILE` in it."""

    name: str
    """name in LibreLane and Tiny Tapeout"""
    about: str
    """foundry and node"""
    area: float
    """area of the cells of `TILE` and its pin interface in square micrometres, from `etchnet synth --tinytapeout`"""
    period: float
    """clock period in ns: twice the longest path that the same command finds, to allow for wires, clock tree and slow
    corners, rounded up to a multiple of 5"""
    tiles: Mapping[str, tuple[float, float]]
    """width and height of Tiny Tapeout's tiles in micrometres, by name"""


PDKS = {
    pdk.name: pdk
    for pdk in (
        Pdk(
            "sky130A",
            "SkyWater 130 nm",
            203_179,
            20,
            {
                "8x2": (1378.16, 225.76),
                "4x4": (682.64, 511.36),
                "5x4": (856.52, 511.36),
                "6x4": (1030.40, 511.36),
                "8x4": (1378.16, 511.36),
            },
        ),
        Pdk("gf180mcuD", "GlobalFoundries 180 nm", 661_554, 35, {"3x4": (1075.76, 736.96), "4x4": (1440.32, 736.96)}),
        Pdk(
            "ihp-sg13g2",
            "IHP 130 nm SiGe",
            416_145,
            15,
            {
                "8x2": (1724.16, 313.74),
                "4x4": (854.40, 710.64),
                "5x4": (1071.84, 710.64),
                "6x4": (1289.28, 710.64),
                "8x4": (1724.16, 710.64),
            },
        ),
    )
}
"""processes by name"""
