"""Which words a pass reads: the image that it walks, line by line."""

from __future__ import annotations

__all__ = ["OUTSIDE"]


OUTSIDE = -(1 << 40)
"""what stands for the word of a pixel that is not read"""
