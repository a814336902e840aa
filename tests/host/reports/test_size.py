"""Sweeps report the cycles of compiled programs, respect the budget, and miss no better machine."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import error, run
from support.model_strategies import tflite_graphs
from support.needs import MODELS, needs_models

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.boards import BOARDS
from etchnet.hdl.targets.memory_sizes import memories
from etchnet.host.compiler.capacity import MEMORIES
from etchnet.host.compiler.compile import compile_network
from etchnet.host.fpga.resources import DoesNotFitError
from etchnet.host.importers.tflite.importer import load_tflite
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network
from etchnet.host.reports.area import eased, estimate, weights
from etchnet.host.reports.fit import fitted
from etchnet.host.reports.least import LeastMemories
from etchnet.host.reports.sizing import Budget, Point, candidates, evaluate, front, kbytes, rule_out
from etchnet.host.tools.tool import MissingPackageError


def size(capsys, *arguments):
    """Run `etchnet size` on the demonstration's network without errors, and return its output."""
    status, out, err = run(capsys, "size", "demo", *map(str, arguments))
    assert (status, err) == (0, "")
    return out


def test_points_equal_the_result_of_compiling_for_their_machine():
    from etchnet.host.importers.load import load_model

    network = load_model("demo").network
    for config in (Config(rows=8, columns=8), Config(rows=12, columns=6, weight_rows=3, requantisers=2)):
        point = evaluate(network, config)
        assert not point.failure
        assert point.kbytes == pytest.approx(sum(m.bytes for m in memories(point.config)) / 1024)
        program = compile_network(network, point.config)
        # The default compilation searches more orders, so it is never slower.
        assert program.repeat_cycles <= point.cycles
        quick = compile_network(network, Config.from_dict(point.config.to_dict()), thorough=False)
        assert quick.counts(2)[Counter.CYCLES] - quick.counts()[Counter.CYCLES] <= point.cycles


def test_the_winner_keeps_to_the_budget_and_its_file_gives_its_cycles(capsys, tmp_path):
    file = tmp_path / "machine.toml"
    limits = ("--dsp", 100, "--kbytes", 300)
    found = json.loads(size(capsys, *limits, "--try-rows", "4,8,16", "--configs", 12, "-o", file, "--json"))
    best, config = found["best"], Config.from_dict(tomllib.loads(file.read_text()))
    assert config.to_dict() == best["config"]
    assert config.rows * config.columns + 4 * config.requantisers == best["hard_multipliers"] <= 100
    assert sum(m.bytes for m in memories(config)) / 1024 == pytest.approx(best["kbytes"])
    assert best["kbytes"] <= 300
    assert found["complete"]
    assert min(p["cycles"] for p in found["points"] if not p["refused"]) >= best["cycles"]
    status, out, _ = run(capsys, "report", "demo", "--config", str(file), "--json")
    assert (status, json.loads(out)["config"]) == (0, config.to_dict())
    from etchnet.host.importers.load import load_model

    assert compile_network(load_model("demo").network, config).repeat_cycles == best["cycles"]


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 4, 8]), st.sampled_from([2, 4, 8]), st.integers(0, 50)), max_size=12))
def test_nothing_beats_the_pareto_front(shapes):
    points = [
        Point(Config(rows=r, columns=c, requantisers=1, depthwise=0, residual_words=0), cycles)
        for r, c, cycles in shapes
    ]
    best = front(points)
    for p in points:
        if p.cycles:
            assert any(b.config.multipliers <= p.config.multipliers and b.cycles <= p.cycles for b in best)
    for b in best:
        assert not any(
            p.cycles and p.cycles < b.cycles and p.config.multipliers <= b.config.multipliers for p in points
        )


@given(st.integers(20, 400), st.integers(0, 300), st.integers(1, 40))
def test_candidates_respect_the_budget_and_the_requested_number(dsp, lut, most):
    budget = Budget(dsp, lut_multipliers=lut)
    found = candidates(Config(), budget, most=most)
    assert 0 < len(found) <= most
    assert all(max(0, c.rows * c.columns - lut) + 4 * c.requantisers <= dsp for c in found)


