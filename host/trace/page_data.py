"""Data of a trace's web page: a description of the machine and the run, and arrays of values.

The page's scripts compute the state of any cycle from this data. Rules that Python code already defines (which pixels
are inside the image, which sums are kept, how long a pass occupies the array, which words a drain writes) are evaluated
here and passed on as arrays, so that the scripts need not implement them again.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from etchnet.hdl.isa import OUTSIDE, Counter, Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.hdl.isa.counters import by_name
from etchnet.host.trace.trace import Trace
from etchnet.sim.state.array import line_age
from etchnet.sim.timing import drain_pace, drain_words, drains_of

__all__ = ["CLASSES", "NOT_READ", "arrays", "description"]

CLASSES = ("issue", "weight_load", "requantise", "fill_drain", "wait_in", "wait_out")
"""names of the classes of cycles; arrays contain indices into this tuple"""

NOT_READ = -(1 << 31)
"""int32 value that marks a pixel outside the image, which is not read from any word"""

_ENUMS: tuple[type[enum.IntEnum], ...] = (Destination, Fold, Source, TileKind)

Arrays = dict[str, np.ndarray]


def description(trace: Trace, *, clock: float = 100e6) -> dict[str, Any]:
    """Describe the machine, the layers and the run with JSON-compatible values; the page assumes a clock in Hz."""
    program, config = trace.program, trace.config
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
        "enums": {kind.__name__: {member.name: int(member) for member in kind} for kind in _ENUMS},
        "not_read": NOT_READ,
        "latencies": trace.latencies,
        "batch": program.batch,
        "repeats": trace.repeats,
        "reset": -trace.run.origin,
        "cycles": trace.cycles,
        "end": trace.end,
        "counts": by_name(trace.counts.totals),
        "layers": [
            {"name": x.name, "operation": x.operation, "shape": list(x.shape), "stride": list(x.stride)}
            for x in trace.layers
        ],
        "input": {
            "size": program.input_words,
            "tensors": [
                {"shape": list(layout.shape), "words": layout.words, "base": layout.base}
                for layout in program.input_layouts
            ],
        },
        "arrangements": _arrangements(trace),
        "classes": list(CLASSES),
        "taps": sorted({label.tap for label in program.labels}),
        "transfers": sorted({t.what for t in (*trace.link_in, *trace.link_out)}),
        "memories": {
            "weights": len(program.weights) // config.load_cycles,
            "activation": program.activation_words,
            "residual": program.residual_words,
        },
    }


def _arrangements(trace: Trace) -> dict[str, Any]:
    """Describe the tensors that are not stored pixel by pixel, by layer; -1 - k is input k."""
    program, im2col = trace.program, trace.program.im2col
    tensors = {layer: (found, program.network.shapes[layer]) for layer, found in program.arrangements.items()}
    if im2col.arrangement:
        tensors[im2col.source] = im2col.arrangement, im2col.shape
    return {
        str(tensor): {
            "stored": list(found.shape(shape[2])),
            "size": list(shape),
            "lines": dataclasses.asdict(found.y),
            "columns": dataclasses.asdict(found.x),
        }
        for tensor, (found, shape) in tensors.items()
    }


def arrays(trace: Trace) -> Arrays:
    """Return all values by name, each a flat array of int32 or int8.

    Arrays with the prefixes `pass_` and `label_` have one value per pass of the program; those with `drain_` and
    `write_` have one per drain. `issues`, `drain_starts`, `results_narrow` and `results_wide` contain all repeats, one
    after the other.
    """
    found: Arrays = {}
    for part in (_passes, _walks, _drains, _values, _results, _segments, _links):
        for name, values in part(trace).items():
            found[name] = np.ascontiguousarray(values, np.int8 if values.dtype == np.int8 else np.int32).ravel()
    return found


def _fields(prefix: str, kind: type, items: Sequence[Any]) -> Arrays:
    """Return an array for every field of the dataclass `kind`, named PREFIX_FIELD, with its values in `items`."""
    names = [field.name for field in dataclasses.fields(kind)]
    return {f"{prefix}_{name}": np.array([int(getattr(item, name)) for item in items]) for name in names}


def _passes(trace: Trace) -> Arrays:
    program, config, passes = trace.program, trace.config, trace.program.passes
    taps = {tap: index for index, tap in enumerate(sorted({label.tap for label in program.labels}))}
    found = _fields("pass", Pass, passes)
    found["pass_slots"] = np.array([config.pass_cycles(p.pixels) for p in passes])
    for name in ("layer", "word", "tile", "pixel"):
        found[f"label_{name}"] = np.array([getattr(label, name) for label in program.labels])
    found["label_tap"] = np.array([taps[label.tap] for label in program.labels])
    return found


def _walks(trace: Trace) -> Arrays:
    """Return the arrays that depend on the walks of passes.

    Many passes share a walk, so distinct walks and distinct lists of kept sums are stored once.

    - `pass_walk` and `pass_kept` contain, for each pass, the index of its walk and of its list of kept sums.
    - `walk_words` contains all walks, as words relative to the pass's address; `walk_start` says where each begins.
    - `kept_pixels` contains all lists of kept sums, as pixels of the pass; `kept_start` says where each begins.
    - `kept_columns` contains the number of kept sums per line, for each list.
    - `line_age` contains, first for the time before any pass and then for each pass, how many cycles ago each line of a
      depthwise window was written to the line buffers, last line first.
    """
    config, passes = trace.config, trace.program.passes
    relative = []
    for p in passes:
        walked = p.walk()
        relative.append(np.where(walked == OUTSIDE, NOT_READ, walked - p.address))
    which_walk, walks = _distinct(relative, [w.tobytes() for w in relative])
    kept = [p.kept(config) for p in passes]
    which_kept, sums = _distinct(kept, [(k.tobytes(), p.line_pixels) for k, p in zip(kept, passes, strict=True)])
    lines = [passes[which_kept.index(i)].line_pixels for i in range(len(sums))]
    columns = [max(1, int(((k - k[:1]) // line == 0).sum())) for k, line in zip(sums, lines, strict=True)]
    delays = [0, *(max(0, p.line_pixels - config.depthwise) for p in passes)]
    ages = [[line_age(delay * line, config) for line in range(1, config.depthwise)] for delay in delays]
    return {
        "pass_walk": np.array(which_walk),
        "walk_start": _starts(walks),
        "walk_words": np.concatenate(walks),
        "pass_kept": np.array(which_kept),
        "kept_start": _starts(sums),
        "kept_pixels": np.concatenate(sums),
        "kept_columns": np.array(columns),
        "line_age": np.array(ages, np.int64),
    }


def _distinct(items: Sequence[np.ndarray], keys: Sequence[Hashable]) -> tuple[list[int], list[np.ndarray]]:
    """Assign numbers to items by key; return the number of each item, and one item for each number."""
    numbers: dict[Hashable, int] = {}
    which = [numbers.setdefault(key, len(numbers)) for key in keys]
    return which, [items[which.index(number)] for number in range(len(numbers))]


def _starts(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the index at which each part begins in the concatenation of all, and the index at which the last ends."""
    return np.cumsum([0, *map(len, parts)])


