"""Technologies: the primitives of a device, used where they beat the result of synthesis."""

from etchnet.hdl.blocks.technology.ecp5 import Ecp5
from etchnet.hdl.blocks.technology.ice40 import Ice40
from etchnet.hdl.blocks.technology.portable import PORTABLE, Technology, technology_of

__all__ = ["PORTABLE", "Ecp5", "Ice40", "Technology", "technology_of"]
