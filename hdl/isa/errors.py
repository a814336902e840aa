"""The root of every error that a user can cause."""

from __future__ import annotations

__all__ = ["EtchnetError"]


class EtchnetError(Exception):
    """A wrong input, or something missing on this computer; the message is one line that says what would be right.

    All errors that are not defects of the package derive from it, so that one `except` catches whatever bad input may
    cause. The command line prints the message and exits with status 2.
    """
