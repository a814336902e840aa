"""The sequencer and its parts, against the numpy rules of `Pass` and a count of cycles."""

import dataclasses

import numpy as np
import pytest
from support import rtl
from support.machines import small

from etchnet.hdl.core.control.image_walk import ImageWalk
from etchnet.hdl.core.control.pass_timer import PassTimer
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.core.control.window_filter import WindowFilter
from etchnet.hdl.isa import OUTSIDE, Fold, Pass, Source, TileKind

CLASSES = ("issue", "wait_in", "wait_out", "weight_load", "requantise", "fill_drain")


def lookahead(p):
    """Return the derived values of a pass, by port."""
    columns = p.columns or p.pixels
    return {
        "no_idle": int(p.idle + p.idle_requantise == 0),
        "idle_end": p.idle + p.idle_requantise,
        "one_pixel": int(p.pixels == 1),
        "before_last": p.pixels - 2,
        "columns": columns,
        "last_column": columns - 1,
    }


def walked_pass(config, random):
    """Return a pass over an image with borders; a depthwise one on some of the machines that have them."""
    depthwise = config.depthwise and random.random() < 0.5
    columns = int(random.integers(config.shortest_line, 9) if depthwise else random.integers(0, 6))
    pixels = int(random.integers(1, config.pass_pixels if depthwise else config.accumulator_rows))
    pixels = 1 if random.random() < 0.3 else pixels
    bounds = {
        "first_column": int(random.integers(3)),
        "end_column": int(random.integers(6)),
        "first_line": int(random.integers(3)),
        "end_line": int(random.integers(4)),
    }
    window = {
        "kind": TileKind.DEPTHWISE,
        "dropped": int(random.integers(3)),
        "skip_columns": int(random.integers(3)),
        "skip_lines": int(random.integers(3)),
    }
    return Pass(
        idle=int(random.choice([0, 0, 1, 5])),
        idle_requantise=int(random.choice([0, 0, 1, 4])),
        wait_input=bool(random.integers(2)),
        wait_output=bool(random.integers(2)),
        wait_weights=bool(random.integers(2)),
        release_input=bool(random.integers(2)),
        release_weights=bool(random.integers(2)),
        release=bool(random.integers(2)),
        weights=int(random.integers(config.weight_words // 2)),
        source=Source(int(random.integers(2))),
        address=int(random.integers(-4, 8)),
        step=int(random.integers(1, 3)),
        line=int(random.integers(8)),
        pixels=pixels,
        columns=columns,
        pad=int(random.integers(-128, 128)),
        bank=int(random.integers(2)),
        row=int(random.integers(4)),
        fold=Fold(int(random.integers(2))),
        hold=Fold.SET if random.random() < 0.7 else Fold.ADD,
        useful=int(random.integers(config.multipliers + 1)),
        **bounds,
        **(window if depthwise else {"kind": TileKind(int(random.integers(3)))}),
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_walk_names_the_words_of_its_pass(seed):
    config, random = small(), np.random.default_rng(seed)
    passes = [walked_pass(config, random) for _ in range(12)]

    def bench():
        for p in passes:
            head = {"fields": p.encode(config), **{f"derived.{n}": v for n, v in lookahead(p).items()}}
            for index, word in enumerate(p.walk()):
                while random.random() < 0.2:
                    yield {**head, "step": 0, "end": 0}
                seen = yield {**head, "step": 1, "end": int(index == p.pixels - 1)}
                assert seen["inside"] == (word != OUTSIDE)
                if word != OUTSIDE:
                    # Addresses wrap around; programs from the compiler do not use addresses that do.
                    assert (p.address + seen["offset"] - word) % config.activation_words == 0

    rtl.run(ImageWalk(config), bench())


@pytest.mark.parametrize(("rows", "depthwise"), [(4, 2), (9, 3)])
def test_the_sums_that_are_kept_are_those_of_windows(rows, depthwise):
    config = small(rows=rows, columns=rows, depthwise=depthwise, requantisers=1)
    random = np.random.default_rng(rows)
    passes = [walked_pass(config, random) for _ in range(25)]
    assert any(p.kind == TileKind.DEPTHWISE and len(p.kept(config)) for p in passes)

    def bench():
        for p in passes:
            kept = set(p.kept(config).tolist())
            head = {"fields": p.encode(config), "columns": p.line_pixels}
            for pixel in range(p.pixels):
                while random.random() < 0.1:
                    yield {**head, "step": 0, "end": 0, "pixels_done": pixel}
                seen = yield {**head, "step": 1, "end": int(pixel == p.pixels - 1), "pixels_done": pixel}
                assert seen["kept"] == (pixel in kept)

    rtl.run(WindowFilter(config), bench())


@pytest.mark.parametrize("weight_rows", [1, 2, 4])
def test_a_pass_idles_waits_and_issues(weight_rows):
    """Every cycle is predicted: its class, and the events of the pass in it."""
    config, random = small(weight_rows=weight_rows), np.random.default_rng(weight_rows)
    passes = [walked_pass(config, random) for _ in range(20)]
    events = ("begin", "pixel", "load", "last_pixel", "end", *(f"classes.{name}" for name in CLASSES))

    def step(p, age, **inputs):
        head = {"fields": p.encode(config), **{f"derived.{n}": v for n, v in lookahead(p).items()}}
        barriers = dict.fromkeys(("input_full", "output_free", "weights_full"), 1) | inputs
        seen = yield {"enable": 1, "valid": 1, **head, **barriers}
        if age is not None:
            assert (seen["pixels_done"], seen["loads_done"]) == (min(age, p.pixels), min(age, config.load_cycles))
        return {name for name in events if seen[name]}

    def bench():
        for p in passes:
            while random.random() < 0.2:
                seen = yield {"enable": 1, "valid": 0}
                assert [name for name in events if seen[name]] == ["classes.fill_drain"]
            for _ in range(p.idle_requantise):
                assert (yield from step(p, None)) == {"classes.requantise"}
            for _ in range(p.idle):
                assert (yield from step(p, None)) == {"classes.fill_drain"}
            if p.wait_output:
                assert (yield from step(p, None, output_free=0)) == {"classes.wait_out"}
            for waits, token in ((p.wait_input, "input_full"), (p.wait_weights, "weights_full")):
                if waits:
                    assert (yield from step(p, None, output_free=0, **{token: 0})) == {"classes.wait_in"}
            cycles = max(p.pixels, config.load_cycles)
            for age in range(cycles):
                happens = {
                    "begin": age == 0,
                    "pixel": age < p.pixels,
                    "load": age < config.load_cycles,
                    "last_pixel": age == p.pixels - 1,
                    "end": age == cycles - 1,
                    "classes.issue": age < p.pixels,
                    "classes.weight_load": age >= p.pixels,
                }
                closed = dict.fromkeys(("input_full", "output_free", "weights_full"), 0) if age else {}
                assert (yield from step(p, age, **closed)) == {name for name, does in happens.items() if does}
        seen = yield {"enable": 0, "valid": 1}
        assert not any(seen[name] for name in events)

    rtl.run(PassTimer(config), bench())


def expected_issues(config, passes):
    """Return what is issued, in order, by the rules of `Pass`: pixels, weight requests, kept rows with their folds."""
    pixels, requests, folds, half = [], [], [], 0
    words = max(config.activation_words, config.input_words)
    for p in passes:
        windowed = int(p.kind == TileKind.DEPTHWISE)
        line_delay = p.line_pixels - config.depthwise if windowed else None
        for word in p.walk().tolist():
            inside = word != OUTSIDE
            address = word % words if inside else None
            pixels.append((int(inside), p.pad, int(p.source), half, windowed, address, line_delay))
        half ^= p.release_input
        whole = p.kind in (TileKind.STORED, TileKind.DEPTHWISE)
        requests += [(int(p.kind), int(j == 0), p.weights + j * whole) for j in range(config.load_cycles)]
        for index, row in enumerate(p.rows(config).tolist()):
            later = index > 0 and p.hold != Fold.SET
            folds.append((p.bank, row % config.accumulator_rows, int(p.hold if later else p.fold), int(later)))
    return pixels, requests, folds


EVENTS = (
    *("useful", "input_release", "output_take", "weights_take"),
    *("pixel.valid", "request.valid", "fold.row.valid", "fold.release", "fold.release_last", "fold.release_weights"),
)


def expected_events(config, passes, issued, ended, last):
    """Return the cycles of `EVENTS`, that of `useful` as often as its value, from those of the issued pixels.

    `ended` has the last cycle of every pass, `last` the index of the last pass of every run.
    """
    found, later, first = {name: [] for name in EVENTS}, Sequencer.latency(config), 0
    for index, (p, end) in enumerate(zip(passes, ended, strict=True)):
        cycles = issued[first : first + p.pixels]
        kept = [cycles[pixel] for pixel in p.kept(config).tolist()]
        first += p.pixels
        found["useful"] += [cycle for cycle in kept for _ in range(p.useful)]
        found["input_release"] += [cycles[-1]] * p.release_input
        found["output_take"] += [cycles[0]] * p.wait_output
        found["weights_take"] += [cycles[0]] * p.wait_weights
        found["pixel.valid"] += [cycle + later for cycle in cycles]
        found["request.valid"] += [cycles[0] + j + later for j in range(config.load_cycles)]
        found["fold.row.valid"] += [cycle + later for cycle in kept]
        found["fold.release"] += [cycles[-1] + later] * p.release
        found["fold.release_last"] += [cycles[-1] + later] * (p.release and index in last)
        found["fold.release_weights"] += [end + later] * p.release_weights
    return found


@pytest.mark.parametrize("rate", [1.0, 0.6])
@pytest.mark.parametrize(("weight_rows", "depthwise"), [(1, 2), (4, 0), (2, 2)])
def test_passes_become_reads_requests_and_folds(rate, weight_rows, depthwise):
    """Everything is issued once and in order, however long the program memory and the barriers take."""
    config = small(weight_rows=weight_rows, depthwise=depthwise)
    random = np.random.default_rng(weight_rows)
    passes = [walked_pass(config, random) for _ in range(12)]
    passes = [dataclasses.replace(p, pixels=min(p.pixels, 12)) if p.kind != TileKind.DEPTHWISE else p for p in passes]
    for last in (4, 11):
        passes[last] = dataclasses.replace(passes[last], release=True)

    def issue(seen, found):
        pixels, requests, folds = found
        if seen["pixel.valid"]:
            address = seen["pixel.address"] if seen["pixel.inside"] else None
            line_delay = seen["pixel.line_delay"] if seen["pixel.windowed"] else None
            names = ("inside", "pad", "source", "half", "windowed")
            pixels.append((*(seen[f"pixel.{name}"] for name in names), address, line_delay))
        if seen["request.valid"]:
            requests.append(tuple(seen[f"request.{name}"] for name in ("kind", "first", "address")))
        if seen["fold.row.valid"]:
            names = ("bank", "row.row", "row.fold", "row.held")
            folds.append(tuple(seen[f"fold.{name}"] for name in names))

    def bench():
        found, counted = ([], [], []), dict.fromkeys(CLASSES, 0)
        events = {name: [] for name in (*EVENTS, "classes.issue", "passes.ready")}
        cycle = 0
        for remaining in ([*passes[:5]], [*passes[5:]]):
            for start in (0, 0, 1):
                idle = {"start": start, "passes.valid": 1, "passes.payload.head.fields": passes[0].encode(config)}
                seen = yield {**idle, "reading_last": 0, "done": 0}
                assert not any(seen[name] for name in ("running", "classes", "passes.ready"))
                cycle += 1
            valid = tail = 0
            while tail < 6:
                valid = int(bool(remaining) and (valid or random.random() < rate))
                p = remaining[0] if remaining else passes[0]
                head = {
                    "passes.valid": valid,
                    "passes.payload.head.fields": p.encode(config),
                    "passes.payload.head.final": int(len(remaining) == 1),
                    **{f"passes.payload.derived.{name}": value for name, value in lookahead(p).items()},
                }
                barriers = {name: int(random.random() < rate) for name in ("input_full", "output_free", "weights_full")}
                tail += not remaining
                seen = yield {"start": 0, **head, **barriers, "reading_last": int(tail > 3), "done": int(tail == 6)}
                assert seen["running"]
                classes = [name for name in CLASSES if seen[f"classes.{name}"]]
                assert len(classes) == 1
                if tail:
                    assert classes == ["requantise" if tail > 3 else "fill_drain"]
                counted[classes[0]] += 1
                for name, cycles in events.items():
                    cycles += [cycle] * seen[name]
                issue(seen, found)
                if valid and seen["passes.ready"]:
                    remaining.pop(0)
                    valid = 0 if rate < 1 else valid
                cycle += 1
        return found, counted, events

    found, counted, events = rtl.run(Sequencer(config), bench())
    issued, ended = events.pop("classes.issue"), events.pop("passes.ready")
    assert events == expected_events(config, passes, issued, ended, last=(4, 11))
    assert found == expected_issues(config, passes)
    assert counted["issue"] == sum(p.pixels for p in passes)
    assert counted["weight_load"] == sum(config.pass_cycles(p.pixels) - p.pixels for p in passes)
    assert counted["requantise"] == sum(p.idle_requantise for p in passes) + 6
    if rate == 1:
        busy = sum(p.idle + p.idle_requantise + config.pass_cycles(p.pixels) for p in passes)
        assert (counted["wait_in"], counted["wait_out"], sum(counted.values())) == (0, 0, busy + 12)
