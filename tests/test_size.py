"""Machines for a budget: what is reported is what compiling gives, and nothing better is left out."""

import tomllib

import click.testing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchnet.hdl.boards import BOARDS
from etchnet.hdl.config import Config
from etchnet.hdl.isa import Counter
from etchnet.hdl.sizes import memories
from etchnet.host.cli import cli
from etchnet.host.compiler import compile_network
from etchnet.host.size import Budget, Point, candidates, evaluate, front


def size(*arguments):
    return click.testing.CliRunner().invoke(cli, ["size", "demo", *map(str, arguments)])


def test_points_are_what_compiling_for_their_machine_gives():
    from etchnet.host.files import load_model

    network = load_model("demo").network
    for config in (Config(rows=8, columns=8), Config(rows=12, columns=6, weight_rows=3, requantisers=2)):
        point = evaluate(network, config)
        assert not point.failure
        assert point.kbytes == pytest.approx(sum(m.bytes for m in memories(point.config)) / 1024)
        program = compile_network(network, point.config)
        # The default compilation looks further: never slower.
        assert program.repeat_cycles <= point.cycles
        quick = compile_network(network, Config.from_dict(point.config.to_dict()), thorough=False)
        assert quick.counts(2)[Counter.CYCLES] - quick.counts()[Counter.CYCLES] <= point.cycles


def test_the_winner_keeps_to_the_budget_and_its_file_gives_its_cycles(tmp_path):
    import json

    file = tmp_path / "machine.toml"
    done = size("--dsp", 100, "--kbytes", 300, "--try-rows", "4,8,16", "--configs", 12, "-o", file, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    best, config = found["best"], Config.from_dict(tomllib.loads(file.read_text()))
    assert config.to_dict() == best["config"]
    assert config.rows * config.columns + 4 * config.requantisers == best["hard_multipliers"] <= 100
    assert sum(m.bytes for m in memories(config)) / 1024 == pytest.approx(best["kbytes"])
    assert best["kbytes"] <= 300
    assert found["complete"]
    assert min(p["cycles"] for p in found["points"] if not p["refused"]) >= best["cycles"]
    report = click.testing.CliRunner().invoke(cli, ["report", "demo", "--config", str(file), "--json"])
    assert report.exit_code == 0, report.output
    from etchnet.host.files import load_model

    assert compile_network(load_model("demo").network, config).repeat_cycles == best["cycles"]


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 4, 8]), st.sampled_from([2, 4, 8]), st.integers(0, 50)), max_size=12))
def test_nothing_beats_the_pareto_front(shapes):
    points = [Point(Config(rows=r, columns=c, requantisers=1, depthwise=0, residual_words=0), cycles)
              for r, c, cycles in shapes]  # fmt: skip
    best = front(points)
    for p in points:
        if p.cycles:
            assert any(b.config.multipliers <= p.config.multipliers and b.cycles <= p.cycles for b in best)
    for b in best:
        assert not any(
            p.cycles and p.cycles < b.cycles and p.config.multipliers <= b.config.multipliers for p in points
        )


@given(st.integers(20, 400), st.integers(0, 300), st.integers(1, 40))
def test_candidates_keep_to_the_multipliers_and_to_how_many_are_asked_for(dsp, lut, most):
    budget = Budget(dsp, lut_multipliers=lut)
    found = candidates(Config(), budget, most=most)
    assert 0 < len(found) <= most
    assert all(max(0, c.rows * c.columns - lut) + 4 * c.requantisers <= dsp for c in found)


@pytest.mark.parametrize(("name", "begins"), [("sweep.png", b"\x89PNG\r\n"), ("sweep.svg", b"<?xml")])
def test_the_plot_is_a_picture(tmp_path, name, begins):
    pytest.importorskip("matplotlib")
    done = size("--try-rows", "8,16", "--try-cols", "8,16", "--configs", 3, "--plot", tmp_path / name)
    assert done.exit_code == 0, done.output
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    for word in ("best:", "why:", "next:", "3 machines in"):
        assert word in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--board", "arty"), f"--board must be one of {', '.join(BOARDS)}, not 'arty'"),
        (("--dsp", 1), "--dsp must be larger: no machine"),
        (("--kbytes", 1, "--try-rows", 8, "--try-cols", 8, "--configs", 1), "no machine of 1 fits: the smallest needs"),
        (("--plot", "sweep.pdf"), "--plot must end in .png or .svg, not 'sweep.pdf'"),
        (("--plot", "missing/sweep.png"), "the folder of --plot must exist"),
        (("--try-rows", "8;9"), "takes whole numbers with commas"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message):
    done = size(*arguments)
    assert done.exit_code != 0
    assert message in done.output


def test_an_interrupted_sweep_keeps_what_is_done(monkeypatch):
    """Ctrl-C comes while results are waited for."""

    def interrupted(network, configs):
        yield evaluate(network, configs[0])
        raise KeyboardInterrupt

    monkeypatch.setattr("etchnet.host.size.sweep", interrupted)
    done = size("--try-rows", "8", "--try-cols", "8", "--configs", 5)
    assert done.exit_code == 130
    assert "interrupted: 1 of 5 machines were tried" in done.output
    assert "1 machines in" in done.output
