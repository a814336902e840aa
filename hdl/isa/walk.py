"""The image that a pass walks line by line, and which of its pixels are read."""

from __future__ import annotations

from typing import Any

__all__ = ["OUTSIDE", "is_inside"]


OUTSIDE = -(1 << 40)
"""stands in for the address of a pixel that is not read"""


def is_inside(bounds: Any, line: Any, column: Any) -> Any:
    """Return whether a walked pixel is inside the image, so that its word is read.

    `bounds` has the fields `first_line`, `end_line`, `first_column` and `end_column` of a pass; an end of 0 is no end.
    Everything may be whole numbers, numpy arrays or Amaranth values: gateware and simulators share this one rule.
    """
    return (
        (column >= bounds.first_column)
        & (line >= bounds.first_line)
        & ((column < bounds.end_column) | (bounds.end_column == 0))
        & ((line < bounds.end_line) | (bounds.end_line == 0))
    )
