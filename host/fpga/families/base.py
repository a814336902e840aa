"""Base class of device families: their tools, the names of their cells, and the options of each device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from etchnet.hdl.isa.errors import EtchnetError
from etchnet.hdl.targets.boards import Board, Pin
from etchnet.hdl.targets.devices import Device
from etchnet.host.tools.tool import Tool

__all__ = ["DeviceOptions", "Family", "UnknownDeviceError"]


class UnknownDeviceError(EtchnetError, ValueError):
    """Error for a device that has no tool options in its family; the message lists the devices that do."""


@dataclass(frozen=True)
class DeviceOptions:
    """Options of a family's tools for one device."""

    place: tuple[str, ...] = ()
    """options of nextpnr that name the device"""
    synthesis: str = ""
    """options of the Yosys command that depend on the device"""


OptionsT = TypeVar("OptionsT", bound=DeviceOptions)


@dataclass(frozen=True)
class Family(ABC, Generic[OptionsT]):
    """Tools of one device family, and their arguments."""

    synthesis: str
    """Yosys command, without options of the device, top module and netlist"""
    router: Tool
    """nextpnr, for place and route"""
    packer: Tool
    """tool that packs the output of nextpnr into a bitstream"""
    pll: Tool
    """tool that writes the Verilog of a PLL"""
    unpacker: Tool
    """tool that converts a bitstream back to text"""
    bitstream: str
    """suffix of a bitstream's file name, without the dot"""
    pins: str
    """name of the pin constraints file"""
    cells: Mapping[str, tuple[str, float]]
    """resource and amount that each cell of a netlist uses, by a pattern of its type"""
    logic: Mapping[str, int]
    """logic cells that each packed cell uses, by nextpnr's name of its type"""
    devices: Mapping[str, OptionsT]
    """options by the name of the device"""
    pll_edits: Mapping[str, str] = field(default_factory=dict)
    """replacements in the PLL's Verilog, from old to new text"""

    def options(self, device: Device) -> OptionsT:
        """Return the options for a device.

        Raises
        ------
        UnknownDeviceError
            The family has no options for the device.
        """
        if device.name not in self.devices:
            known = ", ".join(self.devices)
            raise UnknownDeviceError(f"a device of this family must be one of {known}, not {device.name!r}")
        return self.devices[device.name]

    def synthesis_command(self, device: Device) -> str:
        """Return the Yosys command for a device, without top module and netlist."""
        return f"{self.synthesis} {self.options(device).synthesis}".rstrip()

    @abstractmethod
    def place_arguments(self, board: Board) -> list[str]:
        """Return the arguments of nextpnr that select the part and the pin constraints file."""

    @abstractmethod
    def placed_arguments(self, name: str) -> list[str]:
        """Return the arguments with which nextpnr writes the packer's input to the file `name`, plus a suffix."""

    @abstractmethod
    def pack_arguments(self, board: Board, bitstream: str) -> list[str]:
        """Return the arguments with which the packer converts the file `placed`, plus a suffix, to a bitstream."""

    @abstractmethod
    def pll_arguments(self, board: Board, given: float, wanted: float) -> list[str]:
        """Return the arguments with which the PLL tool writes `pll.v`, from clock `given` to clock `wanted`, in MHz."""

    @abstractmethod
    def constraints(self, pins: Sequence[Pin]) -> str:
        """Return the content of the pin constraints file."""

    def refine(self, module: Mapping[str, Any], device: Device) -> list[str]:
        """Improve a netlist after synthesis, in place, and return additional arguments of nextpnr."""
        return []
