"""Reports on models and machines: cycles, memory use, area, speed, and comparisons of engines."""
