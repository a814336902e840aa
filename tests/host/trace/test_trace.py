"""Traces account for every cycle, agree with the machine's counters, and are written in the right formats."""

import json
import re
import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import error, run
from support.needs import needs_verilator
from support.strategies import int8, randoms
from support.traced import CONFIG, network
from support.waveforms import changes

from etchnet.hdl.isa import Counter, Destination, Source
from etchnet.host.compiler.compile import compile_network
from etchnet.host.importers.load import plain_model
from etchnet.host.trace.page import page
from etchnet.host.trace.perfetto import events, live_words, perfetto
from etchnet.host.trace.trace import gather
from etchnet.sim.timing import drain_words


@pytest.fixture(scope="module")
def traced():
    random = np.random.default_rng(3)
    model = plain_model("small", network(random))
    return gather(model, compile_network(model.network, CONFIG), int8(random, (3, model.network.input_size)))


def test_every_cycle_has_one_class_and_the_sums_equal_the_counters(traced):
    now, spent = 0, dict.fromkeys(Counter, 0)
    for segment in traced.segments:
        assert segment.start == now
        now += segment.length
        spent[segment.spent] += segment.length
    assert now == traced.cycles == traced.counts.cycles
    for counter, cycles in spent.items():
        if counter not in (Counter.CYCLES, Counter.USEFUL):
            assert cycles == traced.counts[counter], counter
    assert sum(spent.values()) == traced.counts[Counter.CYCLES]


def test_perfetto_events_have_the_fields_that_the_format_requires(traced):
    """The Trace Event Format requires ph, pid and tid; for X ts and dur in microseconds, for C numbers, for M names."""
    found = json.loads(perfetto(traced, clock=50e6))
    assert found["displayTimeUnit"] in ("ms", "ns")
    tracks: dict[tuple[int, int], list] = {}
    named = {(e["pid"], e["tid"]) for e in found["traceEvents"] if e["name"] == "thread_name"}
    for event in found["traceEvents"]:
        assert isinstance(event["name"], str)
        assert {"pid", "tid", "ph"} <= set(event)
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] > 0
            assert event["ts"] == pytest.approx((event["args"]["cycle"] + traced.run.origin) * 0.02)
            tracks.setdefault((event["pid"], event["tid"]), []).append(event)
        elif event["ph"] == "C":
            assert all(isinstance(v, int) and v >= 0 for v in event["args"].values())
        else:
            assert event["ph"] == "M"
            assert event["args"]
    assert set(tracks) == named
    # Viewers misdraw slices of one track that overlap without one containing the other.
    for slices in tracks.values():
        ends = [e["args"]["cycle"] + e["args"]["cycles"] for e in slices]
        starts = [e["args"]["cycle"] for e in slices]
        assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    passes = [e for e in found["traceEvents"] if e.get("cat") == "passes"]
    assert len(passes) == len(traced.program.passes) * 3
    assert sum(e["args"]["cycles"] for e in passes) == traced.counts[Counter.ISSUE]


def test_live_words_are_those_written_and_still_to_be_read(traced):
    """The test counts them independently, word by word and cycle by cycle."""
    config, lat = CONFIG, traced.latencies
    happened: dict[int, list[tuple[int, bool]]] = {}
    for repeat in range(traced.repeats):
        for p, issue in zip(traced.program.passes, traced.issues[repeat].tolist(), strict=True):
            if p.source == Source.ACTIVATION:
                for pixel, word in enumerate(p.walk().tolist()):
                    if word >= 0:
                        happened.setdefault(word, []).append((issue + pixel + lat["read"], False))
        for drain, start in zip(traced.program.drains, traced.drain_starts[repeat].tolist(), strict=True):
            if drain.destination == Destination.ACTIVATION:
                for row, word in enumerate(drain_words(drain, config).ravel().tolist()):
                    at = start + row * config.groups + config.groups - 1 + lat["result"] + 1
                    happened.setdefault(word, []).append((at, True))
    alive: dict[int, int] = {}
    for uses in happened.values():
        uses.sort(key=lambda use: (use[0], not use[1]))
        begun = None
        for i, (cycle, write) in enumerate(uses):
            if write:
                begun = cycle
            elif begun is not None and (i + 1 == len(uses) or uses[i + 1][1]):
                for t in range(begun, cycle + 1):
                    alive[t] = alive.get(t, 0) + 1
    counted = dict(live_words(traced))
    now = 0
    for t in range(max(alive) + 2):
        now = counted.get(t, now)
        assert now == alive.get(t, 0), t


