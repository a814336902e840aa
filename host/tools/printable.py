"""Text from files, made safe for terminals."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    r"""Return `text` with an escape for every character that is not printable, such as those that control a terminal.

    >>> print(printable("dense \x1b[2J"))
    dense \x1b[2J
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
