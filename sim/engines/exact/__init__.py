"""The exact engine: outputs computed with numpy, and every cycle in closed form."""

from etchnet.sim.engines.exact.engine import ExactEngine

__all__ = ["ExactEngine"]
