"""The root of every error that a user can cause."""

from __future__ import annotations

__all__ = ["EtchnetError"]


class EtchnetError(Exception):
    """An error that the user can fix: a wrong input, or something missing on the computer.

    The message is one line that says what would be right. Every error that is not a defect of the package derives from
    this class, so that one `except` catches them all. The command line prints the message and exits with status 2.
    """
