"""Device families: the tools of each, from a netlist to a bitstream, and their options for every device."""

from collections.abc import MutableMapping
from typing import Any

from etchnet.host.fpga.families.base import Family
from etchnet.host.fpga.families.ecp5 import ECP5
from etchnet.host.fpga.families.gowin import GOWIN
from etchnet.host.fpga.families.ice40 import ICE40

__all__ = ["FAMILIES"]

FAMILIES: MutableMapping[str, Family[Any]] = {"ecp5": ECP5, "ice40": ICE40, "gowin": GOWIN}
"""families by name, which is `Device.family`"""
