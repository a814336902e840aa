"""The error of programs that break a rule of the machine."""

from __future__ import annotations

from etchnet.hdl.isa.errors import EtchnetError

__all__ = ["ProgramError"]


class ProgramError(EtchnetError, ValueError):
    """A program that reads data before they are written, needs one port twice, or does not fit the machine."""
