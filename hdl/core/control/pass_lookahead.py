"""Values that the sequencer compares its counters with, derived before a pass reaches the head of the stream.

Registered beside the fields of the pass, they keep subtractions and comparisons with constants off the critical path
of the decision to issue. `InstructionMemory` takes the three functions.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Mux, unsigned
from amaranth.lib import data

from etchnet.hdl.isa import Pass
from etchnet.hdl.isa.config import Config

__all__ = ["derive", "layout", "reset"]


def layout(config: Config) -> data.StructLayout:
    """Return the layout of the derived values.

    `no_idle`: the pass has no idle cycles; `idle_end`: their number. `one_pixel`: it has one pixel; `before_last`: the
    index of the pixel before its last. `columns`: pixels of a line; `last_column`: index of the last one.
    """
    fields = Pass.layout(config)
    idle, pixels = fields["idle"].width + 1, fields["pixels"].shape
    return data.StructLayout(
        {
            "no_idle": unsigned(1),
            "idle_end": unsigned(idle),
            "one_pixel": unsigned(1),
            "before_last": pixels,
            "columns": pixels,
            "last_column": pixels,
        }
    )


def reset(config: Config) -> dict[str, int]:
    """Return the nonzero derived values for fields that are all 0."""
    pixels = Pass.layout(config)["pixels"].shape.width
    return {"no_idle": 1, "before_last": (1 << pixels) - 2, "last_column": (1 << pixels) - 1}


def derive(fields: Any) -> dict[str, Any]:
    """Return the derived values for the fields of a pass."""
    columns = Mux(fields.columns == 0, fields.pixels, fields.columns)
    return {
        "no_idle": (fields.idle_requantise == 0) & (fields.idle == 0),
        "idle_end": fields.idle_requantise + fields.idle,
        "one_pixel": fields.pixels == 1,
        "before_last": fields.pixels - 2,
        "columns": columns,
        "last_column": columns - 1,
    }
