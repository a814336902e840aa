"""The division of a machine's multiplications between a device's multipliers and its logic."""

from __future__ import annotations

from etchnet.hdl.blocks.technology import Technology
from etchnet.hdl.isa.config import Config

__all__ = ["MULTIPLIERS_PER_REQUANTISER", "hard_elements"]

MULTIPLIERS_PER_REQUANTISER = 4
"""partial products of a requantiser, of at most 17 x 17 bits each (`etchnet.hdl.core.output.product`)"""


def hard_elements(config: Config, technology: Technology) -> int:
    """Return the number of processing elements, row by row from the first, that use multipliers of the device.

    The requantisers take theirs first. Each multiplier left over serves `technology.products` elements; elements beyond
    that multiply in logic.
    """
    if technology.multipliers is None:
        return config.multipliers
    left = technology.multipliers - MULTIPLIERS_PER_REQUANTISER * config.requantisers
    return max(0, min(config.multipliers, technology.products * left))
