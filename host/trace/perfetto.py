"""Export of a trace to the Chrome JSON trace event format, which ui.perfetto.dev opens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etchnet.hdl.isa import OUTSIDE, Counter, Destination, Source, TileKind
from etchnet.host.trace.trace import Trace
from etchnet.sim.timing import drain_pace, drain_words

__all__ = ["events", "live_words", "perfetto"]

_CHIP, _LINKS = 1, 2
_TRACKS = {
    "layers": (_CHIP, 1),
    "passes": (_CHIP, 2),
    "not issuing": (_CHIP, 3),
    "drains": (_CHIP, 4),
    "in": (_LINKS, 1),
    "out": (_LINKS, 2),
}
"""process and thread identifiers of every track, in terms of the format"""

Event = dict[str, Any]


def perfetto(trace: Trace, *, clock: float = 100e6) -> str:
    """Return the file's content, JSON; times are those of a chip with a clock of `clock` Hz."""
    return json.dumps(
        {
            "traceEvents": events(trace, clock=clock),
            "displayTimeUnit": "ns",
            "otherData": {"name": trace.name, "clock_hz": clock, "cycles": trace.cycles},
        },
        allow_nan=False,
        separators=(",", ":"),
    )


def events(trace: Trace, *, clock: float = 100e6) -> list[Event]:
    """Return the trace events.

    The events are names of tracks (M), a slice (X) for every layer, pass, wait, drain and transfer, and a counter (C)
    of activation words in use. The `cycle` of an event is 0 in the run's first cycle; `ts` and `dur` are in
    microseconds since reset, at a clock of `clock` Hz, because viewers expect times from 0.
    """
    period, origin = 1e6 / clock, trace.run.origin
    slices = (*_segments(trace), *_layers(trace), *_drains(trace), *_transfers(trace))
    found = [*_names(trace), *(s.event(period, origin) for s in slices)]
    for cycle, words in live_words(trace):
        counter = {"ph": "C", "name": "activation words in use", "pid": _CHIP, "tid": 0}
        found.append(counter | {"ts": (cycle + origin) * period, "args": {"words": words}})
    return found


@dataclass(frozen=True)
class _Slice:
    """Consecutive cycles on a track that show one layer, pass, wait, drain or transfer."""

    track: str
    name: str
    start: int
    length: int
    about: Event = field(default_factory=dict)

    def event(self, period: float, origin: int) -> Event:
        """Return the slice as a trace event; the period is in microseconds, and cycle `origin` since reset is its 0."""
        pid, tid = _TRACKS[self.track]
        return {
            "ph": "X",
            "name": self.name,
            "cat": self.track,
            "pid": pid,
            "tid": tid,
            "ts": (self.start + origin) * period,
            "dur": self.length * period,
            "args": {"cycle": self.start, "cycles": self.length, **self.about},
        }


