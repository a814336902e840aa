"""Request and report of an FPGA build."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from etchnet.hdl.isa.config import Config
from etchnet.hdl.serial.framing import DEFAULT_BAUD
from etchnet.hdl.targets.boards import Board
from etchnet.host.compiler.program import Program
from etchnet.host.fpga.families import FAMILIES
from etchnet.host.fpga.families.base import Family

__all__ = ["BuildReport", "BuildRequest", "Progress"]

Progress = Callable[[str], None]
"""function that is called with one line about each step of a build"""


@dataclass(frozen=True)
class BuildRequest:
    """Request to build a machine, or only its array, for a board.

    Parameters
    ----------
    board, config
        Board and machine.
    program
        Program that is built into the machine, with its weights; None if models are loaded over the serial port.
    clock
        Clock in MHz; 0 for the board's default.
    baud
        Baud rate of the serial port.
    array
        Whether to build only the array, between shift registers, to measure its clock rate and area; no bitstream is
        written.
    seeds
        Seeds of place and route; the bitstream is that of the fastest.
    jobs
        Number of seeds that are placed and routed at the same time, each in its own process.
    limit
        Seconds of place and route after which a seed is abandoned; None for no limit.
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
    def family(self) -> Family[Any]:
        """Device family of the board, with its tools."""
        return FAMILIES[self.board.device.family]


@dataclass(frozen=True)
class BuildReport:
    """Result of a build."""

    board: str
    top: str
    """name of the top module"""
    config: Config
    clock: float
    """clock in MHz that the PLL generates; for the array alone, the requested clock"""
    fmax: dict[int, float]
    """clock in MHz that place and route reached, by seed"""
    seed: int
    """fastest seed, whose design is in the bitstream"""
    given_up: list[int]
    """seeds that exceeded the time limit"""
    used: dict[str, int]
    """resources that the design uses, by name"""
    available: dict[str, int]
    """resources that the device has, by name"""
    cycles: int | None
    """cycles from one repeat of the built-in program to the next; None without one"""
    batch: int
    """inputs that a repeat computes"""
    tools: list[str]
    """names and versions of the tools"""

    @property
    def median(self) -> float:
        """Median of the clock rates of all seeds, in MHz."""
        return median(self.fmax.values())

    @property
    def meets_clock(self) -> bool:
        """Whether the design in the bitstream reaches the clock that is generated for it."""
        return self.fmax[self.seed] >= self.clock

    @property
    def usable_clock(self) -> float:
        """Clock in MHz at which the design in the bitstream works: that generated, or that reached if it is lower."""
        return min(self.clock, self.fmax[self.seed])

    @property
    def per_second(self) -> float | None:
        """Inferences per second at `usable_clock`; None without a built-in program."""
        return self.usable_clock * 1e6 * self.batch / self.cycles if self.cycles else None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        return {
            **dataclasses.asdict(self),
            "config": self.config.to_dict(),
            "fmax_median": self.median,
            "meets_clock": self.meets_clock,
            "inferences_per_second": self.per_second,
        }
