"""Tables, JSON, progress and texts that commands print."""

import json

import pytest

from etchnet.hdl.isa.config import Config
from etchnet.host.cli.output import machine_text, plural, print_json, print_table, progress, shares_text


def test_tables_align_numbers_right_and_names_left(capsys):
    print_table(("name", "count"), [("a", "1"), ("long name", "1,000")])
    assert capsys.readouterr().out.splitlines() == ["name       count", "a              1", "long name  1,000"]


def test_columns_are_aligned_left_or_cut_off_on_demand(capsys):
    print_table(("n", "why"), [("1", "because of this"), ("20", "no")], left=(1,), widest=9)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [" n  why", " 1  because …", "20  no"]


def test_json_is_one_line_and_refuses_numbers_that_are_not_finite(capsys):
    print_json({"a": [1, 2]})
    assert json.loads(capsys.readouterr().out) == {"a": [1, 2]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json(float("nan"))


def test_progress_is_silent_without_a_terminal(capsys):
    with progress(quiet=False) as report:
        report("working")
        report("working", 0.5)
    assert capsys.readouterr() == ("", "")


def test_texts():
    shares = {"useful": 0.75, "weight_load": 0.2496, "wait_in": 0.0004}
    assert shares_text(shares) == "useful 75.0%, weight load 25.0%"
    assert (plural(1, "input"), plural(0, "input"), plural(1024, "input")) == ("1 input", "0 inputs", "1,024 inputs")
    config = Config(rows=8, columns=4, weight_rows=2, requantisers=4)
    assert machine_text(config) == "8 x 4 array, W = 2, 4 requantisers"
