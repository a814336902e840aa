"""Comparison by the sign of a difference: one carry chain, where synthesis makes two of a signed comparison."""

from __future__ import annotations

from typing import Any

__all__ = ["less"]


def less(a: Any, b: Any) -> Any:
    """``a < b``, one bit, in the same cycle."""
    return (a - b)[-1]
