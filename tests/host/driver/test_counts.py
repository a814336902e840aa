"""Counters as the driver shows them."""

import pytest

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.host.driver.counts import Counts

CONFIG = Config(rows=4, columns=4)
TOTALS = dict(zip(Counter, range(len(Counter)), strict=True)) | {
    Counter.CYCLES: 100,
    Counter.ISSUE: 60,
    Counter.USEFUL: 480,
    Counter.WAIT_IN: 10,
    Counter.WAIT_OUT: 0,
    Counter.WEIGHT_LOAD: 5,
    Counter.REQUANTISE: 15,
    Counter.FILL_DRAIN: 10,
}


def test_shares_are_of_all_multiplier_slots():
    counts = Counts(TOTALS, CONFIG)
    assert counts.utilisation == 480 / 1600
    assert counts.shares() == pytest.approx(
        {
            "useful": 0.3,
            "padding": 0.3,
            "wait_in": 0.1,
            "wait_out": 0.0,
            "weight_load": 0.05,
            "requantise": 0.15,
            "fill_drain": 0.1,
        }
    )


def test_the_shares_of_empty_counts_are_0():
    zero = Counts.zero(CONFIG)
    assert (zero.cycles, zero.utilisation) == (0, 0.0)
    assert set(zero.shares().values()) == {0.0}
    assert zero + Counts(TOTALS, CONFIG) == Counts(TOTALS, CONFIG)


def test_counts_have_a_line_and_a_table():
    counts = Counts(TOTALS, CONFIG)
    assert repr(counts) == "Counts(100 cycles, 480 useful, 30.0%)"
    page = counts._repr_html_()
    assert page.count("<tr>") == 1 + len(counts.shares())
    assert "<td>weight load</td><td>5.0</td><td>5.0%</td>" in page