def _names(trace: Trace) -> Iterator[Event]:
    """Yield the events that name processes and tracks and set the order of tracks."""
    array = f"{trace.name}: {trace.config.rows} x {trace.config.columns} array"
    for pid, name in ((_CHIP, array), (_LINKS, "links")):
        yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}
    for name, (pid, tid) in _TRACKS.items():
        yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}
        yield {"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid}}


def _segments(trace: Trace) -> Iterator[_Slice]:
    """Yield a slice for every pass, and for every range of cycles in which no pixel is issued."""
    program = trace.program
    for segment in trace.segments:
        if segment.spent is not Counter.ISSUE:
            name = segment.spent.name.lower().replace("_", " ")
            yield _Slice("not issuing", name, segment.start, segment.length)
            continue
        repeat, number = divmod(segment.index, len(program.passes))
        label, p = program.labels[number], program.passes[number]
        layer = trace.layers[label.layer]
        about = {
            "layer": layer.name,
            "repeat": repeat,
            "number": number,
            "tap": str(label.tap),
            "block": int(label.word),
            "tile": int(label.tile),
            "kind": TileKind(p.kind).name.lower(),
            "useful_multipliers": int(p.useful),
        }
        name = f"{layer.operation}, tap {label.tap}, tile {label.tile}"
        yield _Slice("passes", name, segment.start, segment.length, about)


def _layers(trace: Trace) -> Iterator[_Slice]:
    """Yield a slice for each series of consecutive passes of one layer."""
    layers = np.array([label.layer for label in trace.program.labels] * trace.repeats)
    begin = trace.issues.ravel()
    end = begin + np.array([trace.config.pass_cycles(p.pixels) for p in trace.program.passes] * trace.repeats)
    first = np.flatnonzero(np.diff(layers, prepend=-1))
    last = np.append(first[1:], len(layers)) - 1
    for a, b in zip(first, last, strict=True):
        layer = trace.layers[int(layers[a])]
        yield _Slice("layers", layer.operation, int(begin[a]), int(end[b] - begin[a]), {"layer": layer.name})


def _drains(trace: Trace) -> Iterator[_Slice]:
    program = trace.program
    for repeat, starts in enumerate(trace.drain_starts):
        for drain, start, write in zip(program.drains, starts.tolist(), program.writes, strict=True):
            about = {
                "repeat": repeat,
                "layer": None if write is None else trace.layers[write.layer].name,
                "tiles": drain.tiles,
                "pixels": drain.pixels,
            }
            length = drain.tiles * drain.pixels * drain_pace(drain, trace.config)
            yield _Slice("drains", f"to {Destination(drain.destination).name.lower()}", start, length, about)


def _transfers(trace: Trace) -> Iterator[_Slice]:
    for track, transfers in (("in", trace.link_in), ("out", trace.link_out)):
        for transfer in transfers:
            yield _Slice(track, transfer.what, transfer.start, transfer.length)


def live_words(trace: Trace) -> list[tuple[int, int]]:
    """Count the activation words whose value will still be read; return (cycle, words) for each change of the count."""
    word, cycle, write = _accesses(trace)
    if not len(word):
        return []
    # `cycle` of a write is the first cycle in which a read returns the new value.
    order = np.lexsort((~write, cycle, word))
    word, cycle, write = word[order], cycle[order], write[order]
    # A value lives from its write to the last read before the word is written again.
    reads = np.flatnonzero(~write)
    last = reads[np.append(write[reads[1:] - 1] | (np.diff(reads) > 1), True)] if len(reads) else reads
    first = np.maximum.accumulate(np.where(write, np.arange(len(write)), 0))[last]
    at = np.concatenate([cycle[first], cycle[last] + 1])
    cycles, which = np.unique(at, return_inverse=True)
    changes = np.bincount(which, np.repeat([1, -1], len(first))).astype(np.int64)
    changed = changes != 0
    return list(zip(cycles[changed].tolist(), np.cumsum(changes[changed]).tolist(), strict=True))


def _accesses(trace: Trace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return word, cycle and direction (true for a write) of every access to the activation memory."""
    config, lat = trace.config, trace.latencies
    words: list[np.ndarray] = [np.zeros(0, np.int64)]
    cycles: list[np.ndarray] = [np.zeros(0, np.int64)]
    written: list[np.ndarray] = [np.zeros(0, bool)]

    def put(word: np.ndarray, cycle: np.ndarray, *, write: bool) -> None:
        words.append(word)
        cycles.append(cycle)
        written.append(np.full(len(word), write))

    for repeat in range(trace.repeats):
        for p, issue in zip(trace.program.passes, trace.issues[repeat], strict=True):
            if p.source == Source.ACTIVATION:
                walked = p.walk()
                inside = np.flatnonzero(walked != OUTSIDE)
                put(walked[inside], issue + inside + lat["read"], write=False)
        for drain, start in zip(trace.program.drains, trace.drain_starts[repeat], strict=True):
            if drain.destination == Destination.ACTIVATION:
                first = drain_words(drain, config).ravel()
                rows = start + np.arange(len(first)) * drain_pace(drain, config) + config.groups - 1
                for part in range(config.words_per_pixel(wide=bool(drain.wide))):
                    put(first + part, rows + lat["result"] + 1 + part, write=True)
    return np.concatenate(words), np.concatenate(cycles), np.concatenate(written)
