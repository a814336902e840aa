"""Comparison by the sign of a difference: one carry chain, where synthesis makes two of a signed comparison."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, signed

__all__ = ["less"]


def less(m: Module, a: Any, b: Any, *, name: str) -> Any:
    """``a < b``, one bit, in the same cycle."""
    difference = Signal(signed(max(len(a), len(b)) + 1), name=name)
    m.d.comb += difference.eq(a - b)
    return difference[-1]