@pytest.mark.parametrize(("name", "begins"), [("sweep.png", b"\x89PNG\r\n"), ("sweep.svg", b"<?xml")])
def test_the_plot_is_a_picture(capsys, tmp_path, name, begins):
    pytest.importorskip("matplotlib")
    out = size(capsys, "--try-rows", "8,16", "--try-cols", "8,16", "--configs", 3, "--plot", tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    for word in ("best:", "why:", "limit:", "3 machines in"):
        assert word in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--board", "arty"), f"'arty' is not one of {', '.join(map(repr, BOARDS))}."),
        (("--kbytes", "nan"), "Invalid value for '--kbytes': nan is not a finite number."),
        (("--dsp", 1), "--dsp must be larger: every machine"),
        (
            ("--kbytes", 1, "--try-rows", 8, "--try-cols", 8, "--configs", 1),
            "no machine fits (1 tried): the smallest needs at least 118 KB of memory, of 1; the model has "
            "85 KB of weights, 10 KB of activations at once, 1 KB of inputs; ",
        ),
        (("--plot", "sweep.pdf"), "--plot must end in .png or .svg, not 'sweep.pdf'"),
        (("--plot", "missing/sweep.png"), "the folder of --plot must exist"),
        (("--try-rows", "8;9"), "must be whole numbers from 1, separated by commas"),
        (("--try-rows", "0"), "must be whole numbers from 1, separated by commas"),
        (("--backend", "abacus"), "--backend abacus cannot be used"),
    ],
)
def test_bad_input_is_one_clear_line(capsys, arguments, message):
    assert message in error(capsys, "size", "demo", *map(str, arguments))


def test_an_interrupted_sweep_keeps_its_results(capsys, monkeypatch, tmp_path):
    """The user presses Ctrl-C while the sweep waits for results."""

    def interrupted(network, configs, board):
        yield evaluate(network, configs[0])
        raise KeyboardInterrupt

    monkeypatch.setattr("etchnet.host.reports.sizing.sweep", interrupted)
    arguments = ("size", "demo", "--try-rows", "8", "--try-cols", "8", "--configs", "5")
    status, out, err = run(capsys, *arguments)
    assert (status, err) == (130, "interrupted: 1 of 5 machines were tried\n")
    assert "1 machine in" in out
    # The best machine so far is not the machine that was asked for.
    file = tmp_path / "machine.toml"
    status, out, err = run(capsys, *arguments, "-o", str(file))
    assert (status, err) == (130, f"interrupted: 1 of 5 machines were tried; {file} was not written\n")
    assert not file.exists()


@settings(max_examples=20)
@given(tflite_graphs(operators=5, images=1), st.sampled_from([4, 8, 9, 16]), st.sampled_from([2, 8, 16]))
def test_no_machine_that_holds_a_network_is_ruled_out(tmp_path_factory, graph, rows, columns):
    """The lower bounds of memories are at most those of the machine that is found by compiling."""
    path = tmp_path_factory.mktemp("graph") / "graph.tflite"
    path.write_bytes(graph[0])
    network = load_tflite(path).network
    machine = Config(rows=rows, columns=columns, accumulator_rows=64, contract=network.contract)
    found = fitted(network, machine).config
    least = LeastMemories(network).on(machine)
    assert all(getattr(least, name) <= getattr(found, name) for name in MEMORIES)
    size = kbytes(found)
    assert rule_out(network, [machine], Budget(kbytes=size)) == ([machine], [])
    kept, (point,) = rule_out(network, [machine], Budget(kbytes=kbytes(least) * 0.99))
    assert not kept
    assert point.failure.startswith("at least ")


@needs_models
@pytest.mark.parametrize(("board", "holds"), [("ulx3s-85f", 208), ("icebreaker", 30), ("tang-nano-9k", 26)])
def test_memories_alone_rule_a_board_out_at_once(capsys, monkeypatch, board, holds):
    """No machine is compiled for visual wake words, whose memories no board here has."""
    monkeypatch.setattr("etchnet.host.reports.sizing.evaluate", None)
    message = error(capsys, "size", str(Path(MODELS) / "vww_96_int8.tflite"), "--board", board)
    assert re.match(
        rf"no machine fits \(\d+ tried\): the smallest needs at least \d+ block RAMs, of {holds}; ", message
    )
    assert (
        "the model has 204 KB of weights, 54 KB of activations at once, 27 KB of inputs; no board here is large"
        in message
    )


def test_another_board_that_may_hold_the_network_is_named(capsys):
    message = error(capsys, "size", "demo", "--board", "icebreaker")
    assert "; ulx3s-85f may hold it, a model with fewer channels or a smaller input needs less" in message


def small_model(folder):
    """Save a network that fits the smallest board, and return its path."""
    random = np.random.default_rng(1)
    layers = [
        Dense.from_scale(random.integers(-128, 128, shape).astype(np.int8), scale=0.003) for shape in ((16, 8), (8, 4))
    ]
    path = folder / "small.npz"
    Network(layers).save(path)
    return path


