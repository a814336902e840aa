"""What every family of devices has: its tools, the names of its cells, and the options of each device."""

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
    """A device whose options the tools of its family do not know; the message names those that they do."""


@dataclass(frozen=True)
class DeviceOptions:
    """The options of a family's tools for one device."""

    place: tuple[str, ...] = ()
    """options of nextpnr that name the device"""
    synthesis: str = ""
    """options of the Yosys command that depend on the device"""


OptionsT = TypeVar("OptionsT", bound=DeviceOptions)


@dataclass(frozen=True)
class Family(ABC, Generic[OptionsT]):
    """The tools of one family of devices, and their arguments."""

    synthesis: str
    """the Yosys command, without the options of a device, the top module and the netlist"""
    router: Tool
    """nextpnr"""
    packer: Tool
    """from what nextpnr writes to a bitstream"""
    pll: Tool
    """writes the Verilog of a PLL"""
    unpacker: Tool
    """from a bitstream back to text"""
    bitstream: str
    """ending of a bitstream's name"""
    pins: str
    """name of the file that constrains the pins"""
    cells: Mapping[str, tuple[str, float]]
    """types of a netlist's cells, as patterns: the resource that each takes, and how many of it"""
    logic: Mapping[str, int]
    """types of packed cells, as nextpnr names them: how many logic cells each takes"""
    devices: Mapping[str, OptionsT]
    """by the name of the device"""
    pll_edits: Mapping[str, str] = field(default_factory=dict)
    """text to replace in the PLL's Verilog"""

    def options(self, device: Device) -> OptionsT:
        """Return the options for a device.

        Raises
        ------
        UnknownDeviceError
            The family has none for it.
        """
        if device.name not in self.devices:
            known = ", ".join(self.devices)
            raise UnknownDeviceError(f"a device of this family must be one of {known}, not {device.name!r}")
        return self.devices[device.name]

    def synthesis_command(self, device: Device) -> str:
        """Return the Yosys command for a device, without the top module and the netlist."""
        return f"{self.synthesis} {self.options(device).synthesis}".rstrip()

    @abstractmethod
    def place_arguments(self, board: Board) -> list[str]:
        """Return the arguments of nextpnr that name the part and the file of its pins."""

    @abstractmethod
    def placed_arguments(self, name: str) -> list[str]:
        """Return the arguments of nextpnr for the packer's input: files called `name` with an ending of their own."""

    @abstractmethod
    def pack_arguments(self, board: Board, bitstream: str) -> list[str]:
        """Return the arguments of the packer, which reads files called `placed` with an ending of their own."""

    @abstractmethod
    def pll_arguments(self, board: Board, given: float, wanted: float) -> list[str]:
        """Return the arguments of the PLL's generator, from one clock in MHz to another."""

    @abstractmethod
    def constraints(self, pins: Sequence[Pin]) -> str:
        """Return the text of the file that constrains the pins."""

    def refine(self, module: Mapping[str, Any], device: Device) -> list[str]:
        """Improve a netlist after synthesis, in place; return more arguments of nextpnr."""
        return []
