"""Web page of a trace: one HTML file that contains a description, arrays of values, and the scripts that draw them."""

from __future__ import annotations

import base64
import json
import zlib
from importlib import resources
from typing import Any

import numpy as np

from etchnet.host.trace.page_data import arrays, description
from etchnet.host.trace.trace import Trace

__all__ = ["MODEL", "VIEW", "page"]

MODEL = ("model_events.js", "model_array.js", "model_memories.js", "model_accumulators.js")
"""scripts that compute the state of any cycle; each extends the class of the previous script"""

VIEW = ("view_drawing.js", "view_array.js", "view_memories.js", "view_timeline.js", "view.js")
"""scripts that draw the state and handle input; each extends the class of the previous script"""


def _packed(found: dict[str, np.ndarray]) -> tuple[dict[str, list[Any]], bytes]:
    """Return type, byte offset and length of each array, and the bytes of all arrays, each aligned to 4 bytes."""
    where: dict[str, list[Any]] = {}
    raw = bytearray()
    for name, values in found.items():
        raw += bytes(-len(raw) % 4)
        where[name] = [values.dtype.name, len(raw), len(values)]
        raw += values.astype(values.dtype.newbyteorder("<")).tobytes()
    return where, bytes(raw)


def page(trace: Trace, *, clock: float = 100e6) -> str:
    """Return the page as self-contained HTML; times are given for a clock of `clock` Hz."""
    where, raw = _packed(arrays(trace))
    described = description(trace, clock=clock) | {"arrays": where}
    # A "<" in a model's names could end the script element that contains the description, or begin a comment in it.
    text = json.dumps(described, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {
        "TITLE": _escaped(trace.name),
        "STYLE": _data("trace.css"),
        "DESCRIPTION": text,
        "VALUES": base64.b64encode(zlib.compress(raw, 9)).decode("ascii"),
        "MODEL": "\n".join(map(_data, MODEL)),
        "VIEW": "\n".join(map(_data, VIEW)),
    }
    first, *rest = _data("trace.html").split("{{")
    pieces = [first]
    for part in rest:
        name, _, text_after = part.partition("}}")
        pieces += [parts[name], text_after]
    return "".join(pieces)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _data(name: str) -> str:
    return resources.files("etchnet.host.trace").joinpath(name).read_text(encoding="utf-8")