def for_board(model, *arguments):
    return ("size", str(model), "--board", "icebreaker", "--configs", "12", *map(str, arguments))


def test_a_board_is_a_limit_of_logic_cells_and_block_rams(capsys, tmp_path):
    """Machines that exceed it by more than the error of their estimate are refused with a message."""
    status, out, err = run(capsys, *for_board(small_model(tmp_path), "--all", "--no-check", "--json"))
    assert (status, err) == (0, "")
    found = json.loads(out)
    board, off = BOARDS["icebreaker"], weights()["ice40"]["logic cells"]["error"]
    assert found["synthesised"] is None
    best = found["best"]["area"]
    assert best == dict(estimate(Config.from_dict(found["best"]["config"]), board).used)
    most = board.device.placeable["logic cells"]
    assert best["logic cells"] <= most * (1 + off)
    large = [p for p in found["points"] if p["area"]["logic cells"] > most * (1 + off)]
    # Before that, machines are ruled out by their memories.
    refused = [p for p in large if p["cycles"]]
    assert len(refused) > 3
    assert all(p["refused"].startswith("at least ") for p in large if not p["cycles"])
    for point in refused:
        assert f"about {point['area']['logic cells']:,} logic cells, of {most:,}" in point["refused"]


def test_small_memories_move_to_block_rams_if_logic_cells_run_out():
    board = BOARDS["icebreaker"]
    config = Config.from_dict({**board.machine, "drains": 2, "weight_tiles": 200, "accumulator_rows": 256})
    larger = eased(config, board)
    assert larger.drains > board.device.blocks.words
    assert {**larger.to_dict(), "drains": 2} == config.to_dict()
    before, after = (estimate(c, board).used for c in (config, larger))
    assert after["logic cells"] < board.device.placeable["logic cells"] < before["logic cells"]
    assert before["block RAMs"] < after["block RAMs"] <= board.device.block_rams
    # Memories are not enlarged if the machine fits anyway.
    assert eased(Config(), BOARDS["ulx3s-85f"]) == Config()


def test_a_machine_too_close_for_an_estimate_is_synthesised(capsys, tmp_path, monkeypatch):
    """The next best machine is selected if the first does not fit; without synthesis, the report says so."""
    model, tried = small_model(tmp_path), []

    def needs(what, folder, *, report):
        tried.append(what.config)
        if len(tried) == 1:
            raise DoesNotFitError("too large")
        return {"logic cells": 5000, "flip-flops": 2500, "multipliers": 5, "block RAMs": 28}

    monkeypatch.setattr("etchnet.host.fpga.build.needs", needs)
    monkeypatch.setattr("etchnet.host.reports.sizing.Point.is_close", lambda point, budget: True)
    status, out, err = run(capsys, *for_board(model, "-o", tmp_path / "machine.toml"))
    assert (status, err) == (0, "")
    assert "synthesised: 5,000 logic cells of 5,280, 2,500 flip-flops of 5,280" in out
    assert len(tried) == 2
    assert Config.from_dict(tomllib.loads((tmp_path / "machine.toml").read_text())) == tried[1] != tried[0]

    def missing(what, folder, *, report):
        raise MissingPackageError("yosys was not found")

    monkeypatch.setattr("etchnet.host.fpga.build.needs", missing)
    status, out, err = run(capsys, *for_board(model))
    assert (status, err) == (0, "")
    assert "estimated: " in out
    assert "too close to the limits to tell whether it fits" in out

    def never(what, folder, *, report):
        raise DoesNotFitError("it needs 5,300 logic cells of 5,280")

    monkeypatch.setattr("etchnet.host.fpga.build.needs", never)
    assert "that seemed to fit does: it needs 5,300 logic cells of 5,280" in error(capsys, *for_board(model))


@pytest.mark.campaign
@pytest.mark.parametrize("board", BOARDS)
def test_the_machine_proposed_for_a_board_can_be_built(capsys, tmp_path, board):
    """The build produces a bitstream with the network built in."""
    model, machine = small_model(tmp_path), tmp_path / "machine.toml"
    for command in (
        ["size", model, "--board", board, "-o", machine],
        ["build", model, "--board", board, "--config", machine, "-o", tmp_path / "out"],
    ):
        status, _, err = run(capsys, *map(str, command))
        assert (status, err) == (0, "")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["cycles"]
    guess = estimate(Config.from_dict(report["config"]), BOARDS[board])
    for name, off in guess.errors.items():
        assert guess.used[name] == pytest.approx(report["used"][name], rel=2 * off)
