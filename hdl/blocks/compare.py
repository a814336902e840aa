"""Signed comparison by the sign of a difference: one carry chain, where synthesis would use two."""

from __future__ import annotations

from typing import Any

__all__ = ["less"]


def less(a: Any, b: Any) -> Any:
    """Return ``a < b`` for signed or unsigned values of any widths: one bit, combinational."""
    return (a - b)[-1]