def test_a_page_loads_no_other_resources(traced):
    html = page(traced)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", html)
    assert "http://" not in html
    assert "https://" not in html
    assert not re.search(r"\{\{[A-Z]+\}\}", html)


@settings(max_examples=5)
@given(randoms(), st.integers(1, 3), st.integers(2, 6))
def test_counters_of_traces_are_those_of_runs(random, inputs, channels):
    model = plain_model("random", network(random, channels))
    found = gather(model, compile_network(model.network, CONFIG), int8(random, (inputs, model.network.input_size)))
    assert sum(s.length for s in found.segments if s.spent is Counter.WAIT_IN) == found.counts[Counter.WAIT_IN]
    assert len([e for e in events(found) if e.get("cat") == "drains"]) == inputs * len(found.program.drains)


PARAMETERS = {
    "weight_tiles": 8,
    "activation_words": 16,
    "input_words": 16,
    "output_words": 16,
    "accumulator_rows": 8,
    "passes": 8,
    "drains": 8,
    "parameter_tiles": 2,
}
SMALL = ["--size", "4", "--rows", "4", "--cols", "4"]
SMALL += [part for name, value in PARAMETERS.items() for part in ("--set", f"{name}={value}")]


@pytest.mark.parametrize(
    ("name", "begins"), [("out.html", "<!doctype html>"), ("out.json", '{"traceEvents":['), ("out.vcd", "$")]
)
def test_the_suffix_selects_the_format(capsys, tmp_path, name, begins):
    status, said, err = run(capsys, "trace", "gemm", "-o", str(tmp_path / name), *SMALL)
    assert (status, err) == (0, "")
    assert name in said
    assert (tmp_path / name).read_text().lstrip().startswith(begins)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@needs_verilator
def test_waveforms_of_both_engines_show_the_same_sums(capsys, tmp_path):
    """The sums of the last element are compared change by change."""
    paths = [tmp_path / f"{engine}.vcd" for engine in ("amaranth", "verilator")]
    for path in paths:
        assert run(capsys, "trace", "gemm", "-o", str(path), "--engine", path.stem, *SMALL)[0] == 0
    first, second = (changes(path, "element_3_3", "sum_out") for path in paths)
    assert first == second
    assert len(set(first)) > 3


@needs_verilator
@pytest.mark.parametrize("engine", ["amaranth", "verilator"])
def test_waveforms_that_do_not_fit_the_disk_are_one_line(capsys, tmp_path, engine):
    """Verilator's runtime by itself would end the process, or wait forever for the file that it is writing."""
    command = ["trace", "gemm", "-o", str(tmp_path / "out.vcd"), "--engine", engine, *SMALL]
    assert run(capsys, *command)[0] == 0
    (tmp_path / "out.vcd").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        assert error(capsys, *command) == f"{tmp_path / 'out.vcd'}: File too large"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gemm", "-o", "missing/out.html"), "the folder of --output must exist: .*missing does not"),
        (("gemm", "-o", "out.pdf"), "--output must end in .html, .htm, .json, .vcd unless --format is given"),
        (
            ("gemm", "-o", "out.html", "--size", "512", "--set", "weight_tiles=4"),
            r"weight_tiles = 4 \(1024 is enough\)",
        ),
        (("missing.tflite", "-o", "out.html"), "missing.tflite"),
    ],
)
def test_bad_input_is_one_clear_line(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert re.search(message, error(capsys, "trace", *arguments))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "begins"), [("html", "<!doctype html>"), ("perfetto", '{"traceEvents":[')])
def test_standard_output_gets_the_trace_and_nothing_else(capsys, tmp_path, monkeypatch, kind, begins):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "trace", "gemm", "-o", "-", "--format", kind, *SMALL)
    assert (status, err) == (0, "")
    assert out.startswith(begins)
    assert list(tmp_path.iterdir()) == []
    message = error(capsys, "trace", "gemm", "-o", "-", "--format", "vcd", *SMALL)
    assert message == "waveforms need a file of their own: --output cannot be -"
