"""A trace for Perfetto: the Chrome JSON trace event format, which ui.perfetto.dev opens."""

from __future__ import annotations

import json
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


def perfetto(trace: Trace, *, clock: float = 100e6) -> str:
    """The whole file, as JSON; times are those of a chip with a clock of `clock` Hz."""
    return json.dumps(
        {
            "traceEvents": events(trace, clock=clock),
            "displayTimeUnit": "ns",
            "otherData": {"name": trace.name, "clock_hz": clock, "cycles": trace.run.finish - trace.run.start},
        },
        allow_nan=False,
        separators=(",", ":"),
    )


def events(trace: Trace, *, clock: float = 100e6) -> list[dict[str, Any]]:
    """Trace events: a slice (X) for every layer, pass, wait, drain and transfer; counters (C); names of tracks (M).

    Cycles are counted since reset. `ts` and `dur` are microseconds at `clock` Hz, as the format has it.
    """
    period = 1e6 / clock
    program, passes = trace.program, len(trace.program.passes)
    found: list[dict[str, Any]] = []
    for pid, name in ((_CHIP, f"{trace.name}: {trace.config.rows} x {trace.config.columns} array"), (_LINKS, "links")):
        found.append({"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}})
    for name, (pid, tid) in _TRACKS.items():
        found.append({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}})
        found.append({"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid}})

    def add(track: str, name: str, start: int, length: int, **about: Any) -> None:
        pid, tid = _TRACKS[track]
        found.append(
            {
                "ph": "X",
                "name": name,
                "cat": track,
                "pid": pid,
                "tid": tid,
                "ts": start * period,
                "dur": length * period,
                "args": {"cycle": start, "cycles": length, **about},
            }
        )

    for segment in trace.segments:
        spent = segment.spent.name.lower()
        if segment.spent is not Counter.ISSUE:
            add("not issuing", spent.replace("_", " "), segment.start, segment.length)
            continue
        repeat, number = divmod(segment.index, passes)
        label, p = program.labels[number], program.passes[number]
        add(
            "passes",
            f"{trace.layers[label.layer].operation}, tap {label.tap}, tile {label.tile}",
            segment.start,
            segment.length,
            layer=trace.layers[label.layer].name,
            repeat=repeat,
            number=number,
            tap=str(label.tap),
            block=int(label.word),
            tile=int(label.tile),
            kind=TileKind(p.kind).name.lower(),
            useful_multipliers=int(p.useful),
        )
    for start, length, layer in _spans(trace):
        add("layers", trace.layers[layer].operation, start, length, layer=trace.layers[layer].name)
    for repeat, starts in enumerate(trace.drain_starts):
        for drain, start, write in zip(program.drains, starts.tolist(), program.writes, strict=True):
            length = drain.tiles * drain.pixels * drain_pace(drain, trace.config)
            of = None if write is None else trace.layers[write.layer].name
            add(
                "drains",
                f"to {Destination(drain.destination).name.lower()}",
                start,
                length,
                repeat=repeat,
                layer=of,
                tiles=drain.tiles,
                pixels=drain.pixels,
            )
    for track, transfers in (("in", trace.link_in), ("out", trace.link_out)):
        for transfer in transfers:
            add(track, transfer.what, transfer.start, transfer.length)
    for cycle, words in live_words(trace):
        found.append(
            {
                "ph": "C",
                "name": "activation words in use",
                "pid": _CHIP,
                "tid": 0,
                "ts": cycle * period,
                "args": {"words": words},
            }
        )
    return found


def _spans(trace: Trace) -> list[tuple[int, int, int]]:
    """(start, cycles, layer) of passes of one layer in a row."""
    layers = np.array([label.layer for label in trace.program.labels] * trace.repeats)
    begin = trace.issues.ravel()
    end = begin + np.array([trace.config.pass_cycles(p.pixels) for p in trace.program.passes] * trace.repeats)
    first = np.flatnonzero(np.diff(layers, prepend=-1))
    last = np.append(first[1:], len(layers)) - 1
    return [(int(begin[a]), int(end[b] - begin[a]), int(layers[a])) for a, b in zip(first, last, strict=True)]


def live_words(trace: Trace) -> list[tuple[int, int]]:
    """How many words of the activation memory hold what will still be read: (cycle, words) where it changes."""
    config, lat = trace.config, trace.latencies
    words: list[np.ndarray] = []
    cycles: list[np.ndarray] = []
    written: list[np.ndarray] = []
    for repeat in range(trace.repeats):
        for p, issue in zip(trace.program.passes, trace.issues[repeat], strict=True):
            if p.source == Source.ACTIVATION:
                walked = p.walk()
                inside = np.flatnonzero(walked != OUTSIDE)
                words.append(walked[inside])
                cycles.append(issue + inside + lat["read"])
                written.append(np.zeros(len(inside), bool))
        for drain, start in zip(trace.program.drains, trace.drain_starts[repeat], strict=True):
            if drain.destination == Destination.ACTIVATION:
                rows = start + np.arange(drain.tiles * drain.pixels) * drain_pace(drain, config) + config.groups - 1
                for part in range(config.words_per_pixel(wide=bool(drain.wide))):
                    words.append(drain_words(drain, config).ravel() + part)
                    cycles.append(rows + lat["result"] + 1 + part)
                    written.append(np.ones(len(rows), bool))
    if not words:
        return []
    word, cycle, write = np.concatenate(words), np.concatenate(cycles), np.concatenate(written)
    # A word shows what is written from that cycle on.
    order = np.lexsort((~write, cycle, word))
    word, cycle, write = word[order], cycle[order], write[order]
    # A value lives from its write to the last read before the word is written again.
    reads = np.flatnonzero(~write)
    last = reads[np.append(write[reads[1:] - 1] | (np.diff(reads) > 1), True)] if len(reads) else reads
    first = np.maximum.accumulate(np.where(write, np.arange(len(write)), 0))[last]
    changes: dict[int, int] = {}
    for at, change in zip(
        cycle[first].tolist() + (cycle[last] + 1).tolist(), [1] * len(first) + [-1] * len(last), strict=True
    ):
        changes[at] = changes.get(at, 0) + change
    counted, total = [], 0
    for at in sorted(changes):
        if changes[at]:
            total += changes[at]
            counted.append((at, total))
    return counted
