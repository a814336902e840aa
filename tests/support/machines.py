"""Small machines for tests of single components."""

from __future__ import annotations

from typing import Any

from etchnet.hdl.isa.config import Config


def small(**changed: Any) -> Config:
    """Return a machine with an array of 4 x 4 and memories of a few words."""
    values: dict[str, Any] = {
        "rows": 4,
        "columns": 4,
        "weight_tiles": 8,
        "activation_words": 32,
        "input_words": 16,
        "output_words": 16,
        "accumulator_rows": 16,
        "passes": 16,
        "drains": 8,
        "parameter_tiles": 4,
        "line_words": 16,
    }
    return Config(**values | changed)