def _drains(trace: Trace) -> Arrays:
    program, config, drains = trace.program, trace.config, trace.program.drains
    paces = [drain_pace(d, config) for d in drains]
    owner = np.zeros(len(drains), np.int64)
    for index, started in enumerate(drains_of(program.passes, drains)):
        owner[started] = index
    targets = [drain_words(d, config).ravel() for d in drains]
    found = _fields("drain", Drain, drains)
    found |= {
        "drain_pace": np.array(paces),
        "drain_pass": owner,
        "drain_rows": np.array([len(words) for words in targets]),
        # Cycles for which a row occupies the output stage.
        "drain_span": np.array(
            [max(config.groups, p if d.wide else config.words_per_pixel()) for d, p in zip(drains, paces, strict=True)]
        ),
        "target_start": _starts(targets),
        "target_words": np.concatenate(targets) if targets else np.zeros(0, np.int64),
    }
    for name in ("layer", "tile", "tiles", "pixel", "pixels"):
        found[f"write_{name}"] = np.array([-1 if w is None else getattr(w, name) for w in program.writes])
    return found


def _values(trace: Trace) -> Arrays:
    tiles, which = trace.tiles
    return {
        "issues": trace.issues,
        "drain_starts": trace.drain_starts,
        "tiles": tiles.astype(np.int8),
        "pass_held": which,
        "inputs": trace.inputs.astype(np.int8),
    }


def _results(trace: Trace) -> Arrays:
    """Return the results of drains: requantised int8 results in one array, int32 sums and results in another."""
    wide = [d.wide or d.destination == Destination.ACCUMULATORS for d in trace.program.drains]
    found: Arrays = {"drain_is_wide": np.array(wide, np.int32)}
    for name, dtype, chosen in (("narrow", np.int8, False), ("wide", np.int32, True)):
        parts = [
            values.ravel()
            for results in trace.results
            for values, is_wide in zip(results, wide, strict=True)
            if is_wide == chosen
        ]
        found[f"results_{name}"] = (np.concatenate(parts) if parts else np.zeros(0)).astype(dtype)
    return found


def _segments(trace: Trace) -> Arrays:
    classes = {Counter[name.upper()]: number for number, name in enumerate(CLASSES)}
    return {
        "segment_start": np.array([s.start for s in trace.segments]),
        "segment_length": np.array([s.length for s in trace.segments]),
        "segment_class": np.array([classes[s.spent] for s in trace.segments]),
        "segment_pass": np.array([s.index for s in trace.segments]),
    }


def _links(trace: Trace) -> Arrays:
    names = sorted({t.what for t in (*trace.link_in, *trace.link_out)})
    found: Arrays = {}
    for link, transfers in (("in", trace.link_in), ("out", trace.link_out)):
        found[f"link_{link}_start"] = np.array([t.start for t in transfers])
        found[f"link_{link}_length"] = np.array([t.length for t in transfers])
        found[f"link_{link}_what"] = np.array([names.index(t.what) for t in transfers])
    return found
