"""What gateware is built from: primitives of a device where they are better than what synthesis infers."""

from etchnet.hdl.blocks.technology.ecp5 import Ecp5
from etchnet.hdl.blocks.technology.ice40 import Ice40
from etchnet.hdl.blocks.technology.portable import PORTABLE, Technology, technology_of

__all__ = ["PORTABLE", "Ecp5", "Ice40", "Technology", "technology_of"]
