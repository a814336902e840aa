"""Arithmetic on whole numbers."""

from __future__ import annotations

__all__ = ["ceil_div"]


def ceil_div(dividend: int, divisor: int) -> int:
    """Return ``dividend / divisor`` rounded up; `divisor` is positive."""
    return -(-dividend // divisor)
