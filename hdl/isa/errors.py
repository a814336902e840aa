"""The root of every error that a user can cause."""

from __future__ import annotations

__all__ = ["EtchnetError"]


class EtchnetError(Exception):
    """Something that a user gave, or that this machine lacks; the message is one line that says what would be right.

    Every error of the package that is not a defect of the package derives from it, so that one `except` catches what
    may come from bad input. The command line prints its message and ends with exit status 2.
    """
