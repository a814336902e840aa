"""Cycles, memory use, area and speed of models and machines, and comparisons of engines."""
