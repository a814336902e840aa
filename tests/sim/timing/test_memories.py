"""The activation memory on a timeline: waits for drains of more rows than any accumulator bank has."""

import numpy as np
import pytest

from etchnet.hdl.isa import Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing import Latencies
from etchnet.sim.timing.footprint import DrainFootprint, PassFootprint
from etchnet.sim.timing.memories import ActivationState
from etchnet.sim.timing.timeline import Timeline

CONFIG = Config(activation_words=1 << 16, residual_words=1 << 16)
ADDRESS = 100
ROWS = (1 << 16) - ADDRESS
READ = {"residual": True, "destination": Destination.ACTIVATION, "address": ADDRESS, "stride": 1, "shared": True}
"""fields of a drain from the residual memory to the activation memory"""


@pytest.mark.parametrize("row", [0, 1, (1 << 14) - 1, 1 << 14, (1 << 14) + 1, ROWS - 1])
def test_a_pass_waits_for_its_row_of_a_long_residual_drain(row):
    """Row i is readable i times the drain's pace after the first row."""
    drain, first, when = DrainFootprint(Drain(pixels=ROWS, **READ), CONFIG), 1000, 7
    pace = CONFIG.columns // CONFIG.requantisers
    activation = ActivationState(np.zeros(0, bool))
    activation.write(drain, ADDRESS + ROWS - 1, first, first + (ROWS - 1) * pace)
    assert activation.earliest_start(np.array([ADDRESS + row]), np.array([when]), 0) == first + row * pace - when


def test_a_pass_waits_for_the_last_of_its_rows_of_a_long_residual_drain():
    """A pass that reads a word in every cycle waits for the largest difference of the two walks."""
    drain, first = DrainFootprint(Drain(pixels=ROWS, **READ), CONFIG), 1000
    pace = CONFIG.columns // CONFIG.requantisers
    activation = ActivationState(np.zeros(0, bool))
    activation.write(drain, ADDRESS + ROWS - 1, first, first + (ROWS - 1) * pace)
    words, when = ADDRESS + np.arange(ROWS)[::-1], np.arange(ROWS)
    assert activation.earliest_start(words, when, 0) == first + (ROWS - 1) * pace
    assert activation.earliest_start(words[::-1], when, 0) == first + max(0, (ROWS - 1) * (pace - 1))


def test_a_pass_is_placed_after_the_row_that_it_reads():
    """The wait on a timeline is the sum of the latencies from the pass that starts the drain to the readable row."""
    row, latencies, timeline = 20_000, Latencies.of(CONFIG), Timeline(CONFIG, assume_valid=True)
    before = PassFootprint(Pass(kind=TileKind.IDENTITY, pixels=1, fold=Fold.SET, release=True), CONFIG)
    drain = DrainFootprint(Drain(pixels=ROWS, **READ), CONFIG)
    after = PassFootprint(
        Pass(kind=TileKind.IDENTITY, pixels=1, source=Source.ACTIVATION, address=ADDRESS + row), CONFIG
    )
    start = timeline.earliest(before, [drain])
    timeline.issue(before, [drain], start)
    groups = CONFIG.columns // CONFIG.requantisers
    read = start + latencies.drain_delay + row * groups + groups - 1
    assert timeline.earliest(after, []) == read + latencies.result + 1
