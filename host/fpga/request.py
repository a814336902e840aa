"""What a build is asked for, and what it reports."""

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
"""called with one line about each step of a build"""


@dataclass(frozen=True)
class BuildRequest:
    """A machine, or its array alone, to be built for a board.

    Parameters
    ----------
    board, config
        The board and the machine.
    program
        A program that is built into the machine, with its weights; None if the machine is loaded over its serial port.
    clock
        The clock in MHz; 0 for the board's own.
    baud
        The baud rate of the serial port.
    array
        Build the array alone, between shift registers, for its clock rate and its area. There is no bitstream of it.
    seeds
        Seeds of place and route; the bitstream is that of the fastest.
    jobs
        How many seeds are placed and routed at the same time, each in a process of its own.
    limit
        Seconds of place and route after which a seed is given up; None for no limit.
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
        """The tools for the board's device."""
        return FAMILIES[self.board.device.family]


@dataclass(frozen=True)
class BuildReport:
    """The result of a build."""

    board: str
    top: str
    """the top module"""
    config: Config
    clock: float
    """MHz that the PLL makes, or that was asked for"""
    fmax: dict[int, float]
    """MHz that place and route reached, by seed"""
    seed: int
    """the fastest seed, whose design is in the bitstream"""
    given_up: list[int]
    """seeds whose routing took too long"""
    used: dict[str, int]
    """resources of the device that the design takes, by name"""
    available: dict[str, int]
    """resources that the device has, by name"""
    cycles: int | None
    """cycles from one input to the next, for a machine with a program inside"""
    tools: list[str]
    """names and versions of the tools"""

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
        """Inferences per second at the clock; None without a program inside."""
        return self.clock * 1e6 / self.cycles if self.cycles else None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values of JSON."""
        return {
            **dataclasses.asdict(self),
            "config": self.config.to_dict(),
            "fmax_median": self.median,
            "meets_clock": self.meets_clock,
            "inferences_per_second": self.per_second,
        }
