"""A trace as one page that any browser opens: a short description, its values, and the scripts that draw them."""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from importlib import resources
from typing import Any

import numpy as np

from etchnet.hdl.isa import Destination, Drain, Pass
from etchnet.hdl.isa.counters import by_name
from etchnet.host.trace.trace import Trace
from etchnet.sim.timing import drain_pace, drains_of

__all__ = ["CLASSES", "arrays", "description", "page"]

CLASSES = ("issue", "weight_load", "requantise", "fill_drain", "wait_in", "wait_out")
"""what cycles are counted as, in the order in which the page numbers them"""

_PASS_FIELDS = [f.name for f in dataclasses.fields(Pass)]
_DRAIN_FIELDS = [f.name for f in dataclasses.fields(Drain)]


def description(trace: Trace, *, clock: float = 100e6) -> dict[str, Any]:
    """What is small: the machine, the layers, the order of things. `clock` in Hz is what times are stated for."""
    program, config = trace.program, trace.config
    layer, packing = program.im2col.layer, program.im2col.name
    packed: dict[str, Any] = {"name": packing}
    if layer is not None:
        packed |= {
            "kernel": list(layer.kernel),
            "channels": layer.weights.shape[2],
            "stride": list(layer.stride),
            "dilation": list(layer.dilation),
            "before": [layer.padding[0][0], layer.padding[1][0]],
            "size": list(program.network.input_shape or ()),
        }
    return {
        "name": trace.name,
        "clock": clock,
        "config": config.to_dict()
        | {
            "load_cycles": config.load_cycles,
            "groups": config.groups,
            "tiles_per_word": config.tiles_per_word,
            "words_per_pixel": config.words_per_pixel(),
        },
        "latencies": trace.latencies,
        "batch": program.batch,
        "repeats": trace.repeats,
        "start": trace.run.start,
        "finish": trace.run.finish,
        "end": trace.end,
        "counts": by_name(trace.counts.totals),
        "layers": [
            {"name": x.name, "operation": x.operation, "shape": list(x.shape), "stride": list(x.stride)}
            for x in trace.layers
        ],
        "input": {
            "shape": list(program.input_layout.shape),
            "words": program.input_layout.words,
            "size": program.input_words,
        },
        "output": {"words": program.output_layout.words, "size": program.output_words},
        "packing": packed,
        "classes": list(CLASSES),
        "taps": sorted({label.tap for label in program.labels}),
        "transfers": sorted({t.what for t in (*trace.link_in, *trace.link_out)}),
        "memories": {
            "weights": len(program.weights) // config.load_cycles,
            "activation": program.activation_words,
            "residual": program.residual_words,
        },
    }


def arrays(trace: Trace) -> dict[str, np.ndarray]:
    """What is large, by name: int32 and int8, flat."""
    program, config, described = trace.program, trace.config, description(trace)
    taps = {tap: i for i, tap in enumerate(described["taps"])}
    what = {name: i for i, name in enumerate(described["transfers"])}
    classes = {name: i for i, name in enumerate(CLASSES)}
    found: dict[str, np.ndarray] = {}

    def put(name: str, values: Any, dtype: Any = np.int32) -> None:
        found[name] = np.ascontiguousarray(values, dtype=dtype).ravel()

    for name in _PASS_FIELDS:
        put(f"pass_{name}", [int(getattr(p, name)) for p in program.passes])
    for name in ("layer", "word", "tile", "pixel"):
        put(f"label_{name}", [getattr(label, name) for label in program.labels])
    put("label_tap", [taps[label.tap] for label in program.labels])
    for name in _DRAIN_FIELDS:
        put(f"drain_{name}", [int(getattr(d, name)) for d in program.drains])
    put("drain_pace", [drain_pace(d, config) for d in program.drains])
    owner = np.zeros(len(program.drains), np.int32)
    for index, started in enumerate(drains_of(program.passes, program.drains)):
        owner[started] = index
    put("drain_pass", owner)
    for name in ("layer", "tile", "tiles", "pixel", "pixels"):
        put(f"write_{name}", [-1 if w is None else getattr(w, name) for w in program.writes])
    put("issues", trace.issues)
    put("drain_starts", trace.drain_starts)
    tiles, which = trace.tiles
    put("tiles", tiles, np.int8)
    put("pass_held", which)
    put("inputs", trace.inputs, np.int8)
    # Most results are int8. Those that are not (sums for accumulators, raw results) lie in an array of their own.
    wide = [d.wide or d.destination == Destination.ACCUMULATORS for d in program.drains]
    for name, dtype, chosen in (("narrow", np.int8, False), ("wide", np.int32, True)):
        parts = [
            values.ravel()
            for results in trace.results
            for values, is_wide in zip(results, wide, strict=True)
            if is_wide == chosen
        ]
        put(f"results_{name}", np.concatenate(parts) if parts else [], dtype)
    put("drain_is_wide", wide)
    put("segment_start", [s.start for s in trace.segments])
    put("segment_length", [s.length for s in trace.segments])
    put("segment_class", [classes[s.spent.name.lower()] for s in trace.segments])
    put("segment_pass", [s.index for s in trace.segments])
    for name, transfers in (("in", trace.link_in), ("out", trace.link_out)):
        put(f"link_{name}_start", [t.start for t in transfers])
        put(f"link_{name}_length", [t.length for t in transfers])
        put(f"link_{name}_what", [what[t.what] for t in transfers])
    return found


def _packed(found: dict[str, np.ndarray]) -> tuple[dict[str, list[Any]], bytes]:
    """All arrays as bytes one behind the other, each from a multiple of 4 on, and where each lies."""
    where: dict[str, list[Any]] = {}
    raw = bytearray()
    for name, values in found.items():
        raw += bytes(-len(raw) % 4)
        where[name] = [values.dtype.name, len(raw), len(values)]
        raw += values.astype(values.dtype.newbyteorder("<")).tobytes()
    return where, bytes(raw)


def page(trace: Trace, *, clock: float = 100e6) -> str:
    """The page: HTML that asks for nothing else."""
    where, raw = _packed(arrays(trace))
    described = description(trace, clock=clock) | {"arrays": where}
    # "</" would end the script that holds it, whatever a model's names are.
    text = json.dumps(described, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    parts = {
        "TITLE": _escaped(trace.name),
        "STYLE": _data("trace.css"),
        "DESCRIPTION": text,
        "VALUES": base64.b64encode(zlib.compress(raw, 9)).decode("ascii"),
        "MODEL": _data("trace_model.js"),
        "VIEW": _data("trace_view.js"),
    }
    first, *rest = _data("trace.html").split("{{")
    pieces = [first]
    for part in rest:
        name, _, behind = part.partition("}}")
        pieces += [parts[name], behind]
    return "".join(pieces)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _data(name: str) -> str:
    return resources.files("etchnet.host.trace").joinpath(name).read_text(encoding="utf-8")
