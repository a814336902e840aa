"""Faults of the RTL that tests plant."""

from etchnet.hdl.blocks.delay_line import delay

__all__ = ["late"]


def late(m, value, cycles, *, name, resets=True):
    """Make the skew of one row a cycle too long."""
    return delay(m, value, cycles + (name == "skew_2"), name=name, resets=resets)
